"""What a teacher said: kept once, found again, and laid along what the student hears."""

import threading
from pathlib import Path

import numpy as np
import pytest
from transducers import write_transducer

pytest.importorskip("torch")

from edgeasr.train.augmentation.augment import Speed
from edgeasr.train.clips import read_audio, resample
from edgeasr.train.manifest import read_manifest
from edgeasr.train.recipe import TokensConfig
from edgeasr.train.teachers.targets import INDEX, Part, ask
from edgeasr.train.teachers.teacher import Frames, Said, TeacherConfig, load_teacher

CONFIG = TeacherConfig(kind="transducer", path="teacher", top_k=2)
RATE = 16000
TOKENS = TokensConfig()


class Parrot:
    """Frames of 40 ms, the first at 20 ms; the features count frames, and every fourth emits a token."""

    tokens = ("<blk>", "a", "b")
    blank_id = 0
    feature_dim = 2
    token_frames = feature_frames = Frames(first_s=0.02, step_s=0.04)

    def __init__(self) -> None:
        self.calls = 0
        self.stop_at: int | None = None

    def hear(self, waveform, sample_rate, text):
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.calls += 1
        count = len(waveform) * 25 // sample_rate
        ids = np.where(np.arange(count) % 4 == 2, 1, 0)
        probs = np.where(ids[:, None] == 1, (0.1, 0.7, 0.2), (0.8, 0.05, 0.15))
        numbers = np.arange(count, dtype=np.float32)
        return Said(
            features=np.stack([numbers, -numbers], 1),
            log_probs=np.log(probs).astype(np.float32),
            token_ids=ids,
            readings=(f"{count} frames",),
            scores=(-1.5,),
        )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_transducer(tmp_path / "teacher")
    return tmp_path


def clips(*seconds):
    return [np.full(int(s * RATE), place, np.int16) for place, s in enumerate(seconds)]


def hear(data, parrot, sounds, texts=None, config=CONFIG, **options):
    texts = texts or [None] * len(sounds)
    return ask(
        config, sounds, texts, RATE, tokens=TOKENS, load=lambda: parrot, data=data, cache_dir=data / "cache", **options
    )


def test_what_was_said_is_found_again(data):
    parrot, sounds, progress = Parrot(), clips(0.4, 0.8, 0.4), []
    hear(data, parrot, sounds, on_progress=lambda *seconds: progress.append(seconds))
    assert parrot.calls == 3
    assert progress == [pytest.approx(p) for p in ((0.4, 1.6), (1.2, 1.6), (1.6, 1.6))]
    targets = hear(data, pytest.fail, [sounds[2], sounds[1], sounds[1]])
    assert targets.readings(1) == (("20 frames",), (-1.5,))
    along = targets.tokens_along([Part(clip=1, start_s=0.0, speed=1.0)], 20, 0.04)
    assert along.said.all()
    assert along.token_ids.tolist() == [0, 0, 1, 0] * 5
    assert along.top_ids[1:3].tolist() == [[0, 2], [1, 2]]
    assert np.exp(along.top_log_probs[2]) == pytest.approx([0.7, 0.2], rel=2e-3)
    assert np.exp(along.blank_log_probs[1:3]) == pytest.approx([0.8, 0.1], rel=2e-3)


@pytest.mark.parametrize("damage", ["", '{"key": "cut'])
def test_an_interrupted_teacher_goes_on(data, damage):
    sounds = clips(0.4, 0.8, 0.6, 0.4)
    parrot = Parrot()
    parrot.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        hear(data, parrot, sounds)
    # What an interruption may leave: rows without a line in the index, and half a line.
    folder = next((data / "cache").iterdir())
    with (folder / "features").open("ab") as file:
        file.write(b"12345")
    with (folder / INDEX).open("a") as file:
        file.write(damage)
    parrot.stop_at = None
    resumed = hear(data, parrot, sounds)
    assert parrot.calls == 4
    whole = ask(CONFIG, sounds, [None] * 4, RATE, tokens=TOKENS, load=Parrot, data=data, cache_dir=data / "other")
    for name in ("token_ids", "top_ids", "top_log_probs", "blank_log_probs", "features"):
        assert (resumed.store.folder / name).read_bytes() == (whole.store.folder / name).read_bytes()
    assert (resumed.store.folder / INDEX).read_text() == (whole.store.folder / INDEX).read_text()


def test_processes_wait_for_each_other(data):
    """The second finds what the first has added while it waited for the lock."""
    sounds, first, second = clips(0.4, 0.8), Parrot(), Parrot()
    hear(data, first, sounds[:1])

    class Slow(Parrot):
        def hear(self, waveform, sample_rate, text):
            other.start()
            other.join(0.2)
            return first.hear(waveform, sample_rate, text)

    other = threading.Thread(target=lambda: found.append(hear(data, second, sounds)))
    found: list = []
    hear(data, Slow(), sounds)
    other.join()
    assert second.calls == 0
    assert found[0].readings(1) == (("20 frames",), (-1.5,))


def test_a_teacher_that_follows_transcripts_hears_a_clip_for_each(data):
    sounds, parrot = clips(0.4), Parrot()
    hear(data, parrot, sounds, ["a"])
    hear(data, parrot, sounds, ["b"])
    assert parrot.calls == 1
    follows = TeacherConfig(kind="transducer", path="teacher", posteriors="reference")
    hear(data, parrot, sounds, ["a"], follows)
    hear(data, parrot, sounds, ["b"], follows)
    assert parrot.calls == 3


