"""Error counts against all edit paths, and what sums and rates mean."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from edgeasr.train.evaluation.score import ErrorCounts, align_counts, count_errors

words = st.lists(st.sampled_from("abc"), max_size=5).map(tuple)


@cache
def all_paths(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> frozenset[tuple[int, int, int]]:
    """(substitutions, insertions, deletions) of every edit path, equal words passed over or not."""
    if not reference and not hypothesis:
        return frozenset({(0, 0, 0)})
    paths = set()
    if reference and hypothesis:
        wrong = reference[0] != hypothesis[0]
        paths |= {(s + wrong, i, d) for s, i, d in all_paths(reference[1:], hypothesis[1:])}
    if hypothesis:
        paths |= {(s, i + 1, d) for s, i, d in all_paths(reference, hypothesis[1:])}
    if reference:
        paths |= {(s, i, d + 1) for s, i, d in all_paths(reference[1:], hypothesis)}
    return frozenset(paths)


@given(words, words)
def test_counts_are_those_of_a_shortest_path_with_the_most_substitutions(reference, hypothesis):
    counts = align_counts(reference, hypothesis)
    best = min(all_paths(reference, hypothesis), key=lambda path: (sum(path), -path[0]))
    assert (counts.substitutions, counts.insertions, counts.deletions) == best
    assert counts.reference == len(reference)


@given(words, words)
def test_counts_turn_around_with_their_arguments(reference, hypothesis):
    there, back = align_counts(reference, hypothesis), align_counts(hypothesis, reference)
    assert (there.substitutions, there.insertions, there.deletions) == (
        back.substitutions,
        back.deletions,
        back.insertions,
    )
    assert len(reference) + there.insertions - there.deletions == len(hypothesis)


@given(words)
def test_equal_texts_have_no_errors(reference):
    assert align_counts(reference, reference) == ErrorCounts(reference=len(reference))


def test_words_and_characters():
    assert count_errors("he was not", "he wars  not a", unit="word") == ErrorCounts(
        reference=3, substitutions=1, insertions=1
    )
    assert count_errors("a b", "ab", unit="character") == ErrorCounts(reference=3, deletions=1)


def test_sums_and_rates():
    total = ErrorCounts(reference=4, substitutions=1) + ErrorCounts(reference=6, insertions=2, deletions=3)
    assert total == ErrorCounts(reference=10, substitutions=1, insertions=2, deletions=3)
    assert total.errors == 6
    assert total.rate == 0.6
    assert ErrorCounts().rate == 0
    assert ErrorCounts(insertions=1).rate == 1
