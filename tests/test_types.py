"""Results: immutable, and cheap however long a stream has run."""

import dataclasses

import pytest

from edgeasr import Partial, Segment, Transcript, Word

GOOD = Word("good", 0.1, 0.3, 0.9)
MORNING = Word("morning", 0.4, 0.8, 0.6)


def test_transcript_joins_its_segments() -> None:
    transcript = Transcript((Segment("good", 0.1, 0.3, (GOOD,)), Segment("morning", 0.4, 0.8, (MORNING,))), 1.0)
    assert transcript.text == "good morning"
    assert transcript.words == (GOOD, MORNING)
    assert Transcript((), 0.0).text == ""


def test_results_cannot_be_changed() -> None:
    for result, name in ((GOOD, "text"), (Segment("", 0, 0, ()), "words"), (Transcript((), 0.0), "duration")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, name, None)
    partial = Partial([GOOD], (), 0.5)
    with pytest.raises(AttributeError):
        partial.duration = 1.0  # type: ignore[misc]


def test_a_partial_does_not_see_words_that_are_committed_later() -> None:
    committed = [GOOD]
    partial = Partial(committed, (MORNING,), 0.8)
    committed.append(Word("night", 0.4, 0.8, 0.1))
    assert partial.text == "good morning"
    assert partial.words == (GOOD, MORNING)
    assert partial.num_committed_words == 1
    assert partial.tail == (MORNING,)
