"""How honest confidences are: calibration error, precision and recall, cross entropy, and the reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeasr.train.evaluation.bootstrap import Interval, resampled_sums
from edgeasr.train.evaluation.score import matches

if TYPE_CHECKING:
    from edgeasr.train.evaluation.evaluate import Result

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NUM_BINS = 15
# Probabilities are kept off 0 and 1 where their log is taken: one wrong word must not be worth all others.
_LEAST = 1e-4


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Words with confidences, and whether they were right.

    Attributes:
        confidence: (num_words,), in 0..1.
        right: (num_words,) 1 or 0.
        clip: (num_words,) number of the clip that the word is of.
    """

    confidence: FloatArray
    right: FloatArray
    clip: IntArray

    def __len__(self) -> int:
        return len(self.right)


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """What is to be known of some words with confidences.

    Attributes:
        words: How many.
        right: The share of them that is right.
        mean: Their mean confidence.
        ece: Expected calibration error: see `calibration_error`.
        noise: The calibration error that confidences without any fault would show on so few words.
        nce: Normalised cross entropy: 1 for perfect knowledge, 0 for no more than the share of right words, less for
            confidences that mislead.
        errors_found: Area under the precision-recall curve of finding wrong words by low confidence.
        right_found: The same of finding right words by high confidence.
    """

    words: int
    right: float
    mean: float
    ece: Interval
    noise: float
    nce: float
    errors_found: float
    right_found: float


def measure(judged: Judged, *, seed: int = 0) -> Reliability | None:
    """All figures; None where there is no word, or no right or no wrong one: nothing can be found then."""
    share = float(judged.right.mean()) if len(judged) else 0.0
    if not 0 < share < 1:
        return None
    return Reliability(
        words=len(judged),
        right=share,
        mean=float(judged.confidence.mean()),
        ece=calibration_error(judged, seed=seed),
        noise=calibration_noise(judged, seed=seed),
        nce=normalised_cross_entropy(judged),
        errors_found=average_precision(1 - judged.confidence, 1 - judged.right),
        right_found=average_precision(judged.confidence, judged.right),
    )


def judge_results(results: Sequence[Result]) -> Judged | None:
    """The words of clips that were recognised with confidences, and which of them are right; None where there are none.

    A word is right where the alignment that error rates are counted on pairs it with the same word.
    """
    heard = [(number, result) for number, result in enumerate(results) if result.confidences is not None]
    confidence: list[float] = []
    right: list[float] = []
    clip: list[int] = []
    for number, result in heard:
        words = result.hypothesis.split()
        found = {place for _, place in matches(result.reference.split(), words)}
        confidence += result.confidences or ()
        right += [float(place in found) for place in range(len(words))]
        clip += [number] * len(words)
    if not confidence:
        return None
    return Judged(confidence=np.array(confidence), right=np.array(right), clip=np.array(clip))


def bins(judged: Judged, num_bins: int = NUM_BINS) -> IntArray:
    """(num_words,) the bin of each word: bins hold equally many words, in the order of their confidence."""
    order = np.argsort(judged.confidence, kind="stable")
    numbers = np.empty(len(judged), np.int64)
    numbers[order] = np.arange(len(judged)) * num_bins // max(1, len(judged))
    return numbers


def calibration_error(judged: Judged, *, num_bins: int = NUM_BINS, seed: int = 0) -> Interval:
    """Expected calibration error: how far the share of right words is from the mean confidence, on average over bins.

    Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", with bins of equal mass. The
    interval is a basic bootstrap by clip; resampling adds noise of its own to an error that cannot be negative, and
    the basic interval takes it off again.
    """
    gap = judged.right - judged.confidence
    clips, clip = np.unique(judged.clip, return_inverse=True)
    table = np.zeros((len(clips), num_bins + 1))
    np.add.at(table, (clip, bins(judged, num_bins)), gap)
    np.add.at(table[:, -1], clip, 1.0)
    value = float(np.abs(table[:, :-1].sum(axis=0)).sum() / max(1, len(judged)))
    sums = resampled_sums([table], seed=seed)
    if sums is None:
        return Interval(value=value)
    resampled = np.abs(sums[:, :-1]).sum(axis=1) / np.maximum(sums[:, -1], 1)
    return Interval.of(value, np.maximum(0.0, 2 * value - resampled))


