"""Limits of agreement: the textbook's numbers, and intervals that hold them."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.metrics.agreement import bland_altman


def test_the_published_example_of_peak_flow_meters_has_the_published_numbers():
    # Bland and Altman, The Lancet 1986, table 1: the first reading of a large and of a mini Wright meter (l/min).
    large = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    found = bland_altman(large, mini)
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.spread == pytest.approx(38.8, abs=0.05)
    assert (found.lower, found.upper) == pytest.approx(
        (-79.7, 75.5), abs=1.7
    )  # there with 2 in place of 1.96
    # There the bias' interval is -22.0 to 17.8, that of the lower limit -114.3 to -45.1, of the upper 40.9 to 110.1.
    assert (found.bias_low, found.bias_high) == pytest.approx((-22.0, 17.8), abs=4)
    assert (found.lower_low, found.lower_high) == pytest.approx((-114.3, -45.1), abs=2.5)
    assert (found.upper_low, found.upper_high) == pytest.approx((40.9, 110.1), abs=2.5)


def test_limits_lie_where_95_of_100_differences_do():
    generator = np.random.default_rng(0)
    true = generator.uniform(10, 50, 20000)
    found = bland_altman(true + generator.normal(1.0, 2.0, true.size), true)
    assert (found.lower, found.upper) == pytest.approx((1 - 3.92, 1 + 3.92), abs=0.1)


def test_intervals_of_limits_hold_the_true_limits():
    generator = np.random.default_rng(1)
    found = [bland_altman(generator.normal(0, 1, 25), np.zeros(25)) for _ in range(400)]
    held = np.mean([one.upper_low <= 1.959964 <= one.upper_high for one in found])
    assert 0.92 < held < 0.98


def test_one_pair_and_equal_differences_are_told_as_they_are():
    one = bland_altman([5.0], [4.0])
    assert (one.count, one.bias, one.lower, one.bias_low) == (1, 1.0, None, None)
    same = bland_altman([5.0, 6.0], [4.0, 5.0])
    assert (same.bias, same.spread, same.lower, same.upper) == (1.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("pairs", [([], []), ([1.0], [1.0, 2.0]), ([np.nan, 1.0], [1.0, 1.0])])
def test_values_that_do_not_pair_are_refused(pairs):
    with pytest.raises(ValueError, match=r"pairs|finite"):
        bland_altman(*pairs)
