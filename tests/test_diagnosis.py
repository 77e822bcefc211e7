"""Lost words are blamed on the stage that lost them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeasr.diagnosis import MICROPHONE, MODEL, align, diagnose
from edgeasr.types import Word

REFERENCE = ["turn", "on", "the", "light"]


def words(text: str) -> list[Word]:
    """One word a second."""
    return [Word(word, place, place + 0.8, 1.0) for place, word in enumerate(text.split())]


def trial(text: str, calls: list[str]) -> Callable[[], Sequence[Word]]:
    def hear() -> Sequence[Word]:
        calls.append(text)
        return words(text)

    return hear


def test_nothing_is_lost() -> None:
    calls: list[str] = []
    assert diagnose(REFERENCE, words("turn on the light"), {"gate": trial("", calls)}, duration=4.0) == []
    assert not calls


def test_the_first_stage_without_which_a_word_is_there_lost_it() -> None:
    calls: list[str] = []
    trials = {
        "gate": trial("turn on a light", calls),
        "endpoint": trial("turn the light", calls),
        "beam": trial("turn on the light", calls),
    }
    lost = diagnose(REFERENCE, words("the lights"), trials, duration=4.0)
    assert [(word.word, word.heard, word.stage) for word in lost] == [
        ("turn", None, "gate"),
        ("on", None, "gate"),
        ("light", "lights", "gate"),
    ]
    assert calls == ["turn on a light"]
    lost = diagnose(["alarm", *REFERENCE], words("turn lights"), trials, duration=4.0)
    assert [(word.word, word.stage) for word in lost] == [
        ("alarm", MODEL),
        ("on", "gate"),
        ("the", "endpoint"),
        ("light", "gate"),
    ]


@pytest.mark.parametrize(("gap", "stage"), [((0.9, 1.5), MICROPHONE), ((2.9, 3.5), MODEL)])
def test_missing_sound_is_the_microphones(gap: tuple[float, float], stage: str) -> None:
    heard = [Word("turn", 0.0, 0.8, 1.0), Word("the", 2.0, 2.8, 1.0), Word("light", 3.0, 3.8, 1.0)]
    (lost,) = diagnose(REFERENCE, heard, {}, gaps=[gap], duration=4.0)
    assert (lost.word, lost.start, lost.end, lost.stage) == ("on", 0.8, 2.0, stage)


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_alignments_are_in_order_and_have_the_fewest_errors(reference: list[str], heard: list[str]) -> None:
    pairs = align(reference, heard)
    assert list(pairs) == sorted(pairs)
    assert list(pairs.values()) == sorted(set(pairs.values()))
    wrong = sum(reference[place] != heard[other] for place, other in pairs.items())
    errors = wrong + len(reference) + len(heard) - 2 * len(pairs)

    def fewest(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(
            fewest(i - 1, j - 1) + (reference[i - 1] != heard[j - 1]), fewest(i - 1, j) + 1, fewest(i, j - 1) + 1
        )

    if len(reference) + len(heard) <= 9:
        assert errors == fewest(len(reference), len(heard))