def calibration_noise(judged: Judged, *, num_bins: int = NUM_BINS, draws: int = 200, seed: int = 0) -> float:
    """The mean calibration error if each word were right with exactly the probability that is its confidence."""
    random = np.random.default_rng(seed)
    numbers = bins(judged, num_bins)
    total = 0.0
    for _ in range(draws):
        gap = (random.random(len(judged)) < judged.confidence) - judged.confidence
        total += float(np.abs(np.bincount(numbers, gap, num_bins)).sum()) / max(1, len(judged))
    return total / draws


def normalised_cross_entropy(judged: Judged) -> float:
    """One minus the cross entropy of the confidences over that of always stating the share of right words (NIST)."""
    share = judged.right.mean()
    least = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    confidence = np.clip(judged.confidence, _LEAST, 1 - _LEAST)
    found = -np.mean(judged.right * np.log(confidence) + (1 - judged.right) * np.log(1 - confidence))
    return float(1 - found / least)


def average_precision(score: FloatArray, positive: FloatArray) -> float:
    """Area under the precision-recall curve, a step at each distinct score; 0 where nothing is positive."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(positive[order])
    if not len(hits) or hits[-1] == 0:
        return 0.0
    last = np.append(np.diff(score[order]) != 0, True)  # of those with equal scores
    found, taken = hits[last], np.flatnonzero(last) + 1
    return float(np.sum(np.diff(found, prepend=0) * found / taken) / hits[-1])


def diagram(title: str, curves: Mapping[str, Judged], num_bins: int = NUM_BINS) -> str:
    """The reliability diagram as SVG: what share is right of words with about the same confidence.

    Args:
        title: What is shown.
        curves: Words by what the legend calls them, three at most.
        num_bins: Points of each curve; they stand for equally many words.
    """
    size, left, top, bottom = 320, 56, 40, 48
    colours = ("#b0561f", "#1f6fb0", "#3a8a3a")

    def x(value: float) -> float:
        return round(left + size * value, 1)

    def y(value: float) -> float:
        return round(top + size * (1 - value), 1)

    width, height = left + size + 24, top + size + bottom
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="22" font-size="14">{escape(title)}</text>',
    ]
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts += [
            f'<path d="M{x(tick)} {y(0)}V{y(1)}M{x(0)} {y(tick)}H{x(1)}" stroke="#dddddd" fill="none"/>',
            f'<text x="{x(tick)}" y="{y(0) + 16}" text-anchor="middle">{tick:.1f}</text>',
            f'<text x="{x(0) - 6}" y="{y(tick) + 4}" text-anchor="end">{tick:.1f}</text>',
        ]
    parts += [
        f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" stroke="#888888" stroke-dasharray="4 4" fill="none"/>',
        f'<text x="{x(0.5)}" y="{height - 12}" text-anchor="middle">mean confidence</text>',
        f'<text transform="translate(16 {y(0.5)}) rotate(-90)" text-anchor="middle">share of right words</text>',
    ]
    for number, (name, judged) in enumerate(curves.items()):
        colour = colours[number % len(colours)]
        points = [(x(mean), y(share)) for mean, share in _points(judged, num_bins)]
        line = "L".join(f"{a} {b}" for a, b in points)
        parts.append(f'<path d="M{line}" stroke="{colour}" stroke-width="2" fill="none"/>' if points else "")
        parts += [f'<circle cx="{a}" cy="{b}" r="3" fill="{colour}"/>' for a, b in points]
        parts.append(f'<text x="{x(0.03)}" y="{y(0.95) + 16 * number}" fill="{colour}">{escape(name)}</text>')
    return "\n".join(part for part in [*parts, "</svg>"] if part) + "\n"


def _points(judged: Judged, num_bins: int) -> Sequence[tuple[float, float]]:
    numbers = bins(judged, num_bins)
    chosen = [numbers == number for number in range(num_bins)]
    return [(float(judged.confidence[c].mean()), float(judged.right[c].mean())) for c in chosen if c.any()]
