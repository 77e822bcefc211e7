"""Joined clips: where speech is, which words were right, and what the measurements make of them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from edgeasr.bundle import TimingConfig
from edgeasr.errors import ConfigError
from edgeasr.train.evaluation.evaluate import find_sets, normaliser
from edgeasr.train.evaluation.joined import (
    SAMPLE_RATE,
    LongForm,
    find_speech,
    fit_timing,
    join_with_pauses,
    measure_long_form,
    measure_word_times,
    relative_difference,
)
from edgeasr.train.evaluation.score import ErrorCounts, align_counts, matches
from edgeasr.types import Segment, Transcript, Word

words = st.lists(st.sampled_from("abc"), max_size=8)
ENGLISH = normaliser("en")


def burst(before_s: float, speech_s: float, after_s: float, *, noise: float = 1e-3) -> np.ndarray:
    """Faint noise with a loud tone in it."""
    samples = round((before_s + speech_s + after_s) * SAMPLE_RATE)
    waveform = noise * np.random.default_rng(0).standard_normal(samples)
    begin, end = (round(s * SAMPLE_RATE) for s in (before_s, before_s + speech_s))
    waveform[begin:end] += 0.3 * np.sin(2 * np.pi * 300 * np.arange(end - begin) / SAMPLE_RATE)
    return waveform.astype(np.float32)


@given(words, words)
def test_matches_are_those_of_a_shortest_path(reference, hypothesis):
    pairs = matches(reference, hypothesis)
    assert all(reference[i] == hypothesis[j] for i, j in pairs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs))
    # What lies between two matches is repaired as cheaply as can be, and all of it costs the shortest path.
    steps = [(-1, -1), *pairs, (len(reference), len(hypothesis))]
    cost = sum(max(b[0] - a[0], b[1] - a[1]) - 1 for a, b in pairwise(steps))
    assert cost == align_counts(reference, hypothesis).errors


@pytest.mark.parametrize(("before_s", "after_s"), [(0.4, 0.3), (0.21, 0.6), (0.1, 0.1)])
def test_speech_is_found_by_its_level(before_s, after_s):
    start, end = find_speech(burst(before_s, 1.0, after_s))
    assert abs(start - before_s) <= 0.02
    assert abs(end - before_s - 1.0) <= 0.02


def test_clicks_are_not_speech():
    waveform = burst(0.5, 1.0, 0.5)
    waveform[1600:1700] = 0.9
    assert abs(find_speech(waveform)[0] - 0.5) <= 0.02


def test_slow_decay_is_not_clear():
    waveform = burst(0.3, 1.0, 1.2, noise=1e-4)
    tail = round(1.3 * SAMPLE_RATE)
    decay = np.exp(-6 * np.arange(len(waveform) - tail) / SAMPLE_RATE)
    waveform[tail:] += (0.3 * decay * np.sin(np.arange(len(decay)))).astype(np.float32)
    start, end = find_speech(waveform)
    assert start is not None and end is None


@pytest.mark.parametrize("waveform", [np.zeros(0), np.zeros(100), np.zeros(16000), np.ones(16000) * 0.1])
def test_clips_without_a_voice(waveform):
    assert find_speech(waveform.astype(np.float32)) == (None, None)


def test_noise_is_not_clear():
    noise = np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    assert find_speech(noise) == (None, None)


def test_joining_with_pauses():
    pauses = iter([0.5, 0.75, 1.0])
    clip = burst(0.2, 0.8, 0.2)
    stream, (first, second) = join_with_pauses([(clip, ("a", "b")), (clip, ("c",))], lambda: next(pauses))
    assert len(stream) == round((2 * 1.2 + 2.25) * SAMPLE_RATE)
    assert first.words == ("a", "b") and abs(first.start_s - 0.7) <= 0.02 and abs(first.end_s - 1.5) <= 0.02
    assert abs(second.start_s - (0.5 + 1.2 + 0.75 + 0.2)) <= 0.02
    assert not stream[:8000].any() and not stream[-16000:].any()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of two speakers; each is one burst that says `yes yes`."""
    root = tmp_path_factory.mktemp("joined")
    (root / "speech").mkdir()
    rows = []
    for number in range(8):
        clip = burst(0.2 + 0.05 * number, 0.8, 0.3)
        soundfile.write(root / "speech" / f"{number}.flac", clip, SAMPLE_RATE)
        row = {"id": str(number), "audio": f"{number}.flac", "duration_s": len(clip) / SAMPLE_RATE, "text": "yes yes"}
        rows.append(json.dumps(row | {"speaker": "ab"[number % 2]}))
    (root / "speech" / "bursts.dev.jsonl").write_text("\n".join(rows))
    return root


