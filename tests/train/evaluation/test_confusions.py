"""What is taken for what, counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

from edgeasr.train.evaluation.confusions import Confusions, confusions
from edgeasr.train.evaluation.score import count_errors


def pairs(*texts: tuple[str, str]) -> list[SimpleNamespace]:
    return [SimpleNamespace(reference=reference, hypothesis=hypothesis) for reference, hypothesis in texts]


HEARD = pairs(
    ("turn the light on", "turn a light on"),  # the -> a
    ("turn the radio off", "turn radio of"),  # the is missing, off -> of
    ("the end", "a end uh"),  # the -> a, uh is too much
    ("on", "on"),
    ("", "uh"),
)


def test_words_by_hand():
    assert confusions(HEARD, unit="word") == Confusions(
        substitutions=(("the", "a", 2, 3), ("off", "of", 1, 1)),
        deletions=(("the", 1, 3),),
        insertions=(("uh", 2),),
    )


def test_characters_by_hand():
    # a space is missing, and of two letters that are equally good to leave out one is
    assert confusions(pairs(("a bc", "abd"), ("off", "of")), unit="character") == Confusions(
        substitutions=(("c", "d", 1, 1),), deletions=((" ", 1, 1), ("f", 1, 2)), insertions=()
    )


def test_they_are_as_many_as_the_errors_that_are_counted():
    for unit in ("word", "character"):
        found = confusions(HEARD, unit=unit)
        counts = sum(
            (count_errors(p.reference, p.hypothesis, unit=unit) for p in HEARD[1:]),
            start=count_errors(HEARD[0].reference, HEARD[0].hypothesis, unit=unit),
        )
        assert sum(count for _, _, count, _ in found.substitutions) == counts.substitutions
        assert sum(count for _, count, _ in found.deletions) == counts.deletions
        assert sum(count for _, count in found.insertions) == counts.insertions


def test_only_the_most_frequent_are_kept():
    assert confusions(HEARD, unit="word", most=1).substitutions == (("the", "a", 2, 3),)
    assert confusions([], unit="word") == Confusions(substitutions=(), deletions=(), insertions=())
