"""Bootstrap intervals: repeatable, honest about what they were drawn from."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgeasr.train.evaluation.bootstrap import RESAMPLES, Interval, p_value, relative_change, resampled_sums


def test_the_same_seed_draws_the_same():
    units = np.random.default_rng(1).integers(0, 9, (30, 2)).astype(float)
    first, second = resampled_sums([units], seed=7), resampled_sums([units], seed=7)
    assert first is not None and first.shape == (RESAMPLES, 2)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, resampled_sums([units], seed=8))


def test_as_many_units_are_drawn_as_there_are():
    units = np.column_stack([np.arange(20.0), np.ones(20)])
    sums = resampled_sums([units, units[:5]])
    assert (sums[:, 1] == 25).all()
    assert abs(sums[:, 0].mean() - units.sum(axis=0)[0] - 10) < 3


def test_the_spread_is_that_of_a_mean():
    units = np.random.default_rng(2).normal(size=(400, 1))
    sums = resampled_sums([units])
    assert abs((sums / 400).std() / (units.std() / 20) - 1) < 0.1


def test_columns_are_drawn_together():
    errors = np.random.default_rng(3).integers(0, 5, 50).astype(float)
    sums = resampled_sums([np.column_stack([errors, errors + 1])])
    assert (sums[:, 1] - sums[:, 0] == 50).all()


def test_sets_are_drawn_apart():
    # Two sets that are constant in themselves: pooling them leaves nothing to chance.
    sums = resampled_sums([np.zeros((8, 1)), np.ones((8, 1))])
    assert (sums == 8).all()


def test_one_unit_gives_no_interval():
    assert resampled_sums([np.ones((1, 2))]) is None
    assert Interval.of(0.5, None) == Interval(value=0.5)


def test_the_interval_holds_95_percent():
    interval = Interval.of(50.0, np.arange(101.0))
    assert (interval.low, interval.high) == pytest.approx((2.5, 97.5))


def exact_p(differences: np.ndarray) -> float:
    """The p value if all resamples are drawn, each once."""
    draws = np.array(list(itertools.product(differences, repeat=len(differences)))).sum(axis=1)
    return min(1.0, 2 * min(np.mean(draws <= 0), np.mean(draws >= 0)))


def permutation_p(differences: np.ndarray) -> float:
    """The p value of the null hypothesis that either system could have made either's errors, over all swaps."""
    signs = np.array(list(itertools.product((-1, 1), repeat=len(differences))))
    return float(np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9))


@pytest.mark.parametrize("differences", [[3, 1, 1, -1], [2, -1, 1, -1], [1, 1, 2, 1], [0, 0, 0, 0]])
def test_p_values_are_those_of_all_resamples(differences):
    units = np.array(differences, float)
    sums = resampled_sums([units[:, None]])
    assert p_value(sums[:, 0], 99) == pytest.approx(exact_p(units), abs=0.03)


@pytest.mark.parametrize("shift", [0.0, 0.4, 0.8, 1.6])
def test_p_values_agree_with_a_permutation_test(shift):
    units = np.random.default_rng(5).normal(size=14)
    units += shift - units.mean()
    assert p_value(resampled_sums([units[:, None]])[:, 0], 14) == pytest.approx(permutation_p(units), abs=0.05)


def test_the_smallest_p_value_is_that_of_the_draws():
    assert p_value(np.ones(RESAMPLES), 99) == pytest.approx(2 / (RESAMPLES + 1))
    assert p_value(np.zeros(RESAMPLES), 99) == 1.0


@pytest.mark.parametrize("num_units", [1, 2, 5])
def test_few_units_that_agree_prove_no_more_than_all_swaps(num_units):
    units = np.arange(1.0, num_units + 1)
    assert p_value(np.ones(RESAMPLES), num_units) == permutation_p(units)


def test_relative_changes():
    resampled = np.array([[0.1, 0.2]] * 50 + [[0.3, 0.2]] * 50)
    change = relative_change(0.2, 0.4, resampled)
    assert change is not None and change.value == -0.5
    assert (change.low, change.high) == (pytest.approx(-0.5), pytest.approx(0.5))
    assert relative_change(0.2, 0.0, resampled) is None
    assert relative_change(0.2, 0.4, None) == Interval(value=-0.5)
    assert relative_change(0.2, 0.4, np.array([[0.1, 0.0]])) == Interval(value=-0.5)
