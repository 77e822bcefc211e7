"""Confidence: how probable it is that a recognised word is right, from what the frames and the beam say about it.

The evidence for a word is measured in the same way whoever found the word and when: for partial, final and n-best
results, for greedy and beam search, with and without a language model. A small model, which `edgeasr calibrate` fits
for each way of decoding, makes a probability of it. `docs/confidence.md` has the definitions and figures.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from edgeasr.errors import ConfigError

# Ways of decoding: each has a calibration of its own in a bundle.
MODES = ("greedy", "beam", "beam+lm", "lexicon", "grammar")

# What the calibrated model weighs, and which of it is evidence for the word: there more must never mean less.
FEATURES = ("posterior", "share", "weakest", "doubt", "letters", "duration")
MONOTONE = ("posterior", "share", "weakest", "doubt")

# Scores are kept within what twenty thousand words can tell: one in 20,000.
_LARGEST_LOGIT = 10.0
_LEAST_LOG = -50.0


def decoding_mode(decoder: str, *, lm: bool = False, lexicon: bool = False, grammar: bool = False) -> str:
    """The way of decoding, by whose name its calibration is kept; hotwords make no other mode.

    Example:
        >>> decoding_mode("beam", lm=True)
        'beam+lm'
    """
    if decoder == "greedy":
        return "greedy"
    if grammar:
        return "grammar"
    if lexicon:
        return "lexicon"
    return "beam+lm" if lm else "beam"


class Evidence(NamedTuple):
    """What is known of a recognised word.

    Attributes:
        log_posterior: Natural log of the model's probability that the frames around the word, up to the words beside
            it, emit exactly its tokens and the word boundaries: summed over all alignments, without any search. At
            most 0.
        share: Share of the beam's probability, in 0..1, that lies on hypotheses with this word at this place.
        weakest: The smallest posterior among its tokens, in 0..1.
        posterior_product: The product of its tokens' posteriors, in 0..1: what an uncalibrated confidence is.
        doubt: Mean over the word's frames of the negative natural log of the probability of the frame's best token.
        num_letters: How many letters it is spelled with.
        duration_s: From the first frame of its first token to the last frame of its last one, in seconds.
    """

    log_posterior: float
    share: float
    weakest: float
    posterior_product: float
    doubt: float
    num_letters: int
    duration_s: float


def features(evidence: Evidence) -> tuple[float, ...]:
    """The numbers that the model weighs, in the order of `FEATURES`; of the first four, more is better.

    Probabilities of words span many powers of ten, and their logs are as skewed in the other direction: the square root
    of the log lies between, and made the calibration curve straight on the development sets.
    """
    return (
        -math.sqrt(min(0.0, max(evidence.log_posterior, _LEAST_LOG)) * -1.0),
        evidence.share,
        -math.sqrt(-_log(evidence.weakest)),
        -math.sqrt(evidence.doubt),
        math.log(max(1, evidence.num_letters)),
        evidence.duration_s,
    )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The fitted model of one way of decoding: a logistic regression on `features`, and what is left of its error.

    Example:
        >>> weights = {"posterior": 1.2, "share": 1.0, "weakest": 0.5, "doubt": 0.8, "letters": 0.6, "duration": -1.0}
        >>> calibration = Calibration(bias=1.5, weights=weights)
        >>> sure = Evidence(-0.05, 1.0, 0.98, 0.95, 0.01, 5, 0.4)
        >>> round(calibration.probability(sure), 2)
        0.93

    Attributes:
        bias: The constant.
        weights: One for each of `FEATURES`; those of `MONOTONE` are at least 0.
        score_scale: What scores of hypotheses (natural log) are multiplied with before the softmax that makes shares of
            the beam of them; more than 0. It is the inverse of a temperature.
        knots: What the regression says, and what share of words is right then: the corners of a line from (0, 0) to
            (1, 1) on which the probability is read off. They rise. Empty: the regression is taken at its word.
        fit: What it was fitted on and how well it did there, for people to read.

    Raises:
        ConfigError: A weight is missing, unknown, not finite or has a sign that evidence cannot have, or the knots do
            not rise.
    """

    bias: float
    weights: Mapping[str, float]
    score_scale: float = 1.0
    knots: tuple[tuple[float, float], ...] = ()
    fit: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the values."""
        if set(self.weights) != set(FEATURES):
            raise ConfigError(f"weights are of {', '.join(self.weights) or 'nothing'}, expected {', '.join(FEATURES)}")
        for name, value in {"bias": self.bias, "score_scale": self.score_scale, **self.weights}.items():
            if not math.isfinite(value):
                raise ConfigError(f"{name} is {value}, expected a finite number")
        for name in MONOTONE:
            if self.weights[name] < 0:
                raise ConfigError(f"the weight of {name} is {self.weights[name]}, expected at least 0")
        if self.score_scale <= 0:
            raise ConfigError(f"score_scale is {self.score_scale}, expected more than 0")
        corners = ((0.0, 0.0), *self.knots, (1.0, 1.0))
        for (x, y), (next_x, next_y) in pairwise(corners):
            if not (x < next_x and 0.0 <= y <= next_y <= 1.0):
                raise ConfigError(f"the knots {(x, y)} and {(next_x, next_y)} do not rise from (0, 0) to (1, 1)")

    def probability(self, evidence: Evidence) -> float:
        """The probability that a word with this evidence is right."""
        logit = self.bias
        for name, value in zip(FEATURES, features(evidence), strict=True):
            logit += self.weights[name] * value
        found = 1.0 / (1.0 + math.exp(-max(-_LARGEST_LOGIT, min(logit, _LARGEST_LOGIT))))
        if not self.knots:
            return found
        place = bisect_right(self.knots, found, key=itemgetter(0))
        x, y = self.knots[place - 1] if place > 0 else (0.0, 0.0)
        next_x, next_y = self.knots[place] if place < len(self.knots) else (1.0, 1.0)
        return min(y + (found - x) / (next_x - x) * (next_y - y), next_y)


def probability(evidence: Evidence, calibration: Calibration | None) -> float:
    """The confidence of a word: calibrated, or the model's own probability of its tokens where nothing is fitted."""
    return evidence.posterior_product if calibration is None else calibration.probability(evidence)


def _log(probability: float) -> float:
    return (
        max(math.log(probability), _LEAST_LOG) if 0.0 < probability < 1.0 else (0.0 if probability > 0 else _LEAST_LOG)
    )
