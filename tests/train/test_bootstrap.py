"""Bootstrap intervals: repeatable, honest about what they were drawn from."""

from __future__ import annotations

import numpy as np
import pytest

from edgeasr.train.bootstrap import RESAMPLES, Interval, resampled_sums


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
