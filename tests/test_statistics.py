"""Bootstrap intervals: repeatable, right in size, and honest about what they cannot know."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.metrics.statistics import bootstrap_interval


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation_for_many_cases():
    values = np.random.default_rng(1).normal(0.8, 0.1, 1000)
    low, high = bootstrap_interval(values, samples=5000)
    error = values.std(ddof=1) / np.sqrt(values.size)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_intervals_hold_the_true_mean_about_as_often_as_they_claim():
    generator = np.random.default_rng(2)
    held = 0
    for trial in range(300):
        low, high = bootstrap_interval(generator.beta(8, 2, 40), samples=500, seed=trial)
        held += low <= 0.8 <= high
    assert 0.89 < held / 300 < 0.98


def test_the_interval_agrees_with_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(3).random(50)
    for name, statistic in (("mean", np.mean), ("median", np.median)):
        referee = bootstrap(
            (values,),
            statistic,
            n_resamples=20000,
            method="percentile",
            random_state=np.random.default_rng(0),
        )
        interval = bootstrap_interval(values, samples=20000, statistic=name)
        assert interval == pytest.approx(tuple(referee.confidence_interval), abs=0.02)


def test_a_single_case_and_equal_cases_have_no_width():
    assert bootstrap_interval([0.7]) == (0.7, 0.7)
    assert bootstrap_interval([0.5] * 9) == (0.5, 0.5)


def test_many_cases_are_resampled_in_blocks_of_bounded_memory():
    values = np.random.default_rng(4).random(1_500_000)
    low, high = bootstrap_interval(values, samples=5)
    assert low < high
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=1e-3)


@pytest.mark.parametrize("values", [[], [0.1, float("nan")], [[0.1, 0.2]], [float("inf")]])
def test_values_that_are_missing_or_not_finite_are_refused(values):
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval(values)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_interval([0.1], confidence=95)
    with pytest.raises(ValueError, match="statistic"):
        bootstrap_interval([0.1], statistic="mode")
