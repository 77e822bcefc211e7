"""Gate and endpoints: decided by index, exact for any cut, and nothing that was said is lost."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from bundles import TINY, WINDOWED
from hypothesis import given
from hypothesis import strategies as st

from edgeasr import ConfigError, Recognizer, Transcript
from edgeasr.endpoint import EndpointConfig, Endpointer, EnergyGate, GateConfig
from edgeasr.events import Command, Event, Final, Partial, Rejected, SpeechStarted
from edgeasr.stream import Stream
from edgeasr.tokens import TokenTable

FloatArray = npt.NDArray[np.float32]

RATE = 16000
TABLE = TokenTable(["<blank>", "|", "a", "b", "c"], blank_id=0, word_delimiter="|")
SUBWORDS = TokenTable(["<blank>", "▁a", "b", "▁c"], blank_id=0, word_delimiter="▁")
SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.flac"))
SPEECH = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in SAMPLES])

# Random weights hear words everywhere: short rules give them many endpoints.
QUICK = EndpointConfig(
    min_silence_s=0.1,
    min_silence_in_noise_s=0.12,
    longest_utterance_s=1.5,
    start_timeout_s=0.6,
    gate=GateConfig(pre_roll_s=0.1, close_after_s=0.3),
)
CONFIGS = {
    "default": EndpointConfig(),
    "quick": QUICK,
    "no gate": replace(QUICK, gate=None),
}
RECOGNIZERS = {
    "beam": Recognizer(TINY),
    "greedy": Recognizer(TINY, decoder="greedy", min_segment_confidence=0.01),
    "windowed": Recognizer(WINDOWED, decoder="beam", nbest=2),
}


def say(rows: str, table: TokenTable = TABLE, certainty: float = 0.97) -> FloatArray:
    """Log-probs for a row of tokens by name; `.` is the blank."""
    names = ["." if name == "<blank>" else name.strip("▁") for name in table.names]
    probabilities = np.full((len(rows), len(table)), (1 - certainty) / (len(table) - 1))
    probabilities[range(len(rows)), [names.index(row) for row in rows]] = certainty
    return np.log(probabilities).astype(np.float32)


def cuts_of(config: EndpointConfig, log_probs: FloatArray, quiet: list[int], **options: Any) -> list[int]:
    endpointer = Endpointer(config, **{"tokens": TABLE, "frame_s": 0.02, **options})
    found, place = [], 0
    while (end := endpointer.accept(log_probs[place:], quiet[place:])) is not None:
        place += end
        found.append(place)
    return found


def quiet_after(rows: str) -> list[int]:
    """Quiet wherever there is a blank."""
    quiet: list[int] = []
    for row in rows:
        quiet.append((quiet[-1] if quiet else 0) + 1 if row == "." else 0)
    return quiet


RULES = EndpointConfig(min_silence_s=0.3, min_silence_in_noise_s=0.5, longest_utterance_s=2.0, start_timeout_s=1.0)


def test_it_ends_after_silence() -> None:
    rows = "..a.b" + "." * 40 + "c" + "." * 20
    assert cuts_of(RULES, say(rows), quiet_after(rows)) == [5 + 15, 46 + 15]


def test_noise_takes_longer() -> None:
    rows = "..a.b" + "." * 40
    assert cuts_of(RULES, say(rows), [0] * len(rows)) == [5 + 25]


def test_a_soft_word_goes_on_in_spite_of_its_level() -> None:
    rows = "a" + "....c" * 8 + "." * 12
    assert cuts_of(RULES, say(rows), [50] * len(rows)) == [41 + 6]  # what it may still be writing is waited for


def test_nothing_ends_before_something_was_said() -> None:
    rows = "." * 49
    assert cuts_of(RULES, say(rows), [50] * 49) == []
    assert cuts_of(RULES, say(rows + "."), [50] * 50) == [50]  # a start anew


@pytest.mark.parametrize("boundary", range(100, 230))
def test_a_long_utterance_ends_between_words(boundary: int) -> None:
    rows = "ab.c" * 60
    rows = rows[:boundary] + "|" + rows[boundary + 1 :]
    assert cuts_of(RULES, say(rows), [0] * len(rows))[0] == boundary


def test_without_boundaries_it_ends_all_the_same() -> None:
    rows = "ab.c" * 80
    assert cuts_of(RULES, say(rows), [0] * len(rows)) == [100 + 150]


def test_subwords_begin_words() -> None:
    rows = "a" + ".b" * 60 + "c" + ".b" * 10
    assert cuts_of(RULES, say(rows, SUBWORDS), [0] * len(rows), tokens=SUBWORDS) == [121]


@given(rows=st.text("....||abc", max_size=300), seed=st.integers(0, 99), data=st.data())
def test_endpoints_do_not_depend_on_blocks(rows: str, seed: int, data: st.DataObject) -> None:
    random = np.random.default_rng(seed)
    log_probs = say(rows) if rows else np.zeros((0, len(TABLE)), np.float32)
    quiet = random.integers(0, 40, len(rows)).tolist()
    expected = cuts_of(RULES, log_probs, quiet)
    # Logits are log-probs but for a constant of each row.
    assert cuts_of(RULES, log_probs + random.normal(size=(len(rows), 1)).astype("f"), quiet, logits=True) == expected
    endpointer = Endpointer(RULES, tokens=TABLE, frame_s=0.02)
    found, place = [], 0
    for end in [*sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=8))), len(rows)]:
        while (count := endpointer.accept(log_probs[place:end], quiet[place:end])) is not None:
            place += count
            found.append(place)
        place = end
    assert found == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EndpointConfig(min_silence_s=0.0), "min_silence_s is 0.0"),
        (lambda: EndpointConfig(min_silence_s=1.0, min_silence_in_noise_s=0.5), "min_silence_in_noise_s is 0.5"),
        (lambda: EndpointConfig(longest_utterance_s=math.nan), "longest_utterance_s is nan"),
        (lambda: EndpointConfig(start_timeout_s=-1.0), "start_timeout_s is -1.0"),
        (lambda: GateConfig(open_db=3.0, close_db=6.0), "close_db is 6.0 and open_db is 3.0"),
        (lambda: GateConfig(min_level_dbfs=10.0), "min_level_dbfs is 10.0"),
        (lambda: GateConfig(pre_roll_s=-0.1), "pre_roll_s is -0.1"),
        (lambda: GateConfig(close_after_s=math.inf), "close_after_s is inf"),
    ],
)
def test_values_that_cannot_work(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def tones(*parts: tuple[float, float]) -> FloatArray:
    """Noise of some loudness for some seconds, one after the other."""
    random = np.random.default_rng(0)
    return np.concatenate([random.normal(0, level, round(s * RATE)).astype(np.float32) for level, s in parts])


def gated(gate: EnergyGate, sound: FloatArray, cuts: list[int]) -> list[tuple[int, bytes, list[int]]]:
    """What passes, put together to runs: first sample, sound, quiet frames."""
    runs: list[list[Any]] = []
    stretches = [stretch for piece in np.split(sound, cuts) for stretch in gate.accept(piece)]
    closed = True
    for stretch in [*stretches, *gate.finish()]:
        assert stretch.opens == (closed and bool(runs))
        if closed:
            runs.append([stretch.start, b"", []])
        assert stretch.start == runs[-1][0] + len(runs[-1][1]) // 4  # nothing is missing inside a run
        runs[-1][1] += stretch.waveform.tobytes()
        runs[-1][2] += stretch.quiet_frames
        closed = stretch.closes
    assert gate.is_open != closed or not runs
    return [(start, sound, quiet) for start, sound, quiet in runs]


def test_the_gate_closes_and_opens_with_what_was_before() -> None:
    sound = tones((0.001, 3), (0.1, 1), (0.001, 5), (0.1, 1))
    config = GateConfig(pre_roll_s=0.3, close_after_s=1.0)
    runs = gated(EnergyGate(config, sample_rate=RATE), sound, [])
    assert [start / RATE for start, _, _ in runs] == pytest.approx([0.0, 2.7, 8.7], abs=0.06)
    assert [len(run) / 4 / RATE for _, run, _ in runs] == pytest.approx([1.0, 2.3, 1.3], abs=0.06)
    for start, run, quiet in runs:
        assert run == sound[start : start + len(run) // 4].tobytes()
        assert len(quiet) == len(run) // 4 // 160


def test_steady_noise_becomes_background() -> None:
    sound = tones((0.0001, 5), (0.03, 20))
    runs = gated(EnergyGate(GateConfig(), sample_rate=RATE), sound, [])
    start, run, _ = runs[-1]
    assert (start + len(run) // 4) / RATE < 5 + 4 + 1.5 + 1


def test_hum_and_very_soft_sound_do_not_open() -> None:
    hum = 0.01 * np.sin(2 * np.pi * 50 * np.arange(10 * RATE) / RATE).astype(np.float32)
    for sound in (np.concatenate([tones((0.001, 5)), hum + tones((0.001, 10))]), tones((0.0, 5), (0.00003, 5))):
        assert len(gated(EnergyGate(GateConfig(), sample_rate=RATE), sound, [])) == 1


@given(
    sample_rate=st.sampled_from([8000, 16000]),
    parts=st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.01, 0.2]), st.floats(0.0, 1.5)), max_size=6),
    data=st.data(),
)
def test_the_gate_is_exact_for_any_cut(sample_rate: int, parts: list[tuple[float, float]], data: st.DataObject) -> None:
    sound = tones((0.0, 0.01), *parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sound)), max_size=12)))
    whole, cut = (EnergyGate(QUICK.gate or GateConfig(), sample_rate=sample_rate) for _ in range(2))
    assert gated(whole, sound, []) == gated(cut, sound, cuts)
    cut.reset()
    assert gated(cut, sound, []) == gated(EnergyGate(QUICK.gate or GateConfig(), sample_rate=sample_rate), sound, [])


def noisy_speech(num_samples: int) -> FloatArray:
    """Speech with pauses of several lengths, from some place on."""
    random = np.random.default_rng(num_samples)
    sound = np.resize(np.roll(SPEECH, random.integers(len(SPEECH))), num_samples).copy()
    place = 0
    while place < num_samples:
        place += random.integers(1000, 20_000)
        pause = random.integers(100, 12_000)
        sound[place : place + pause] = 0
        place += pause
    return sound + random.normal(0, 0.0005, num_samples).astype(np.float32)


def run(stream: Stream, waveform: FloatArray, cuts: list[int]) -> tuple[Transcript, list[Event], list[Partial]]:
    events, partials = [], []
    segments = []
    for piece in np.split(waveform, cuts):
        partials.append(stream.accept(piece))
        events += stream.take_events()
        segments += stream.take_segments()
    transcript = stream.finish()
    events += stream.take_events()
    return replace(transcript, segments=(*segments, *transcript.segments)), events, partials


@given(
    name=st.sampled_from(sorted(RECOGNIZERS)),
    rules=st.sampled_from(sorted(CONFIGS)),
    sample_rate=st.sampled_from([8000, 16000, 44100]),
    num_samples=st.one_of(st.integers(0, 800), st.integers(1, 120_000)),
    data=st.data(),
)
def test_events_and_segments_are_exact_for_any_cut(
    name: str, rules: str, sample_rate: int, num_samples: int, data: st.DataObject
) -> None:
    waveform = noisy_speech(num_samples)
    cuts = sorted(data.draw(st.lists(st.integers(0, num_samples), max_size=10)))
    recognizer, endpoint = RECOGNIZERS[name], CONFIGS[rules]
    streams = [recognizer.stream(sample_rate=sample_rate, endpoint=endpoint, keep_events=True) for _ in range(2)]
    whole, events, partials = run(streams[0], waveform, [])
    assert run(streams[1], waveform, cuts)[:2] == (whole, events)
    assert streams[0].partial == streams[1].partial
    check_order(events, whole)
    streams[1].reset()
    again, events_again, partials_again = run(streams[1], waveform, [])
    assert (again, events_again, partials_again) == (whole, events, partials)


def check_order(events: list[Event], transcript: Transcript) -> None:
    """Every utterance has a start and one end; times never go back."""
    speaking = False
    for event in events:
        if isinstance(event, SpeechStarted):
            assert not speaking
            speaking = True
        elif isinstance(event, (Final, Rejected, Command)):
            assert speaking
            speaking = False
        else:
            assert speaking
    assert not speaking
    times = [event.time_s for event in events]
    assert times == sorted(times)
    assert all(0 <= time <= transcript.duration for time in times)
    ended = [event.segment for event in events if isinstance(event, (Final, Rejected)) and event.segment is not None]
    assert ended == list(transcript.segments)
    bounds = [time for segment in transcript.segments for word in segment.words for time in (word.start, word.end)]
    assert bounds == sorted(bounds)
    assert all(0 <= bound <= transcript.duration for bound in bounds)


def test_one_sample_at_a_time() -> None:
    waveform = noisy_speech(20_000)
    for recognizer in RECOGNIZERS.values():
        streams = [recognizer.stream(endpoint=QUICK, keep_events=True) for _ in range(2)]
        expected = run(streams[0], waveform, [])
        assert len(expected[0].segments) > 1
        assert run(streams[1], waveform, list(range(1, len(waveform))))[:2] == expected[:2]


def test_segments_cover_what_was_said() -> None:
    """The rows behind an endpoint are what they would have been, so the words are nearly those of one utterance."""
    waveform = noisy_speech(20 * RATE)
    recognizer = RECOGNIZERS["greedy"]
    whole = recognizer.transcribe(waveform, sample_rate=RATE, endpoint=None)
    cut = recognizer.transcribe(waveform, sample_rate=RATE, endpoint=replace(QUICK, gate=None))
    assert len(cut.segments) > 5 and len(whole.segments) == 1
    # The greedy decoder has no memory beyond a token: the letters are the same, and no word is lost.
    letters = ["".join(word.text for word in transcript.words) for transcript in (whole, cut)]
    assert letters[0] == letters[1]


ENGLISH = Recognizer("en-small")


def test_no_endpoint_cuts_a_word() -> None:
    """Wherever an utterance becomes too long, "carrying" stays "carrying"."""
    recognizer = Recognizer("en-small", decoder="greedy")
    sound = SPEECH[: 8 * RATE]
    never = EndpointConfig(min_silence_s=30.0, min_silence_in_noise_s=30.0, longest_utterance_s=60.0, gate=None)
    expected = recognizer.transcribe(sound, sample_rate=RATE, endpoint=None).text
    assert recognizer.transcribe(sound, sample_rate=RATE, endpoint=never).text == expected
    for row in range(5, 400):
        endpoint = replace(never, longest_utterance_s=row * 0.02)
        transcript = recognizer.transcribe(sound, sample_rate=RATE, endpoint=endpoint)
        assert transcript.text == expected, row
        assert len(transcript.segments) > 1 or row > 300


def test_in_quiet_it_does_not_wait_for_a_chunk() -> None:
    """The model's rows come every 0.4 s; an utterance ends as soon as it has been quiet for long enough."""
    recognizer = Recognizer("en-small")
    background = np.random.default_rng(0).normal(0, 0.0003, 3 * RATE).astype(np.float32)
    delays = []
    for phase in range(0, 6400, 800):
        stream = recognizer.stream(endpoint=EndpointConfig(), keep_events=True)
        sound = np.concatenate([background[:phase], SPEECH[: 3 * RATE], background])
        end = phase + 3 * RATE
        stream.accept(sound)
        finals = [event for event in stream.take_events() if isinstance(event, Final) and event.time_s > end / RATE]
        assert len(finals) == 1
        delays.append(finals[0].time_s - end / RATE)
        stream.finish()
        assert stream.take_events() == []  # nothing was left for another utterance
    assert max(delays) - min(delays) < 0.1
    assert max(delays) < EndpointConfig().min_silence_s + 0.15
