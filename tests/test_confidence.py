"""The calibrated model of confidence: its range, its direction, and what it refuses."""

import math
from dataclasses import replace

import pytest
from bundles import CALIBRATION
from hypothesis import given
from hypothesis import strategies as st

from edgeasr.confidence import FEATURES, MODES, MONOTONE, Calibration, Evidence, decoding_mode, features, probability
from edgeasr.errors import ConfigError

SHARES = st.floats(0.0, 1.0)
EVIDENCE = st.builds(
    Evidence,
    log_posterior=st.floats(-50.0, 0.0),
    share=SHARES,
    weakest=SHARES,
    posterior_product=SHARES,
    doubt=st.floats(0.0, 10.0),
    num_letters=st.integers(1, 40),
    duration_s=st.floats(0.0, 20.0),
)
WEIGHTS = st.fixed_dictionaries(
    {name: st.floats(0.0 if name in MONOTONE else -5.0, 5.0) for name in FEATURES},
)
STEPS = st.lists(st.tuples(st.floats(0.001, 0.999), st.floats(0.001, 0.999)), max_size=6)
KNOTS = STEPS.map(lambda steps: tuple(zip(sorted({x for x, _ in steps}), sorted(y for _, y in steps), strict=False)))
CALIBRATIONS = st.builds(Calibration, bias=st.floats(-10, 10), weights=WEIGHTS, knots=KNOTS)


@given(CALIBRATIONS, EVIDENCE)
def test_confidences_are_probabilities(calibration: Calibration, evidence: Evidence) -> None:
    assert 0 < probability(evidence, calibration) < 1
    assert 0 <= probability(evidence, None) <= 1


@given(CALIBRATIONS, EVIDENCE, EVIDENCE)
def test_better_evidence_never_means_less(calibration: Calibration, one: Evidence, other: Evidence) -> None:
    better = one._replace(
        log_posterior=max(one.log_posterior, other.log_posterior),
        share=max(one.share, other.share),
        weakest=max(one.weakest, other.weakest),
        doubt=min(one.doubt, other.doubt),
    )
    assert probability(better, calibration) >= probability(one, calibration)


@given(EVIDENCE)
def test_features_are_finite_and_complete(evidence: Evidence) -> None:
    values = features(evidence)
    assert len(values) == len(FEATURES)
    assert all(map(math.isfinite, values))


def test_without_calibration_it_is_the_product_of_posteriors() -> None:
    assert probability(Evidence(-1.0, 0.5, 0.2, 0.125, 0.1, 3, 0.3), None) == 0.125


def test_ways_of_decoding() -> None:
    assert decoding_mode("greedy") == "greedy"
    assert decoding_mode("beam") == "beam"
    assert decoding_mode("beam", lm=True) == "beam+lm"
    assert decoding_mode("beam", lm=True, lexicon=True) == "lexicon"
    assert decoding_mode("beam", lm=True, lexicon=True, grammar=True) == "grammar"
    assert {decoding_mode("beam", lm=lm, grammar=g) for lm in (0, 1) for g in (0, 1)} < set(MODES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": math.nan}, "bias is nan"),
        ({"score_scale": 0.0}, "score_scale is 0.0, expected more than 0"),
        ({"weights": {}}, "weights are of nothing"),
        ({"knots": ((0.5, 0.4), (0.5, 0.6))}, "do not rise"),
        ({"knots": ((0.2, 0.4), (0.5, 0.3))}, "do not rise"),
        ({"knots": ((0.2, math.nan),)}, "do not rise"),
        ({"knots": ((0.2, 1.5),)}, "do not rise"),
        ({"weights": {**CALIBRATION.weights, "luck": 1.0}}, "luck"),
        ({"weights": {**CALIBRATION.weights, "letters": math.inf}}, "letters is inf"),
        ({"weights": {**CALIBRATION.weights, "posterior": -0.1}}, "the weight of posterior is -0.1"),
    ],
)
def test_what_cannot_be_a_calibration(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CALIBRATION, **changes)  # type: ignore[arg-type]


def test_letters_and_duration_may_count_either_way() -> None:
    for sign in (-1.0, 1.0):
        weights = {**CALIBRATION.weights, "letters": sign, "duration": -sign}
        assert replace(CALIBRATION, weights=weights).weights["letters"] == sign


def test_the_probability_is_read_off_the_line_through_the_knots() -> None:
    flat = dict.fromkeys(FEATURES, 0.0)
    evidence = Evidence(-1.0, 0.5, 0.2, 0.125, 0.1, 3, 0.3)
    for said, expected in ((0.1, 0.05), (0.2, 0.1), (0.35, 0.3), (0.5, 0.5), (0.75, 0.75), (0.9, 0.9)):
        logit = math.log(said / (1 - said))
        calibration = Calibration(bias=logit, weights=flat, knots=((0.2, 0.1), (0.5, 0.5)))
        assert calibration.probability(evidence) == pytest.approx(expected)
