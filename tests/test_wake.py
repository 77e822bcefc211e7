"""Wake phrases: the cheapest alignment is found, wherever rows are cut, and only what follows is listened to."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeasr import Recognizer
from edgeasr.cli import main
from edgeasr.endpoint import EndpointConfig, GateConfig
from edgeasr.errors import ConfigError
from edgeasr.events import Final, SpeechStarted, Woken
from edgeasr.session import event_record
from edgeasr.tokens import TokenTable
from edgeasr.wake import AMID_A_WORD_COST, KeywordSpotter, WakeConfig

TABLE = TokenTable(["<blank>", "|", "a", "b"], blank_id=0, word_delimiter="|")
RATE = 16000


def rows_of(text: str, other: float = -4.0) -> np.ndarray:
    """Rows that prefer these tokens; `-` is the blank."""
    rows = np.full((len(text), 4), other, np.float32)
    rows[range(len(text)), ["-|ab".index(letter) for letter in text]] = -0.1
    return rows


def spotter(phrase: str, cost: float = 1.2) -> KeywordSpotter:
    return KeywordSpotter(WakeConfig(phrase=phrase, max_letter_cost=cost), tokens=TABLE, frame_s=0.08)


def found(phrase: str, text: str, cost: float = 0.5) -> list[tuple[int, int]]:
    return [(place.start_row, place.end_row) for place in spotter(phrase, cost).accept(rows_of(text + "-----"))]


@pytest.mark.parametrize(
    ("phrase", "text", "places"),
    [
        ("ab", "--ab-", [(2, 4)]),
        ("ab", "aab--", [(0, 3)]),
        ("ab", "a--b-|-a", [(0, 4)]),
        ("aa", "--aaa--", []),  # one letter, not two
        ("aa", "--a-a--", [(2, 5)]),
        ("a b", "a|b", [(0, 3)]),
        ("a b", "ab", []),
        ("ab", "|ab|-----|-ab|", [(1, 3), (11, 13)]),
        ("ab", "-bab-", []),  # amid a word
        ("ab", "-aba-", []),
        ("ab", "-ab", [(1, 3)]),
        ("ab", "ba", []),
    ],
)
def test_places(phrase: str, text: str, places: list[tuple[int, int]]) -> None:
    assert found(phrase, text) == places


def test_amid_a_word_costs_more() -> None:
    assert found("ab", "-bab-", AMID_A_WORD_COST / 2 + 0.1)
    assert not found("ab", "-bab-", AMID_A_WORD_COST / 2 - 0.1)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(["a", "ab", "aa", "a b"]), st.integers(1, 6))
def test_the_cost_is_that_of_the_cheapest_alignment(seed: int, phrase: str, num_rows: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.log(rng.dirichlet(np.ones(4), num_rows)).astype(np.float32)
    # Nothing but a pause before and after, so that the phrase is no part of a word.
    pause = np.tile(np.log(np.array([0.997, 0.001, 0.001, 0.001], np.float32)), (4, 1))
    every = np.concatenate([pause, rows, pause]).astype(np.float64)
    letters = ["-|ab".index(letter) for letter in phrase.replace(" ", "|")]
    cheapest = np.inf
    for begin, end in itertools.combinations(range(len(every) + 1), 2):
        for path in itertools.product({0, *letters}, repeat=end - begin) if end - begin <= 7 else ():
            collapsed = [token for place, token in enumerate(path) if token and (not place or path[place - 1] != token)]
            if collapsed == letters and path[0] and path[-1]:
                part = every[begin:end]
                cost = (part.max(1) - part[np.arange(end - begin), list(path)]).sum()
                before = every[:begin].argmax(1)
                written = [token for token in before if token]
                cost += AMID_A_WORD_COST if written and written[-1] != 1 else 0.0
                cheapest = min(cheapest, cost)
    search = spotter(phrase, 1e6)
    search.settled_rows = 10**6  # nothing is told, so that all ends can be looked at
    costs = []
    for row in every:
        search.accept(row[np.newaxis])
        costs.append(search._cost[-1])
    assert min(costs) <= cheapest + 1e-6
    if num_rows <= 5:
        assert min(costs) == pytest.approx(cheapest, abs=1e-6)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 60), max_size=6), st.integers(0, 10**6))
def test_the_cut_of_the_rows_changes_nothing(cuts: list[int], seed: int) -> None:
    rows = np.log(np.random.default_rng(seed).dirichlet(np.ones(4) / 3, 60)).astype(np.float32)
    search = spotter("ab", 2.0)
    whole = search.accept(rows)
    search.reset()
    assert [place for part in np.split(rows, sorted(cuts)) for place in search.accept(part)] == whole


@pytest.mark.parametrize("phrase", ["", "  "])
def test_no_phrase(phrase: str) -> None:
    with pytest.raises(ConfigError, match="has no letters"):
        WakeConfig(phrase=phrase)


def test_a_phrase_that_the_model_cannot_spell() -> None:
    with pytest.raises(ConfigError, match="they lack '5'"):
        spotter("ab 5")
    with pytest.raises(ConfigError, match="expected a number above 0"):
        WakeConfig(phrase="a", max_letter_cost=0)


def test_what_is_spelled_otherwise() -> None:
    assert [(place.start_row, place.end_row) for place in spotter("Ab").accept(rows_of("--ab-----"))] == [(2, 4)]
    for phrase in ("a|b", "|"):
        with pytest.raises(ConfigError, match="they lack"):
            spotter(phrase)
    subwords = TokenTable(["<blank>", "▁a", "a", "b"], blank_id=0, word_delimiter="▁")
    with pytest.raises(ConfigError, match="they lack '▁'"):
        KeywordSpotter(WakeConfig(phrase="ab"), tokens=subwords, frame_s=0.04)


def said(samples_dir: Path, names: tuple[str, ...]) -> np.ndarray:
    pause = np.random.default_rng(0).normal(0, 0.0003, RATE).astype(np.float32)
    parts = [soundfile.read(samples_dir / f"austen-{name}.flac", dtype="float32")[0] for name in names]
    return np.concatenate([part for sound in parts for part in (pause, sound, pause)])


def heard(sound: np.ndarray, block: int, **options: Any) -> list[Any]:
    blocks = [sound[start : start + block] for start in range(0, len(sound), block)]
    return list(Recognizer("en-small").listen(blocks, sample_rate=RATE, **options))


def test_one_utterance_is_listened_to_after_the_phrase(samples_dir: Path) -> None:
    sound = said(samples_dir, ("0880", "0930", "0880"))
    wake = WakeConfig(phrase="made amiable")
    events = heard(sound, 1600, wake=wake)
    assert [type(event) for event in events[:2]] == [Woken, SpeechStarted]
    (woken,) = (event for event in events if isinstance(event, Woken))
    (final,) = (event for event in events if isinstance(event, Final))
    # The last word of the second recording follows, and ends where that does.
    end_s = len(said(samples_dir, ("0880", "0930"))) / RATE - 1
    assert len(final.words) == 1
    assert woken.start < woken.end <= final.start + 0.1 <= final.end < end_s < final.time_s
    assert 0.5 < woken.end - woken.start < 1.1
    assert end_s - 2.5 < woken.start
    for block in (333, 16000, len(sound)):
        assert [*map(event_record, heard(sound, block, wake=wake))] == [*map(event_record, events)]


def test_it_sleeps_when_nothing_follows(samples_dir: Path) -> None:
    sound = np.concatenate([said(samples_dir, ("0930",)), np.zeros(3 * RATE, np.float32), said(samples_dir, ("0880",))])
    phrase = Recognizer("en-small").transcribe(samples_dir / "austen-0930.flac").text
    wakes = [WakeConfig(phrase=phrase, awake_s=seconds) for seconds in (2.0, 30.0)]
    short, long = (heard(sound, 1600, wake=wake) for wake in wakes)
    assert [type(event) for event in short] == [Woken]
    assert type(long[0]) is Woken
    assert any(isinstance(event, Final) for event in long)


def test_a_phrase_of_long_ago_is_forgotten_while_the_gate_is_shut(samples_dir: Path) -> None:
    first = soundfile.read(samples_dir / "austen-0870.flac", dtype="float32")[0][:RATE]
    onset = soundfile.read(samples_dir / "austen-0880.flac", dtype="float32")[0][RATE // 4 :]
    sound = np.concatenate([first, np.zeros(20 * RATE, np.float32), onset])
    endpoint = EndpointConfig(gate=GateConfig(pre_roll_s=0.0))
    events = heard(sound, 1600, wake=WakeConfig(phrase="mister john", awake_s=2.0), endpoint=endpoint)
    assert [type(event) for event in events] == [Woken]


def test_a_stream_starts_asleep_again(samples_dir: Path) -> None:
    sound = said(samples_dir, ("0930",))
    stream = Recognizer("en-small").stream(sample_rate=RATE, wake=WakeConfig(phrase="made amiable"), keep_events=True)
    stream.accept(sound)
    first = stream.finish()
    events = stream.take_events()
    stream.reset()
    stream.accept(sound)
    assert stream.finish() == first
    assert stream.take_events() == events
    assert first.text
    assert "made" not in first.text


def test_the_command_refuses_what_cannot_be_spelled(capsys: pytest.CaptureFixture[str]) -> None:
    class Microphone:
        name, sample_rate, num_lost = "fake", RATE, 0

        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> Microphone:
            return self

        def __exit__(self, *_: object) -> None: ...
        def blocks(self) -> list[Any]:
            return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeasr.microphone.Microphone", Microphone)
        assert main(["listen", "--wake", "r2d2"]) == 2
        assert "cannot spell the wake phrase" in capsys.readouterr().err
        assert main(["listen", "--wake", "hey computer", "--wake-cost", "0.8"]) == 0
