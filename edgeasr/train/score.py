"""Word and character error counts by Levenshtein alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


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


def align_counts(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Counts along a shortest edit path; among those of equal length, one with the most substitutions."""
    # A cell is (errors, insertions + deletions, insertions, deletions) of the best path to it.
    row = [(j, j, j, 0) for j in range(len(hypothesis) + 1)]
    for i, r in enumerate(reference, start=1):
        above_left = row[0]
        row[0] = (i, i, 0, i)
        for j, h in enumerate(hypothesis, start=1):
            above = row[j]
            if r == h:
                best = above_left
            else:
                left = row[j - 1]
                best = min(
                    (above_left[0] + 1, *above_left[1:]),
                    (left[0] + 1, left[1] + 1, left[2] + 1, left[3]),
                    (above[0] + 1, above[1] + 1, above[2], above[3] + 1),
                )
            row[j] = best
            above_left = above
    errors, indels, insertions, deletions = row[-1]
    return ErrorCounts(
        reference=len(reference), substitutions=errors - indels, insertions=insertions, deletions=deletions
    )
