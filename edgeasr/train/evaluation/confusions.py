"""What is taken for what: the most frequent substitutions, deletions and insertions of words and of characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from edgeasr.diagnosis import align

Item = TypeVar("Item", str, tuple[str, str])


class Pair(Protocol):
    """A reference and what was recognised, both normalised; `evaluate.Result` is one."""

    @property
    def reference(self) -> str:
        """What is said."""

    @property
    def hypothesis(self) -> str:
        """What was recognised."""


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """Errors by what was said and what was recognised, the most frequent first, equals by the alphabet.

    Attributes:
        substitutions: What was said, what was recognised instead, how often, and how often the first was said in all.
        deletions: What was said and is missing, how often, and how often it was said in all.
        insertions: What was recognised where nothing was said, and how often.
    """

    substitutions: tuple[tuple[str, str, int, int], ...]
    deletions: tuple[tuple[str, int, int], ...]
    insertions: tuple[tuple[str, int], ...]


def confusions(pairs: Iterable[Pair], *, unit: Literal["word", "character"], most: int | None = None) -> Confusions:
    """Counts along the alignment that the error rates are counted on.

    Args:
        pairs: What was said and what was recognised, clip by clip.
        unit: Words, or characters, of which the space is one.
        most: Keep so many of each kind; None for all.
    """
    substitutions: Counter[tuple[str, str]] = Counter()
    deletions: Counter[str] = Counter()
    insertions: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for pair in pairs:
        reference, hypothesis = (
            text.split() if unit == "word" else list(text) for text in (pair.reference, pair.hypothesis)
        )
        places = align(reference, hypothesis)
        said.update(reference)
        for place, item in enumerate(reference):
            if place not in places:
                deletions[item] += 1
            elif hypothesis[places[place]] != item:
                substitutions[item, hypothesis[places[place]]] += 1
        found = set(places.values())
        insertions.update(item for place, item in enumerate(hypothesis) if place not in found)
    return Confusions(
        substitutions=tuple((a, b, count, said[a]) for (a, b), count in _first(substitutions, most)),
        deletions=tuple((item, count, said[item]) for item, count in _first(deletions, most)),
        insertions=tuple(_first(insertions, most)),
    )


def _first(counts: Counter[Item], most: int | None) -> list[tuple[Item, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
