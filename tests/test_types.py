"""Results: immutable, and cheap however long a stream has run."""

import dataclasses

import pytest

from edgeasr import Partial, Segment, Transcript, Word
from edgeasr.types import UNSURE_MARK, shown, text_of

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
        partial.time_s = 1.0  # type: ignore[misc]


def test_a_partial_does_not_see_words_that_are_committed_later() -> None:
    committed = [GOOD]
    partial = Partial(committed, (MORNING,), 0.8)
    committed.append(Word("night", 0.4, 0.8, 0.1))
    assert partial.text == "good morning"
    assert partial.words == (GOOD, MORNING)
    assert partial.num_committed_words == 1
    assert partial.tentative == (MORNING,)


def test_confidence_of_a_segment_is_the_share_of_words_expected_to_be_right() -> None:
    segment = Segment("good morning", 0.1, 0.8, (GOOD, MORNING))
    assert segment.confidence == pytest.approx(0.75)
    assert Transcript((segment,), 1.0).confidence == pytest.approx(0.75)
    assert Segment("", 0.0, 0.0, ()).confidence == 0.0
    assert Transcript((), 1.0).confidence is None


def unsure(*texts: str) -> list[Word]:
    """Words in their order; those in capitals are not accepted."""
    return [Word(text, i, i + 0.5, 0.25 + i / 10, accepted=text.islower()) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("words", "marked", "dropped"),
    [
        ([], "", ""),
        (["a", "b"], "a b", "a b"),
        (["A", "B", "c", "D"], "[?] c [?]", "c"),
        (["A"], "[?]", ""),
    ],
)
def test_a_run_of_words_that_are_not_accepted_is_one_mark(words: list[str], marked: str, dropped: str) -> None:
    assert text_of(unsure(*words), UNSURE_MARK) == marked
    assert text_of(unsure(*words), "") == dropped


def test_a_mark_stands_for_the_time_of_all_its_words() -> None:
    first, mark = shown(unsure("a", "B", "C"), "...")
    assert first == Word("a", 0, 0.5, 0.25)
    assert mark == Word("...", 1, 2.5, 0.45, accepted=False)


def test_of_a_segment_that_is_not_accepted_only_the_mark_is_shown() -> None:
    words = tuple(unsure("a", "B", "c"))
    transcript = Transcript((Segment("[?]", 0, 2.5, words, accepted=False),), 3.0)
    assert transcript.words == words
    assert [word.text for word in transcript.shown_words] == ["[?]"]
    left_out = Transcript(
        (Segment("", 0, 2.5, words, accepted=False), Segment("good", 3, 4, (GOOD,))), 5.0, unsure_mark=""
    )
    assert left_out.text == "good"
    assert left_out.shown_words == (GOOD,)


def test_partials_show_the_mark_too() -> None:
    committed = unsure("a", "B")
    partial = Partial(committed, tuple(unsure("C", "d")), 1.0, calibrated=True)
    assert partial.text == "a [?] d"
    assert partial.calibrated
    assert len(partial.words) == 4
    assert Partial(committed, (), 1.0, unsure_mark="").text == "a"


def test_partials_are_compared_by_value() -> None:
    committed = [GOOD]
    partial = Partial(committed, (MORNING,), 0.8)
    committed.append(MORNING)  # the stream goes on
    same = Partial([GOOD], (MORNING,), 0.8)
    assert partial == same and hash(partial) == hash(same)
    for other in (Partial([GOOD, MORNING], (), 0.8), Partial([GOOD], (MORNING,), 0.9), Partial([GOOD], (), 0.8), "x"):
        assert partial != other
    match partial:
        case Partial(before, after):
            assert (before, after) == ((GOOD,), (MORNING,))
