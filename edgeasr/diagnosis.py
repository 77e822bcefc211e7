"""Which stage lost a word: the sound is heard again with one stage after the other left out or made better.

If a word that was lost is there when the gate stands open, the gate has lost it; and so on, in the order in which the
stages are to be blamed. What no stage can be blamed for, the model has not heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeasr.types import Word

MICROPHONE = "microphone"
MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class LostWord:
    """A word of the reference that was not understood.

    Attributes:
        word: The word.
        place: Its number in the reference, from 0.
        heard: What stands in its place; None where nothing does.
        start: Where in the sound it must be, from about ...
        end: ... to about here, in seconds.
        stage: What lost it: `microphone`, the name of a trial, or `model`.
    """

    word: str
    place: int
    heard: str | None
    start: float
    end: float
    stage: str


def diagnose(
    reference: Sequence[str],
    heard: Sequence[Word],
    trials: Mapping[str, Callable[[], Sequence[Word]]],
    *,
    gaps: Iterable[tuple[float, float]] = (),
    duration: float,
) -> list[LostWord]:
    """Finds out for each lost word which stage lost it.

    Args:
        reference: The words that were said.
        heard: The words that were understood.
        trials: By the name of a stage what is understood when this stage cannot lose anything; in the order in which
            they are to be blamed. Each is called at most once, and only if words are left that nobody lost.
        gaps: Where sound is missing, in seconds from and to.
        duration: Length of the sound in seconds.
    """
    gaps = list(gaps)
    places = align(reference, [word.text for word in heard])
    right = {place: heard[other] for place, other in places.items() if heard[other].text == reference[place]}
    lost: dict[int, LostWord] = {}
    for place, word in enumerate(reference):
        if place in right:
            continue
        start = max((other.end for at, other in right.items() if at < place), default=0.0)
        end = max(start, min((other.start for at, other in right.items() if at > place), default=duration))
        lost[place] = LostWord(
            word=word,
            place=place,
            heard=heard[places[place]].text if place in places else None,
            start=start,
            end=end,
            stage=MICROPHONE if any(begin < end and start < until for begin, until in gaps) else MODEL,
        )
    for stage, attempt in trials.items():
        unexplained = [loss for loss in lost.values() if loss.stage == MODEL]
        if not unexplained:
            break
        texts = [word.text for word in attempt()]
        found = align(reference, texts)
        for loss in unexplained:
            if loss.place in found and texts[found[loss.place]] == loss.word:
                lost[loss.place] = replace(loss, stage=stage)
    return list(lost.values())


def align(reference: Sequence[str], heard: Sequence[str]) -> dict[int, int]:
    """Pairs words of the reference with those that were heard: the fewest errors (Levenshtein 1966), then most pairs.

    Of the ways to turn one into the other with the fewest errors, it is one with the most substitutions. What has no
    partner in the reference is an insertion, what has none in `heard` a deletion.

    Args:
        reference: What was said: words, or the characters of a text.
        heard: What was understood.

    Returns:
        The place in `heard` for each place in `reference` that has one: the same word, or one that stands for it.

    Example:
        >>> align(["turn", "on", "the", "light"], ["turn", "the", "lights"])
        {0: 0, 2: 1, 3: 2}
    """
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*reference, *heard]))}
    found = np.array([numbers[word] for word in heard], np.int64)
    # All errors outweigh the number of words without a partner, which only decides between equals.
    error = len(reference) + len(heard) + 1
    alone = error + 1
    alone_before = alone * np.arange(len(heard) + 1)
    rows = np.empty((len(reference) + 1, len(heard) + 1), np.int64)
    rows[0] = alone_before
    for place, word in enumerate(reference, 1):
        above, row = rows[place - 1], rows[place]
        row[0] = alone * place
        np.minimum(above[:-1] + error * (found != numbers[word]), above[1:] + alone, out=row[1:])
        # From the left: the cheapest cell before, and an insertion for each step from there.
        row[:] = np.minimum.accumulate(row - alone_before) + alone_before
    pairs: dict[int, int] = {}
    place, other = len(reference), len(heard)
    while place and other:
        here = rows[place, other]
        if here == rows[place - 1, other - 1] + error * (reference[place - 1] != heard[other - 1]):
            place, other = place - 1, other - 1
            pairs[place] = other
        elif here == rows[place - 1, other] + alone:
            place -= 1
        else:
            other -= 1
    return dict(sorted(pairs.items()))