def clips(data):
    return find_sets(data, ["bursts.dev"], ENGLISH)[0].utterances


class LevelRecognizer:
    """Writes `yes yes` for every burst; its times are wrong by fixed amounts."""

    def __init__(self, late_start_s=0.0, late_end_s=0.0, mishear=()):
        self.late = late_start_s, late_end_s
        self.mishear = mishear

    def transcribe(self, waveform, *, sample_rate):
        loud = np.abs(waveform[: len(waveform) // 80 * 80].reshape(-1, 80)).max(axis=1) > 0.1
        edges = np.flatnonzero(np.diff(loud.astype(int), prepend=0, append=0)) * 80 / sample_rate
        found = []
        for number, (start, end) in enumerate(edges.reshape(-1, 2)):
            text = "no" if number in self.mishear else "yes"
            found.append(Word(text, start + self.late[0], start + 0.3, 1.0))
            found.append(Word(text, start + 0.4, end + self.late[1], 1.0))
        text = " ".join(word.text for word in found)
        return Transcript((Segment(text, 0.0, 1.0, tuple(found)),), len(waveform) / sample_rate)


def test_word_times_are_measured_and_fitted(data):
    errors = measure_word_times(LevelRecognizer(0.12, -0.07, mishear=(2,)), clips(data), ENGLISH)
    assert (errors.boundaries, errors.clear_boundaries, len(errors.starts), len(errors.ends)) == (16, 16, 7, 7)
    assert np.median(errors.starts) == pytest.approx(0.12, abs=0.02)
    assert np.median(errors.ends) == pytest.approx(-0.07, abs=0.02)
    assert errors.median_error_s == pytest.approx(0.095, abs=0.03)
    timing = fit_timing(TimingConfig(word_start_offset_s=0.05, word_end_offset_s=0.01), errors)
    assert timing.word_start_offset_s == pytest.approx(0.05 - 0.12, abs=0.02)
    assert timing.word_end_offset_s == pytest.approx(0.01 + 0.07, abs=0.02)


def test_word_times_are_repeatable(data):
    first, second = (measure_word_times(LevelRecognizer(), clips(data), ENGLISH, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.starts, second.starts)


def test_nothing_right_is_an_error(data):
    with pytest.raises(ConfigError, match="recognised right"):
        measure_word_times(LevelRecognizer(mishear=range(8)), clips(data), ENGLISH)


class LengthTranscriber:
    """Hears `yes yes` in a clip, and one word less than was said in a long stream."""

    name = "length"

    def transcribe(self, waveform, sample_rate):
        seconds = len(waveform) / sample_rate
        return "yes yes" if seconds < 2.5 else "yes " * 7


def test_long_form(data):
    progress = []
    speakers = measure_long_form(LengthTranscriber(), clips(data), ENGLISH, lambda *done: progress.append(done))
    assert [(s.speaker, s.clips, s.apart.errors, s.joined.deletions) for s in speakers] == [
        ("a", 4, 0, 1),
        ("b", 4, 0, 1),
    ]
    assert relative_difference(speakers).value == float("inf")
    assert progress[-1][0] == pytest.approx(progress[-1][1])


def test_relative_difference():
    def speaker(name, apart, joined):
        counts = [ErrorCounts(reference=100, deletions=errors) for errors in (apart, joined)]
        return LongForm(speaker=name, clips=1, duration_s=1.0, apart=counts[0], joined=counts[1])

    difference = relative_difference([speaker("a", 10, 12), speaker("b", 30, 30)])
    assert difference.value == pytest.approx(0.05)
    assert difference.low == pytest.approx(0) and difference.high == pytest.approx(0.2)
    assert relative_difference([speaker("a", 10, 12)]).low is None
    assert relative_difference([speaker("a", 0, 0)]).value == 0


def test_unknown_speakers_cannot_be_joined(data):
    with pytest.raises(ConfigError, match="nothing to join"):
        measure_long_form(LengthTranscriber(), [], ENGLISH)
