"""Intervals: repeatable, right in size, as sure as they claim, and honest about what they cannot know."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.metrics.statistics import bootstrap_interval, paired_difference

# --- intervals of means and medians ----------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_intervals_do_not_hang_on_the_seed():
    values = np.random.default_rng(5).beta(8, 2, 30)
    found = np.array([bootstrap_interval(values, seed=seed) for seed in range(10)])
    width = (found[:, 1] - found[:, 0]).mean()
    assert (found.std(axis=0) < 0.05 * width).all()


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation_for_many_cases():
    values = np.random.default_rng(1).normal(0.8, 0.1, 1000)
    low, high = bootstrap_interval(values, samples=5000)
    error = values.std(ddof=1) / np.sqrt(values.size)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


#: What means over cases are taken of, and their true mean: Dice is a number below 1 with a tail towards 0.
SHAPES = {
    "normal": (lambda generator, size: generator.normal(0.85, 0.05, size), 0.85),
    "beta(8, 2)": (lambda generator, size: generator.beta(8, 2, size), 0.8),
    "beta(4, 0.5)": (lambda generator, size: generator.beta(4, 0.5, size), 4 / 4.5),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cases", [20, 50])
def test_95_of_100_intervals_hold_the_true_mean_also_of_skewed_values(shape, cases):
    draw, truth = SHAPES[shape]
    generator = np.random.default_rng(2)
    intervals = np.array(
        [bootstrap_interval(draw(generator, cases), samples=1000, seed=0) for _ in range(2000)]
    )
    held = ((intervals[:, 0] <= truth) & (intervals[:, 1] >= truth)).mean()
    assert 0.935 < held < 0.97


def test_few_cases_give_intervals_that_still_hold():
    generator = np.random.default_rng(3)
    for cases in (2, 3, 5, 10):
        intervals = np.array(
            [bootstrap_interval(generator.beta(8, 2, cases), samples=1000) for _ in range(1000)]
        )
        held = ((intervals[:, 0] <= 0.8) & (intervals[:, 1] >= 0.8)).mean()
        assert held > 0.915, cases


def test_intervals_of_the_median_hold_it_about_as_often_as_they_claim():
    from scipy.stats import beta

    generator, truth = np.random.default_rng(4), beta(8, 2).median()
    intervals = [
        bootstrap_interval(generator.beta(8, 2, 25), samples=500, statistic="median") for _ in range(400)
    ]
    held = np.mean([low <= truth <= high for low, high in intervals])
    assert 0.92 < held < 0.99


def test_the_interval_of_a_median_agrees_with_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(3).random(50)
    referee = bootstrap(
        (values,),
        np.median,
        n_resamples=20000,
        method="percentile",
        random_state=np.random.default_rng(0),
    )
    interval = bootstrap_interval(values, samples=20000, statistic="median")
    assert interval == pytest.approx(tuple(referee.confidence_interval), abs=0.02)


def test_the_interval_of_a_mean_is_the_textbook_bootstrap_t():
    values = np.random.default_rng(6).beta(8, 2, 15)
    generator = np.random.default_rng(7)
    ratios = []
    for _ in range(10000):
        drawn = generator.choice(values, values.size)
        ratios.append((drawn.mean() - values.mean()) / (drawn.std(ddof=1) / np.sqrt(values.size)))
    error = values.std(ddof=1) / np.sqrt(values.size)
    above, below = np.percentile(ratios, [97.5, 2.5])
    expected = values.mean() - above * error, values.mean() - below * error
    assert bootstrap_interval(values, samples=20000) == pytest.approx(expected, abs=0.1 * error)


def test_a_single_case_and_equal_cases_have_no_width():
    assert bootstrap_interval([0.7]) == (0.7, 0.7)
    assert bootstrap_interval([0.5] * 9) == (0.5, 0.5)
    assert bootstrap_interval([0.1] * 9, statistic="median") == (0.1, 0.1)


def test_nearly_equal_cases_and_one_that_is_not_give_a_finite_interval_that_holds_their_mean():
    for values in ([0.9] * 9 + [0.1], [0.9] * 19 + [0.8999999], [1.0] * 3 + [0.0], [0.0] * 30 + [1.0]):
        low, high = bootstrap_interval(values)
        assert low <= np.mean(values) <= high
        assert high - low <= 6 * 3.2 * np.std(values, ddof=1) / np.sqrt(len(values))


def test_two_and_three_cases_have_the_interval_of_student():
    low, high = bootstrap_interval([0.7, 0.9])
    assert (low, high) == pytest.approx((0.8 - 12.706 * 0.1, 0.8 + 12.706 * 0.1), abs=1e-3)
    assert bootstrap_interval([0.7, 0.9], bounds=(0, 1)) == (0.0, 1.0)


def test_intervals_stay_within_the_range_of_their_values():
    values = [0.999, 0.998, 0.97, 0.999, 0.9, 0.999]
    assert bootstrap_interval(values)[1] > bootstrap_interval(values, bounds=(0, 1))[1] - 1e-12
    assert bootstrap_interval(values, bounds=(0, 1))[1] <= 1.0


def test_many_cases_are_resampled_in_blocks_of_bounded_memory():
    values = np.random.default_rng(4).random(1_500_000)
    low, high = bootstrap_interval(values, samples=5)
    assert low < high
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=1e-3)


def test_blocks_change_nothing_but_the_draws():
    values = np.random.default_rng(8).beta(8, 2, 3000)
    error = values.std() / np.sqrt(values.size)
    whole = bootstrap_interval(values, samples=2000)
    assert whole == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.15 * error
    )


@pytest.mark.parametrize("values", [[], [0.1, float("nan")], [[0.1, 0.2]], [float("inf")]])
def test_values_that_are_missing_or_not_finite_are_refused(values):
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval(values)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_interval([0.1], confidence=95)
    with pytest.raises(ValueError, match="statistic"):
        bootstrap_interval([0.1], statistic="mode")


# --- paired differences ----------------------------------------------------------------------------------------


def models(generator, *, cases=50, runs=1, gap=0.0, training=0.0, noise=0.03):
    """Dice of two models on the same cases: (runs, cases) each; `training` is the spread between runs."""
    difficulty = generator.beta(20, 3, cases)

    def side(by):
        trained = generator.normal(0, training, (runs, 1))
        return np.clip(difficulty + by + trained + generator.normal(0, noise, (runs, cases)), 0, 1.2)

    return side(0.0), side(gap)


def covered(trials, groups=None, **how):
    generator = np.random.default_rng(9)
    found = [paired_difference(*models(generator, **how), groups, samples=600) for _ in range(trials)]
    return np.mean([one.low <= how.get("gap", 0.0) <= one.high for one in found])


def test_the_same_values_give_the_same_difference_and_swapped_models_the_mirror_image():
    a, b = models(np.random.default_rng(0), gap=0.01)
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there == paired_difference(a, b)
    assert there.mean == pytest.approx((b - a).mean())
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert back.p == there.p


def test_intervals_of_differences_hold_the_truth_as_often_as_they_claim():
    assert 0.925 < covered(400) < 0.98
    assert 0.925 < covered(400, cases=20, gap=0.01) < 0.98


def test_intervals_over_runs_cover_the_spread_of_training_and_those_over_cases_alone_do_not():
    spread = {"runs": 3, "training": 0.01, "cases": 40}
    assert covered(300, **spread) > 0.915
    generator = np.random.default_rng(9)
    alone = []
    for _ in range(300):
        a, b = models(generator, **spread)
        found = paired_difference(a.mean(axis=0), b.mean(axis=0), samples=600)
        alone.append(found.low <= 0 <= found.high)
    assert np.mean(alone) < 0.75


def test_groups_are_drawn_whole():
    generator = np.random.default_rng(10)
    groups = np.repeat(np.arange(5), 10)
    held = alone = 0
    for _ in range(200):
        a, b = models(generator)
        b = b + generator.normal(0, 0.04, 5)[groups]
        by_group = paired_difference(a, b, groups, samples=600)
        by_case = paired_difference(a, b, samples=600)
        held += by_group.low <= 0 <= by_group.high
        alone += by_case.low <= 0 <= by_case.high
    assert held / 200 > 0.9
    assert alone / 200 < 0.7


def test_the_p_value_is_small_where_the_interval_does_not_hold_zero():
    generator = np.random.default_rng(11)
    for gap in (0.0, 0.005, 0.01, 0.02):
        found = paired_difference(*models(generator, gap=gap))
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_what_could_have_been_found_is_found_four_times_in_five():
    generator = np.random.default_rng(12)
    detectable = np.median([paired_difference(*models(generator)).detectable for _ in range(50)])
    found = [
        paired_difference(*models(generator, gap=float(detectable)), samples=600).low > 0 for _ in range(300)
    ]
    assert 0.7 < np.mean(found) < 0.9


def test_no_difference_and_one_case_are_told_as_they_are():
    values = np.random.default_rng(0).random((1, 12))
    same = paired_difference(values, values)
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    constant = paired_difference(values, values + 0.25)
    assert (constant.low, constant.high) == pytest.approx((0.25, 0.25))
    assert constant.p < 0.01
    one = paired_difference([0.5], [0.75])
    assert (one.mean, one.low, one.high, one.p, one.detectable) == (0.25, None, None, None, None)


def test_values_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="same cases"):
        paired_difference(np.zeros((1, 3)), np.zeros((1, 4)))
    with pytest.raises(ValueError, match="finite"):
        paired_difference(np.zeros((1, 2)), np.array([[0.0, np.nan]]))


def test_intervals_of_patients_with_several_scans_hold_the_truth_where_those_of_scans_do_not():
    generator = np.random.default_rng(20)
    patients, trials = np.repeat(np.arange(10), 2), 300
    held = np.zeros(3)
    for _ in range(trials):
        values = np.repeat(generator.normal(0, 0.05, 10), 2) + generator.normal(0, 0.02, 20)
        found = [
            bootstrap_interval(values, samples=400),
            bootstrap_interval(values, patients, samples=400),
            bootstrap_interval(values, patients, samples=400, statistic="median"),
        ]
        held += [low <= 0 <= high for low, high in found]
    by_scan, by_patient, median = held / trials
    assert by_scan < 0.88
    assert by_patient > 0.92
    assert median > 0.85


def test_grouped_intervals_are_those_of_the_groups_by_themselves():
    values = np.random.default_rng(21).beta(8, 2, 12)
    for statistic in ("mean", "median"):
        of_values = bootstrap_interval(values, samples=20_000, statistic=statistic)
        pairs = bootstrap_interval(
            np.repeat(values, 2), np.repeat(np.arange(12), 2), samples=20_000, statistic=statistic
        )
        assert pairs == pytest.approx(of_values, abs=0.01)
    # Of unlike sizes: as of the paired difference from nothing.
    sizes = np.repeat(np.arange(12), np.arange(12) % 3 + 1)
    many = values[sizes] + np.random.default_rng(22).normal(0, 0.02, len(sizes))
    paired = paired_difference(np.zeros(len(sizes)), many, sizes, samples=20_000)
    assert bootstrap_interval(many, sizes, samples=20_000) == pytest.approx(
        (paired.low, paired.high), abs=0.01
    )
    assert bootstrap_interval([0.1, 0.9], [5, 5]) == (0.5, 0.5)
