"""Several teachers as one: means by hand, the reading nearest to all others, and that nobody hears a clip twice."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transducers import write_transducer

pytest.importorskip("torch")

from edgeasr.cli import main
from edgeasr.errors import ConfigError
from edgeasr.train.distil import LossConfig, ReadingLoss, TokenLoss, Weight
from edgeasr.train.evaluation.score import disagreement
from edgeasr.train.loop import train
from edgeasr.train.recipe import TokensConfig, read_recipe
from edgeasr.train.run_log import METRICS
from edgeasr.train.teachers.ensemble import EnsembleTargets, ask_teacher, rank
from edgeasr.train.teachers.targets import FeatureTargets, Part, TokenTargets
from edgeasr.train.teachers.teacher import Frames, Said, TeacherConfig, View, fingerprint, load_teacher

RATE = 16000


class Member:
    """Two frames of three tokens, of which the two most probable are kept."""

    tokens: tuple[str, ...] = ("_", "a", "b")
    blank_id = 0
    top_k = 2
    feature_dim = 2
    folders = (Path("member"),)

    def __init__(self, probs, path, said=(True, True), readings=(("a",), (0.0,)), features=0.0):
        self.probs, self.path, self.said = np.array(probs, np.float32), np.array(path), np.array(said)
        self.heard, self.shown = readings, features

    def readings(self, clip):
        return self.heard

    def disagreement(self, clip):
        return 0.0

    def tokens_along(self, parts, num_frames, frame_s):
        top = np.argsort(-self.probs, axis=1)[:, :2]
        return TokenTargets(
            top_ids=top,
            top_log_probs=np.log(np.take_along_axis(self.probs, top, 1)),
            blank_log_probs=np.log(self.probs[:, 0]),
            token_ids=self.path,
            said=self.said,
        )

    def features_along(self, parts, num_frames, frame_s):
        return FeatureTargets(features=np.full((num_frames, 2), self.shown), said=self.said)


HERE = [Part(clip=0, start_s=0.0, speed=1.0)]
ONE = ([[0.6, 0.4, 0.0], [0.2, 0.8, 0.0]], [0, 1])
OTHER = ([[0.3, 0.6, 0.1], [0.5, 0.0, 0.5]], [1, 2])


def ensemble(members, weights=(1.0, 1.0), **options):
    return EnsembleTargets(members, weights, **{"top_k": 3, "n_best": 3, "features": True, **options})


def test_posteriors_are_the_weighted_mean_of_those_who_speak():
    other = Member(*OTHER, said=(True, False))
    mixed = ensemble([Member(*ONE), other], (1.0, 3.0)).tokens_along(HERE, 2, 0.04)
    # Of the first frame the other has kept 0.9, which count as all there is; of the second it says nothing.
    expected = [(0.6 + 3 * 0.3 / 0.9) / 4, (0.4 + 3 * 0.6 / 0.9) / 4]
    assert mixed.top_ids[0, :2].tolist() == [1, 0]
    assert np.exp(mixed.top_log_probs[0, :2]) == pytest.approx([expected[1], expected[0]], rel=1e-5)
    assert mixed.top_ids[1, :2].tolist() == [1, 0]
    assert np.exp(mixed.top_log_probs[1]) == pytest.approx([0.8, 0.2, 0.0], rel=1e-5)
    assert np.exp(mixed.blank_log_probs) == pytest.approx([(0.6 + 3 * 0.3) / 4, 0.2], rel=1e-5)
    assert np.isfinite(mixed.top_log_probs).all()
    # The path is the heaviest member's.
    assert mixed.token_ids.tolist() == [1, 2]
    assert mixed.said.tolist() == [True, True]


def test_a_member_with_other_tokens_only_reads():
    stranger = Member(*OTHER, readings=(("b b",), (0.0,)), features=2.0)
    stranger.tokens = ("_", "b", "a")
    writer = Member(*OTHER)
    writer.tokens, writer.top_k, writer.feature_dim = (), 0, 0
    mixed = ensemble([writer, Member(*ONE, features=1.0), stranger], (3.0, 2.0, 1.0))
    assert (mixed.tokens, mixed.top_k, mixed.feature_dim) == (("_", "a", "b"), 3, 2)
    assert np.exp(mixed.tokens_along(HERE, 2, 0.04).top_log_probs[0]) == pytest.approx([0.6, 0.4, 0.0], abs=1e-6)
    assert mixed.features_along(HERE, 2, 0.04).features.tolist() == [[1.0, 1.0]] * 2
    silent = ensemble([writer, writer], features=False)
    assert (silent.tokens, silent.top_k, silent.feature_dim) == ((), 0, 0)
    assert not silent.tokens_along(HERE, 2, 0.04).said.any()
    assert not silent.features_along(HERE, 2, 0.04).said.any()


def test_the_reading_nearest_to_all_others_comes_first():
    # cat-car 1/3, cat-dog 1, car-dog 1: weights 2, 1 and 1 of 4.
    ranked = rank([("dog", 1.0), ("car", 1.0), ("cat", 1.5), ("cat", 0.5)])
    assert [text for text, _ in ranked] == ["cat", "car", "dog"]
    expected = [1 - (1 / 4 + 1 / 3 / 4), 1 - (1 / 4 + 2 / 4 / 3), 1 - 3 / 4]
    assert [share for _, share in ranked] == pytest.approx(expected)
    assert rank([("", 1.0)]) == [("", 1.0)]


def test_readings_are_ranked_and_told_as_confidence_per_character():
    first = Member(*ONE, readings=(("CAT", "DOG"), (math.log(0.03), math.log(0.01))))
    second = Member(*OTHER, readings=(("car",), (0.0,)))
    mixed = ensemble([first, second], (1.0, 1.0), n_best=2)
    texts, scores = mixed.readings(0)
    # Three quarters of the first member's half speak for cat, one for dog.
    assert texts == ("car", "cat")
    assert math.exp(scores[0] / 3) == pytest.approx(1 - (0.375 / 3 + 0.125))
    assert mixed.disagreement(0) == pytest.approx(1 / 3)
    assert disagreement("", "abc") == 1.0
    nobody = ensemble([Member(*ONE, readings=(("",), (0.0,))), Member(*ONE, readings=(("ab",), (0.0,)))])
    assert nobody.readings(0)[0] == ("", "ab")


def test_filters_tell_what_they_drop():
    mixed = ensemble([Member(*ONE, readings=(("cat",), (0.0,))), Member(*OTHER, readings=(("car",), (0.0,)))])
    transcribed = [False, True, False]
    keep, sure, agree = (
        ReadingLoss(weight=1),
        ReadingLoss(weight=1, minimum_confidence=0.9),
        ReadingLoss(weight=1, maximum_disagreement=0.3, transcribed=True),
    )
    assert str(keep.sift(mixed, transcribed)) == "readings of 2 of 2 clips"
    assert str(sure.sift(mixed, transcribed)) == "readings of 0 of 2 clips (2 unsure)"
    assert agree.sift(mixed, transcribed).faults == dict.fromkeys(range(3), "disagreed")


class Tone:
    """Hears a clip's length; frames of 40 ms."""

    tokens, blank_id, feature_dim = ("_", "a"), 0, 1
    token_frames = feature_frames = Frames(first_s=0.02, step_s=0.04)
    calls = 0

    def __init__(self, name: str) -> None:
        self.name = name

    def hear(self, waveform, sample_rate, text):
        Tone.calls += 1
        count = len(waveform) * 25 // sample_rate
        probs = np.full((count, 2), 0.5, np.float32)
        return Said(
            features=np.zeros((count, 1), np.float32),
            log_probs=np.log(probs),
            token_ids=np.zeros(count, np.int64),
            readings=(self.name,),
            scores=(0.0,),
        )


