"""Tests of paired differences: right beside scipy, exact where it is not, and careful with zeros and many classes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from vesal.metrics.paired import cohens_dz, holm, wilcoxon


@pytest.mark.parametrize("cases", [3, 8, 20, 50])
def test_the_signed_rank_test_agrees_with_scipys_exact_one(cases):
    differences = np.random.default_rng(cases).normal(0.3, 1.0, cases)
    referee = stats.wilcoxon(differences, method="exact")
    found = wilcoxon(differences)
    assert found.p == pytest.approx(referee.pvalue)
    assert min(found.positive, found.negative) == referee.statistic


def test_many_cases_agree_with_scipys_approximation():
    differences = np.random.default_rng(0).normal(0.1, 1.0, 400)
    referee = stats.wilcoxon(differences, zero_method="pratt", correction=True, method="approx")
    assert wilcoxon(differences).p == pytest.approx(referee.pvalue)


def test_where_exact_and_approximate_meet_they_say_the_same():
    differences = np.random.default_rng(1).normal(0.15, 1.0, 200)
    referee = stats.wilcoxon(differences, correction=True, method="approx")
    assert wilcoxon(differences).p == pytest.approx(referee.pvalue, abs=0.002)


def test_ties_and_zeros_have_the_p_value_of_all_signs():
    differences = np.array([0.0, 0.1, 0.1, -0.1, 0.2, 0.2, 0.3, 0.0, 0.5])
    found = wilcoxon(differences)
    ranks = stats.rankdata(np.abs(differences))[differences != 0]
    sums = np.array([sum(r for r, up in zip(ranks, signs, strict=True) if up)
                     for signs in itertools.product([False, True], repeat=len(ranks))])  # fmt: skip
    smaller = min(found.positive, found.negative)
    assert found.zeros == 2
    assert found.p == pytest.approx(min(1.0, 2 * np.mean(sums <= smaller)))


def test_cases_without_a_difference_make_the_others_no_more_certain():
    few = [0.1, 0.2, 0.3, -0.05, 0.25, 0.15]
    assert wilcoxon([*few, *[0.0] * 40]).p >= wilcoxon(few).p


def test_differences_of_rounding_are_ties_and_zeros():
    assert wilcoxon([0.9 - 0.8, 0.8 - 0.7, 0.7 - 0.6, 0.3 - 0.3]).zeros == 1
    assert wilcoxon([0.9 - 0.8, 0.7 - 0.8]).p == 1.0


def test_nothing_but_zeros_is_no_difference():
    found = wilcoxon([0.0] * 5)
    assert (found.p, found.rank_biserial, found.zeros) == (1.0, 0.0, 5)


def test_the_rank_biserial_says_how_many_ranks_are_on_one_side():
    assert wilcoxon([0.1, 0.2, 0.3]).rank_biserial == 1.0
    assert wilcoxon([-0.1, -0.2, -0.3]).rank_biserial == -1.0
    assert wilcoxon([0.1, 0.2, -0.3]).rank_biserial == 0.0


def test_cohens_dz_is_the_mean_in_standard_deviations():
    values = np.random.default_rng(0).normal(0.5, 2.0, 30)
    assert cohens_dz(values) == pytest.approx(values.mean() / values.std(ddof=1))
    assert cohens_dz([0.1]) is None
    assert cohens_dz([0.1, 0.1]) is None


def test_holm_raises_p_values_in_their_order_and_never_above_one():
    assert holm([0.04]) == (0.04,)
    assert holm([0.6, 0.01, 0.02]) == pytest.approx((0.6, 0.03, 0.04))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


def test_holm_keeps_false_findings_among_many_classes_as_rare_as_one_test_promises():
    p_values = np.random.default_rng(0).random((2000, 6))
    assert np.mean([min(holm(row)) < 0.05 for row in p_values]) < 0.065
    assert np.mean((p_values < 0.05).any(axis=1)) > 0.2


@pytest.mark.parametrize("values", [[], [float("nan")], [[0.1]]])
def test_differences_that_are_missing_or_not_finite_are_refused(values):
    with pytest.raises(ValueError, match="finite"):
        wilcoxon(values)
