"""The first promise: text, times and confidences do not depend on how the sound was cut."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from bundles import CALIBRATION, TINY, WINDOWED
from hypothesis import given
from hypothesis import strategies as st

from edgeasr import InputError, Partial, Recognizer, StreamStateError, Transcript
from edgeasr.bundle import read_bundle, update_bundle
from edgeasr.stream import Stream

FloatArray = npt.NDArray[np.float32]


def calibrated(path: Path, **options: Any) -> Recognizer:
    """A recogniser whose bundle has calibrations, and a beam that returns alternatives."""
    with TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(path, Path(folder) / path.name))
        decoder = read_bundle(path).decoder
        decoder = replace(decoder, beam=replace(decoder.beam, nbest=3))
        update_bundle(copy, calibration={"greedy": CALIBRATION, "beam": CALIBRATION}, decoder=decoder)
        return Recognizer(copy, **options)


RECOGNIZERS = {
    "beam": Recognizer(TINY),
    "greedy": Recognizer(TINY, decoder="greedy"),
    "windowed": Recognizer(WINDOWED),
    "windowed beam": Recognizer(WINDOWED, decoder="beam"),
    "calibrated": calibrated(TINY, min_confidence=0.5),
    "calibrated greedy": calibrated(TINY, decoder="greedy", min_segment_confidence=0.5),
    "windowed calibrated": calibrated(WINDOWED, decoder="beam", min_confidence=0.4, unsure_mark=""),
}


SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.flac"))
SPEECH = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in SAMPLES])


def sound(num_samples: int) -> FloatArray:
    """Speech from some place on, over and over, with a little noise."""
    random = np.random.default_rng(num_samples)
    begin = random.integers(len(SPEECH))
    return np.resize(np.roll(SPEECH, begin), num_samples) + random.normal(0, 0.003, num_samples).astype(np.float32)


def run(recognizer: Recognizer, waveform: npt.NDArray[Any], sample_rate: int, cuts: list[int]) -> Transcript:
    stream = recognizer.stream(sample_rate=sample_rate)
    for piece in np.split(waveform, cuts):
        stream.accept(piece)
    return stream.finish()


@given(
    name=st.sampled_from(sorted(RECOGNIZERS)),
    sample_rate=st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    num_samples=st.one_of(st.integers(0, 800), st.integers(1, 60_000)),
    data=st.data(),
)
def test_exact_for_any_cut(name: str, sample_rate: int, num_samples: int, data: st.DataObject) -> None:
    waveform = sound(num_samples)
    cuts = sorted(data.draw(st.lists(st.integers(0, num_samples), max_size=12)))
    recognizer = RECOGNIZERS[name]
    assert run(recognizer, waveform, sample_rate, cuts) == run(recognizer, waveform, sample_rate, [])


@pytest.mark.parametrize("sample_rate", [16000, 11025])
def test_one_sample_at_a_time(sample_rate: int) -> None:
    waveform = sound(9000)
    for recognizer in RECOGNIZERS.values():
        one_by_one = run(recognizer, waveform, sample_rate, list(range(1, len(waveform))))
        assert one_by_one == run(recognizer, waveform, sample_rate, [])


@pytest.mark.parametrize("block", [160, 1601, 16000])
def test_a_minute(block: int) -> None:
    waveform = sound(60 * 16000)
    for recognizer in (RECOGNIZERS["beam"], RECOGNIZERS["calibrated"]):
        whole = run(recognizer, waveform, 16000, [])
        assert len(whole.words) > 100
        assert run(recognizer, waveform, 16000, list(range(block, len(waveform), block))) == whole


@given(name=st.sampled_from(["beam", "calibrated"]), num_samples=st.integers(0, 40_000), data=st.data())
def test_partials_depend_on_the_sound_alone(name: str, num_samples: int, data: st.DataObject) -> None:
    waveform = sound(num_samples)
    cuts = sorted(data.draw(st.lists(st.integers(0, num_samples), max_size=12)))
    stream, other = RECOGNIZERS[name].stream(), RECOGNIZERS[name].stream()
    for piece in np.split(waveform, cuts):
        partial = stream.accept(piece)
    whole = other.accept(waveform)
    assert (partial.words, partial.num_committed_words) == (whole.words, whole.num_committed_words)
    assert partial.time_s == whole.time_s == num_samples / 16000


def test_committed_words_are_final() -> None:
    waveform = sound(20 * 16000)
    for recognizer in RECOGNIZERS.values():
        stream = recognizer.stream()
        partials = [stream.accept(piece) for piece in np.split(waveform, range(1600, len(waveform), 1600))]
        transcript = stream.finish()
        assert partials[-1].num_committed_words > 0
        for partial in partials:
            count = partial.num_committed_words
            assert partial.words[:count] == transcript.words[:count]


def test_words_are_in_order_and_inside_the_sound() -> None:
    for recognizer in RECOGNIZERS.values():
        for num_samples in (700, 5000, 16001, 123_456):
            transcript = run(recognizer, sound(num_samples), 16000, [])
            assert transcript.duration == num_samples / 16000
            times = [time for word in transcript.words for time in (word.start, word.end)]
            assert times == sorted(times)
            assert all(0 <= time <= transcript.duration for time in times)
            assert all(0 < word.confidence <= 1 for word in transcript.words)


def test_nothing_is_heard_in_nothing() -> None:
    for recognizer in RECOGNIZERS.values():
        for nothing in (recognizer.stream().finish(), run(recognizer, np.zeros(0, np.float32), 8000, [0, 0])):
            assert (nothing.segments, nothing.duration, nothing.words, nothing.text) == ((), 0.0, (), "")
            assert nothing.confidence is None
            assert nothing.calibrated == recognizer.calibrated


def test_channels_and_integers() -> None:
    waveform = np.round(sound(16000) * 20000) / 32768
    expected = run(RECOGNIZERS["beam"], waveform, 16000, [])
    for other in (np.stack([waveform] * 2, axis=1), (waveform * 32768).astype(np.int16), waveform.astype(float)):
        assert run(RECOGNIZERS["beam"], other, 16000, [5000]) == expected


def test_the_sample_rate_hardly_changes_what_is_heard() -> None:
    slow = run(RECOGNIZERS["greedy"], SPEECH[:64000], 16000, [])
    fast = run(RECOGNIZERS["greedy"], soxr.resample(SPEECH[:64000], 16000, 48000), 48000, [])
    assert fast.duration == slow.duration
    assert SequenceMatcher(None, fast.text, slow.text).ratio() > 0.8


def test_refused_sound_changes_nothing() -> None:
    waveform = sound(30_000)
    stream = RECOGNIZERS["beam"].stream(sample_rate=44100)
    stream.accept(waveform[:10_000])
    for bad in (np.array([0, np.nan], np.float32), np.zeros(3, np.int32), np.zeros((1, 2, 3), np.float32)):
        with pytest.raises(InputError):
            stream.accept(bad)
    stream.accept(waveform[10_000:])
    assert stream.finish() == run(RECOGNIZERS["beam"], waveform, 44100, [])


def test_after_finish_only_reset_helps() -> None:
    waveform = sound(30_000)
    stream = RECOGNIZERS["beam"].stream()
    stream.accept(waveform)
    before = stream.partial
    transcript = stream.finish()
    assert stream.partial.words == transcript.words
    assert stream.partial.num_committed_words == len(transcript.words)
    for call in (lambda: stream.accept(waveform), stream.finish):
        with pytest.raises(StreamStateError, match=r"reset\(\)"):
            call()
    words = before.words
    stream.reset()
    assert stream.partial.words == ()
    assert stream.partial.time_s == 0.0
    assert before.words == words
    stream.accept(waveform)
    assert stream.finish() == transcript


def test_reset_in_the_middle() -> None:
    for recognizer in RECOGNIZERS.values():
        stream = recognizer.stream(sample_rate=22050)
        stream.accept(sound(25_000))
        stream.reset()
        stream.accept(sound(26_000))
        assert stream.finish() == run(recognizer, sound(26_000), 22050, [])


class SlowStage:
    """A resampler that waits in the middle of a call, so that another thread can come."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def accept(self, block: FloatArray, /) -> FloatArray:
        self.entered.set()
        assert self.leave.wait(10)
        return block

    def finish(self) -> FloatArray:
        return np.zeros(0, np.float32)

    def reset(self) -> None:
        """Nothing to forget."""