def test_nothing_is_heard_twice_however_members_are_mixed(tmp_path):
    for seed, name in enumerate(("one", "two")):
        write_transducer(tmp_path / name, seed)
    members = [TeacherConfig(kind="transducer", path=name) for name in ("one", "two")]
    sounds = [np.full(6400, place, np.int16) for place in range(3)]

    def hear(config):
        return ask_teacher(
            config, sounds, [None] * 3, RATE, tokens=TokensConfig(), load=lambda config: Tone(config.path),
            data=tmp_path, cache_dir=tmp_path / "cache",
        )  # fmt: skip

    Tone.calls = 0
    assert hear(members[0]).readings(1)[0] == ("one",)
    assert Tone.calls == 3
    both = TeacherConfig(kind="ensemble", members=tuple(members), n_best=2)
    mixed = hear(both)
    assert mixed.readings(1)[0] == ("one", "two")
    assert Tone.calls == 6
    weighed = hear(replace(both, members=(members[0], replace(members[1], weight=2.0))))
    assert weighed.readings(1)[0] == ("two", "one")
    assert Tone.calls == 6
    assert len(set(mixed.folders)) == 2


def test_a_view_is_another_teacher_whose_frames_are_the_clips(tmp_path):
    write_transducer(tmp_path / "teacher")
    plain = TeacherConfig(kind="transducer", path="teacher")
    faster = replace(plain, view=View(speed=1.25))
    assert fingerprint(plain, tmp_path, TokensConfig()) != fingerprint(faster, tmp_path, TokensConfig())
    assert fingerprint(replace(plain, weight=3.0), tmp_path, TokensConfig()) == fingerprint(
        plain, tmp_path, TokensConfig()
    )
    teachers = [load_teacher(config, tmp_path, TokensConfig()) for config in (plain, faster)]
    time_s = np.arange(2 * RATE) / RATE
    waveform = (0.1 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    ends_s = []
    for teacher in teachers:
        said = teacher.hear(waveform, RATE, None)
        loud = np.flatnonzero(np.abs(np.diff(said.features, axis=0)).max(1) > 1.0)
        ends_s.append(teacher.token_frames.first_s + loud[-1] * teacher.token_frames.step_s)
    assert ends_s[0] == pytest.approx(2.0, abs=0.1)
    assert ends_s[1] == pytest.approx(2.0, abs=0.1)
    noisy = View(snr_db=10.0).of(waveform)
    assert np.array_equal(noisy, View(snr_db=10.0).of(waveform))
    assert 10 * np.log10(np.mean(waveform**2) / np.mean((noisy - waveform) ** 2)) == pytest.approx(10, abs=0.1)


ENSEMBLE = """
[teacher]
kind = "ensemble"
top_k = 3
[[teacher.members]]
kind = "transducer"
path = "teacher"
weight = 2
[[teacher.members]]
kind = "transducer"
path = "teacher"
[teacher.members.view]
speed = 1.1
snr_db = 20
[losses.tokens]
weight = 0.3
[losses.guided]
weight = 0.1
[losses.features]
weight = 0.3
[losses.readings]
weight = 0.5
maximum_disagreement = 0.9
"""


def test_a_recipe_with_an_ensemble_trains(tone_recipe, taught_data, tmp_path, capsys):
    text = tone_recipe.read_text().replace("steps = 8", "steps = 2").replace('tones.train.jsonl"]', 'dev.jsonl"]')
    tone_recipe.write_text(text + ENSEMBLE)
    recipe = read_recipe(tone_recipe)
    assert [member.weight for member in recipe.teacher.members] == [2.0, 1.0]
    train(recipe, run_dir=tmp_path / "run", data_dir=taught_data, cache_dir=tmp_path / "cache", num_threads=1)
    lines = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    assert all(np.isfinite(lines[0][f"{name}_loss"]) for name in ("tokens", "guided", "features"))
    assert main(["distil", str(tone_recipe), "--data", str(taught_data), "--cache", str(tmp_path / "cache")]) == 0
    *folders, sifted = capsys.readouterr().out.splitlines()
    assert len(folders) == 2 and sifted.startswith("readings of ")


MEMBER = TeacherConfig(kind="transducer", path="one")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "ensemble"}, "at least two members"),
        ({"kind": "ensemble", "members": (MEMBER,)}, "at least two members"),
        ({"kind": "ensemble", "members": (MEMBER, MEMBER), "path": "x"}, "no path"),
        ({"kind": "ensemble", "members": (MEMBER, MEMBER), "view": View(speed=1.1)}, "a view of its own"),
        ({"kind": "transducer"}, "needs a path"),
        ({"kind": "transducer", "path": "x", "members": (MEMBER, MEMBER)}, "only an ensemble has members"),
        ({"kind": "transducer", "path": "x", "weight": 0.0}, "weight of a member must be above 0"),
    ],
)
def test_ensembles_that_cannot_be_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        TeacherConfig(**values)


def test_losses_know_what_an_ensemble_gives():
    texts = TeacherConfig(kind="text", path="sherpa-onnx")
    with pytest.raises(ConfigError, match="need a teacher with posteriors"):
        LossConfig(tokens=TokenLoss(weight=1)).check(TeacherConfig(kind="ensemble", members=(texts, texts)))
    LossConfig(tokens=TokenLoss(weight=1)).check(TeacherConfig(kind="ensemble", members=(texts, MEMBER)))
    with pytest.raises(ConfigError, match="one teacher agrees with itself"):
        LossConfig(readings=ReadingLoss(weight=1, maximum_disagreement=0.1)).check(MEMBER)
    with pytest.raises(ConfigError, match="speed must lie in"):
        View(speed=3.0)
    with pytest.raises(ConfigError, match="asked one by one"):
        load_teacher(TeacherConfig(kind="ensemble", members=(MEMBER, MEMBER)), Path("nowhere"), TokensConfig())
    assert LossConfig(consistency=Weight(weight=0.1)).check(None) is None
