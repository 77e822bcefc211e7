"""Bootstrap intervals: how far an error rate would wander with other utterances, or other speakers, of the same kind.

Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation" (ICASSP 2004): error
counts and lengths of whole utterances are drawn with replacement, and the rate is computed anew from their sums. For
the difference of two systems both are drawn together. Where several sets are pooled, each is resampled by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value and its bootstrap interval; `low` and `high` are None where there is nothing to draw from."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, resampled: FloatArray | None) -> Interval:
        """The central interval of resampled values.

        Args:
            value: What was measured.
            resampled: (resamples,) the same of each resample; None if there are none.
        """
        if resampled is None:
            return cls(value=value)
        low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(value=value, low=float(low), high=float(high))


def resampled_sums(strata: Sequence[FloatArray], *, resamples: int = RESAMPLES, seed: int = 0) -> FloatArray | None:
    """Draws the units of each stratum anew, as many as there are, and adds up.

    Args:
        strata: For each set (num_units, num_columns): what each utterance, or speaker, adds to the sums.
        resamples: How many times to draw.
        seed: The same seed draws the same units; columns of one array are drawn together.

    Returns:
        (resamples, num_columns) the sums over all strata; None if no stratum has two units.
    """
    if all(len(units) < 2 for units in strata):
        return None
    random = np.random.default_rng(seed)
    total = np.zeros((resamples, strata[0].shape[1]))
    for units in strata:
        if len(units):
            shares = np.full(len(units), 1 / len(units))
            total += random.multinomial(len(units), shares, size=resamples) @ units
    return total


def p_value(differences: FloatArray, num_units: int) -> float:
    """Two-sided p value of a paired difference: how often resamples put the difference on the other side of 0, twice.

    The smallest share is that of one resample more than there are (Davison and Hinkley 1997, section 4.2.3): a finite
    number of draws proves nothing impossible. Nor do few units: if two equal systems differ on n of them, all n speak
    for the same one in 2 of 2 ** n cases, however often they are drawn, and no p value is smaller than that.

    Args:
        differences: (resamples,) what the resampled units give.
        num_units: Clips, or speakers, on which the systems differ.
    """
    others = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return min(1.0, max(2 * (1 + others) / (1 + len(differences)), 2.0 ** (1 - num_units)))


def relative_change(ours: float, theirs: float, resampled: FloatArray | None) -> Interval | None:
    """One rate over another, minus one; None where the other is 0.

    Args:
        ours: The one rate.
        theirs: The other.
        resampled: (resamples, 2) both in each resample; None for no interval. There is none either if the other rate
            is 0 in a resample.
    """
    if theirs == 0:
        return None
    if resampled is None or not resampled[:, 1].all():
        return Interval(value=ours / theirs - 1)
    return Interval.of(ours / theirs - 1, resampled[:, 0] / resampled[:, 1] - 1)