def test_frames_follow_the_clip_through_speed_and_joins(data):
    targets = hear(data, Parrot(), clips(0.8, 0.4))
    # Twice as fast from 0.2 s on, then a pause, then the other clip from 0.8 s on.
    parts = [Part(clip=0, start_s=0.2, speed=2.0), Part(clip=1, start_s=0.8, speed=2.0)]
    found = targets.features_along(parts, 26, 0.04)
    # Frame 5 is centred at 0.22 s, 0.04 s into the clip: between its first and second frame.
    first = found.features[:20, 0]
    assert found.said.tolist() == [False] * 5 + [True] * 10 + [False] * 5 + [True] * 5 + [False]
    assert np.abs(first[5:15] - (2 * np.arange(10) + 0.5)).max() <= 0.5
    assert np.array_equal(found.features[:, 1], -found.features[:, 0])
    # Of these frames tokens say something too, but where another frame has the token that they are next to.
    tokens = targets.tokens_along(parts, 26, 0.04)
    assert not (tokens.said & ~found.said).any()
    assert tokens.said.sum() >= 10
    assert tokens.token_ids[~tokens.said].max() == 0
    slow = targets.features_along([Part(clip=0, start_s=0.0, speed=0.5)], 40, 0.04)
    assert slow.features[:, 0].tolist() == pytest.approx(np.repeat(np.arange(20), 2).tolist(), abs=0.51)


def test_features_of_finer_frames_are_means(data):
    targets = hear(data, Parrot(), clips(0.8, 0.4))
    # Two frames of the teacher in one of 80 ms: numbers 0 and 1, 2 and 3, ...; the last clip's end is its last frame.
    found = targets.features_along([Part(clip=0, start_s=0.0, speed=1.0)], 11, 0.08)
    assert found.features[:10, 0].tolist() == [0.5 + 2 * place for place in range(10)]
    assert found.said.tolist() == [True] * 10 + [False]
    # Three of them in 120 ms, around the middle; at twice the speed these are six frames, the middle between 2 and 3.
    fast = targets.features_along([Part(clip=1, start_s=0.12, speed=2.0)], 3, 0.12)
    assert fast.said.tolist() == [False, True, True]
    assert fast.features[:, 0].tolist() == [0.0, 2.0, 8.0]


@pytest.mark.parametrize(("speed", "frame_s"), [(1.0, 0.04), (0.9, 0.04), (1.12, 0.04), (1.0, 0.02), (0.88, 0.02)])
def test_every_token_is_emitted_once_near_its_time(data, speed, frame_s):
    targets = hear(data, Parrot(), clips(4.0))
    num_frames = int(4.2 / speed / frame_s)
    along = targets.tokens_along([Part(clip=0, start_s=0.1, speed=speed)], num_frames, frame_s)
    spikes = np.flatnonzero(along.token_ids)
    assert len(spikes) == 25
    expected_s = 0.1 + (0.02 + 0.04 * np.arange(2, 100, 4)) / speed
    assert np.abs((spikes + 0.5) * frame_s - expected_s).max() <= frame_s / 2 + 1e-9
    # Where posteriors say "a" is where it is emitted, nowhere else.
    assert np.array_equal(np.flatnonzero(along.said & (along.top_ids[:, 0] == 1)), spikes)
    assert along.said.sum() >= 0.7 * num_frames


def test_a_teacher_of_texts_has_readings_and_no_frames(data):
    class Writer(Parrot):
        tokens: tuple[str, ...] = ()
        feature_dim = 0

        def hear(self, waveform, sample_rate, text):
            nothing = np.zeros((0, 0), np.float32)
            return Said(
                features=nothing, log_probs=nothing, token_ids=np.zeros(0, np.int64), readings=("hello",), scores=(0.0,)
            )

    config = TeacherConfig(kind="text", path="sherpa-onnx")
    targets = hear(data, Writer(), clips(0.4), config=config)
    assert targets.readings(0)[0] == ("hello",)
    part = [Part(clip=0, start_s=0.0, speed=1.0)]
    assert not targets.tokens_along(part, 5, 0.04).said.any()
    assert not targets.features_along(part, 5, 0.04).said.any()


def test_real_speech_is_followed_through_speed(data_dir, tmp_path):
    """What a real teacher said of clips, laid along the clips at another speed, is what it says of those."""
    clip = resample(*read_audio(read_manifest(data_dir / "speech" / "librispeech.dev.jsonl")[10].audio), RATE)
    teacher = load_teacher(CONFIG, data_dir, TOKENS)
    sounds = [(clip * 32767).astype(np.int16)]
    targets = ask(CONFIG, sounds, [None], RATE, tokens=TOKENS, load=lambda: teacher, data=data_dir, cache_dir=tmp_path)
    retimed, speed = Speed(probability=1.0, minimum=0.9, maximum=0.9)(clip, np.random.default_rng(0))
    heard = teacher.hear(retimed, RATE, None).features
    laid = targets.features_along([Part(clip=0, start_s=0.0, speed=speed)], retimed.size // 640, 0.04).features
    mean = laid.mean(0)

    def alike(shift):
        ours, theirs = laid[5:-5] - mean, heard[5 + shift :][: len(laid) - 10] - mean
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        return float(np.mean((ours * theirs).sum(1) / lengths))

    # The student's frames are centred at 20 ms, 60 ms, ..., the teacher's at 45 ms, 85 ms, ...
    found = {shift: alike(shift) for shift in range(-5, 5)}
    assert max(found, key=lambda shift: found[shift]) in (-1, 0)
    assert max(found.values()) > 0.8
