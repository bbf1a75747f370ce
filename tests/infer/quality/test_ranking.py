"""How well predicted Dice ranks scans."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.infer.quality.ranking import rank_correlation, risk_coverage


def test_the_best_order_has_the_least_area() -> None:
    true = np.array([0.9, 0.8, 0.5, 0.95])
    curve = risk_coverage(true, true)
    assert curve.area == curve.area_of_best_order < curve.area_of_no_order
    assert curve.area_of_no_order == pytest.approx((1 - true).mean())
    assert curve.points[-1] == (1.0, pytest.approx(curve.area_of_no_order))
    assert risk_coverage(-true, true).area > curve.area_of_no_order


def test_ranks_that_do_not_differ_have_no_correlation() -> None:
    assert rank_correlation(np.ones(3), np.arange(3.0)) is None
    assert rank_correlation(np.array([1.0, 2, 3, 9]), np.array([2.0, 4, 5, 6])) == pytest.approx(1.0)
