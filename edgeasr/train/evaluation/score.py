"""Word and character error counts by Levenshtein alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeasr.diagnosis import align


@dataclass(frozen=True, kw_only=True)
class ErrorCounts:
    """Errors of hypotheses against references, in words or in characters."""

    reference: int = 0
    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0

    @property
    def errors(self) -> int:
        """All errors together."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float:
        """Errors per reference unit; 0 where there is neither."""
        if self.reference == 0:
            return float(self.errors > 0)
        return self.errors / self.reference

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            reference=self.reference + other.reference,
            substitutions=self.substitutions + other.substitutions,
            insertions=self.insertions + other.insertions,
            deletions=self.deletions + other.deletions,
        )


def count_errors(reference: str, hypothesis: str, *, unit: Literal["word", "character"]) -> ErrorCounts:
    """Counts the errors of one utterance in words, or in characters (spaces count as characters)."""
    if unit == "word":
        return align_counts(reference.split(), hypothesis.split())
    return align_counts(reference, hypothesis)


def disagreement(a: str, b: str) -> float:
    """The character errors between two readings, divided by the length of the longer one: from 0 to 1."""
    if a == b:
        return 0.0
    return count_errors(a, b, unit="character").errors / max(len(a), len(b))


def align_counts(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Counts along a shortest edit path; among those of equal length, one with the most substitutions (`align`)."""
    pairs = align(reference, hypothesis)
    return ErrorCounts(
        reference=len(reference),
        substitutions=sum(reference[i] != hypothesis[j] for i, j in pairs.items()),
        insertions=len(hypothesis) - len(pairs),
        deletions=len(reference) - len(pairs),
    )


def matches(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[int, int]]:
    """Places of words that were recognised right, along the same path: (in reference, in hypothesis)."""
    return [(i, j) for i, j in align(reference, hypothesis).items() if reference[i] == hypothesis[j]]
