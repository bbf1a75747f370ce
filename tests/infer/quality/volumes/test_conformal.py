"""The quantile of split conformal prediction, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.infer.quality.volumes.conformal import (
    conformal_quantile,
    needed_patients,
    patient_weights,
    split_coverage,
)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_one_patient_fewer_than_a_level_needs_gives_no_quantile(level: float) -> None:
    needed = needed_patients(level)
    scores = np.arange(float(needed))
    assert conformal_quantile(scores, np.ones(needed), level) == needed - 1
    assert conformal_quantile(scores[:-1], np.ones(needed - 1), level) is None


def test_of_scans_of_different_patients_it_is_the_usual_order_statistic() -> None:
    scores = np.random.default_rng(0).permutation(50).astype(float)
    # ceil(51 * 0.9) = 46: the 46th smallest of 0 .. 49.
    assert conformal_quantile(scores, np.ones(50), 0.9) == 45.0


def test_a_patient_with_many_scans_counts_once() -> None:
    patients = ["a"] * 8 + list("bcdefghij")
    weights = patient_weights(patients)
    assert weights.sum() == pytest.approx(10)
    scores = np.array([9.0] * 8 + list(range(9)))
    # Ten patients: nine tenths of eleven are 9.9, for which the largest score is needed.
    assert conformal_quantile(scores, weights, 0.9) == 9.0
    assert conformal_quantile(scores, weights, 0.8) == 8.0


def test_it_holds_its_level_over_many_draws_and_not_much_more() -> None:
    generator = np.random.default_rng(1)
    held = []
    for _ in range(3000):
        scores = generator.exponential(size=20)
        quantile = conformal_quantile(scores[:19], np.ones(19), 0.9)
        assert quantile is not None
        held.append(scores[19] <= quantile)
    # (n + 1) * 0.9 = 18 of 20: exactly nine tenths in expectation; three standard errors are 0.017.
    assert np.mean(held) == pytest.approx(0.9, abs=0.017)


def test_it_holds_its_level_for_new_patients_with_several_scans_each() -> None:
    """Scans of one patient are alike: counted one by one they would promise too much."""
    generator = np.random.default_rng(2)
    held = []
    for _ in range(1500):
        own = generator.normal(size=(13, 1)) ** 2
        scores = own + 0.01 * generator.random((13, 3))
        patients = [str(number) for number in range(12) for _ in range(3)]
        quantile = conformal_quantile(scores[:12].ravel(), patient_weights(patients), 0.9)
        assert quantile is not None
        held.append(np.mean(scores[12] <= quantile))
    assert np.mean(held) > 0.9 - 0.02


def test_repeated_splits_measure_the_level_and_need_a_patient_to_spare() -> None:
    scores = np.random.default_rng(3).exponential(size=200)
    patients = [str(number) for number in range(200)]
    found = split_coverage(scores, patients, 0.9)
    assert found is not None
    assert found.mean == pytest.approx(0.9, abs=0.02)
    assert found.low < found.mean < found.high
    assert split_coverage(scores[:9], patients[:9], 0.9) is None
    assert split_coverage(scores[:10], patients[:10], 0.9) is not None
