"""The regression that predicts a Dice."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.infer.quality.ridge_regression import dice_of_log_error, fit_ridge, log_error


def test_a_linear_relation_is_found_and_not_extrapolated() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 6))
    target = 2 + x[:, 0] - 0.5 * x[:, 1] + generator.normal(0, 0.1, 200)
    regression = fit_ridge([f"x{number}" for number in range(6)], x, target, np.ones(200))
    assert np.abs(regression.predict(x) - (2 + x[:, 0] - 0.5 * x[:, 1])).mean() < 0.05
    far = x[:1].copy()
    far[0, 0] = 1e6
    assert regression.predict(far)[0] < 2 + x[:, 0].max() + 3


def test_log_error_and_dice_are_inverse() -> None:
    dice = np.linspace(0, 1, 11)
    assert dice_of_log_error(log_error(dice)) == pytest.approx(dice)


def test_a_shifted_regression_predicts_as_before_what_lies_so_much_higher() -> None:
    generator = np.random.default_rng(0)
    x, away = generator.normal(size=(50, 3)), np.array([1.0, -2.0, 0.5])
    regression = fit_ridge(["a", "b", "c"], x, x[:, 0], np.ones(50))
    wide = 3 * x
    assert regression.shifted(away, 0.25).predict(wide + away) == pytest.approx(
        regression.predict(wide) + 0.25
    )