def test_one_owner_at_a_time() -> None:
    recognizer = RECOGNIZERS["beam"]
    stages, slow = recognizer.stream().stages, SlowStage()
    stream = Stream(
        replace(stages, resampler=slow),
        sample_rate=16000,
    )
    waveform = sound(30_000)
    owner = threading.Thread(target=stream.accept, args=(waveform[:16_000],))
    owner.start()
    assert slow.entered.wait(10)
    calls: list[Callable[[], object]] = [lambda: stream.accept(waveform), stream.finish, stream.reset]
    for call in calls:
        with pytest.raises(StreamStateError, match="one owner"):
            call()
    assert isinstance(stream.partial, Partial)  # which any thread may read, also now
    slow.leave.set()
    owner.join()
    stream.accept(waveform[16_000:])
    assert stream.finish() == run(recognizer, waveform, 16000, [])


def test_partials_may_be_read_by_another_thread() -> None:
    stream = RECOGNIZERS["beam"].stream()
    done, seen = threading.Event(), threading.Event()
    wrong: list[Partial] = []

    def watch() -> None:
        while not done.is_set():
            partial = stream.partial
            words = partial.words
            if partial.text != " ".join(word.text for word in words) or len(words) < partial.num_committed_words:
                wrong.append(partial)
            if words:
                seen.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    for piece in np.split(sound(160_000), range(1600, 160_000, 1600)):
        stream.accept(piece)
    seen.wait(10)
    done.set()
    watcher.join()
    assert seen.is_set()
    assert not wrong
