"""Figures of reliability against known ones."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeasr.train.evaluation.reliability import (
    Judged,
    average_precision,
    bins,
    calibration_error,
    calibration_noise,
    diagram,
    measure,
    normalised_cross_entropy,
)


def draw(num_words: int, bend: float = 1.0, seed: int = 0) -> Judged:
    """Words that are right with a probability of their confidence to the power of `bend`; eight to a clip."""
    random = np.random.default_rng(seed)
    confidence = random.random(num_words)
    right = random.random(num_words) < confidence**bend
    return Judged(confidence=confidence, right=right.astype(float), clip=np.arange(num_words) // 8)


def test_honest_confidences_have_the_error_of_noise_alone() -> None:
    words = draw(6000)
    found = measure(words)
    assert found is not None
    assert found.ece.value == pytest.approx(calibration_noise(words), abs=0.008)
    assert found.ece.low is not None and found.ece.high is not None
    assert found.ece.low < found.ece.value + 0.002
    assert found.nce > 0.2
    assert found.mean == pytest.approx(found.right, abs=0.02)


def test_the_error_of_known_dishonesty() -> None:
    # Confidence p where p^2 are right: the mean of p - p^2 over 0..1 is 1/6.
    words = draw(20_000, bend=2.0)
    error = calibration_error(words)
    assert error.value == pytest.approx(1 / 6, abs=0.01)
    assert error.low is not None and error.high is not None
    assert error.low < 1 / 6 + 0.01 and error.high > 1 / 6 - 0.01
    assert calibration_noise(words) < 0.02


def test_the_calibration_error_is_that_of_the_definition() -> None:
    words = draw(300, bend=3.0, seed=3)
    order = np.argsort(words.confidence)
    expected = sum(
        abs(words.right[chosen].mean() - words.confidence[chosen].mean()) * len(chosen) / 300
        for chosen in np.split(order, 10)
    )
    assert calibration_error(words, num_bins=10).value == pytest.approx(expected)


@given(st.integers(1, 200), st.integers(1, 20))
def test_bins_hold_equally_many_words_in_order(num_words: int, num_bins: int) -> None:
    words = draw(num_words)
    numbers = bins(words, num_bins)
    counts = np.bincount(numbers, minlength=num_bins)
    assert counts.sum() == num_words
    assert counts.max() - counts.min() <= 1
    assert (np.diff(numbers[np.argsort(words.confidence)]) >= 0).all()


def test_cross_entropy_of_knowing_nothing_and_everything() -> None:
    right = np.array([1.0, 1.0, 0.0, 1.0])
    clip = np.zeros(4, np.int64)
    assert normalised_cross_entropy(Judged(confidence=np.full(4, 0.75), right=right, clip=clip)) == pytest.approx(0)
    assert normalised_cross_entropy(Judged(confidence=right, right=right, clip=clip)) > 0.99
    assert normalised_cross_entropy(Judged(confidence=1 - right, right=right, clip=clip)) < -1


def test_average_precision() -> None:
    positive = np.array([1.0, 0.0, 1.0, 0.0])
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), positive) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([4.0, 1.0, 3.0, 2.0]), positive) == 1.0
    assert average_precision(np.ones(4), positive) == 0.5  # nothing but ties
    assert average_precision(np.ones(4), np.zeros(4)) == 0.0


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_average_precision_by_counting(pairs: list[tuple[int, bool]]) -> None:
    score = np.array([float(s) for s, _ in pairs])
    positive = np.array([float(p) for _, p in pairs])
    expected, before = 0.0, 0.0
    for least in sorted(set(score.tolist()), reverse=True):
        taken = score >= least
        recall = positive[taken].sum() / max(1, positive.sum())
        expected += (recall - before) * positive[taken].mean()
        before = recall
    assert average_precision(score, positive) == pytest.approx(expected)


def test_nothing_to_measure() -> None:
    assert measure(draw(0)) is None
    for right in (0.0, 1.0):
        assert measure(Judged(confidence=np.full(9, 0.5), right=np.full(9, right), clip=np.arange(9))) is None


def test_the_diagram_is_a_picture() -> None:
    text = diagram("a < b & c", {"before": draw(1000, 2.0), "after": draw(1000), "none": draw(0)})
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg")
    assert len([e for e in root.iter() if e.tag.endswith("circle")]) == 30
    assert "a < b & c" in [e.text for e in root.iter()]
