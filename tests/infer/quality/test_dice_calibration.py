"""Scans are compared with others of the same network: what differs between networks tells nothing of a scan."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.infer.quality.dice_calibration import DiceRows, centred, fit_dice
from vesal.infer.quality.ridge_regression import log_error


def rows(apart: float, seed: int = 0) -> DiceRows:
    """Of four networks, 25 scans each: within one, a higher feature is a higher Dice; the networks with higher features
    are not better ones."""
    generator = np.random.default_rng(seed)
    fold = np.repeat(np.arange(4), 25)
    own = generator.normal(size=100)
    return DiceRows(
        values=(own + apart * np.array([0.0, 3.0, -2.0, 1.0])[fold])[:, None],
        true=np.clip(0.85 + 0.03 * own + 0.005 * generator.normal(size=100), 0, 1),
        part=np.arange(100) % 10,
        clean=np.ones(100, dtype=bool),
        fold=fold,
    )


def test_how_networks_differ_as_a_whole_does_not_hide_how_scans_differ() -> None:
    alike, apart = (fit_dice(["a"], rows(by)).model.accuracy for by in (0.0, 2.0))
    assert alike.spearman is not None
    assert apart.spearman is not None
    assert apart.spearman > 0.85
    assert alike.spearman - apart.spearman < 0.1


def test_each_folds_own_regression_predicts_its_own_scans() -> None:
    known = rows(2.0)
    fitted = fit_dice(["a"], known)
    for number, offset in fitted.offsets.items():
        own = known.fold == number
        regression = fitted.model.regression.shifted(*offset)
        error = np.abs(regression.predict(known.values[own]) - log_error(known.true[own])).mean()
        plain = np.abs(fitted.model.regression.predict(known.values[own]) - log_error(known.true[own])).mean()
        assert error < 0.2
        assert error <= plain + 0.02


def test_folds_that_differ_by_chance_have_no_offset_and_others_nearly_all_of_theirs() -> None:
    generator = np.random.default_rng(1)
    fold, everyone = np.repeat(np.arange(5), 20), np.ones(100, dtype=bool)
    noise = generator.normal(size=(100, 1))
    alike = np.concatenate([noise[fold == number] - noise[fold == number].mean() for number in range(5)])
    _, target, offsets = centred(alike, alike[:, 0], fold, everyone)
    assert np.abs(target).max() < 1e-12
    apart = alike + 5.0 * (fold == 2)[:, None]
    moved, _, offsets = centred(apart, apart[:, 0], fold, everyone)
    # The mean of all is 1: fold 2 lies 4 above it, the others 1 below.
    assert offsets[2][0][0] == pytest.approx(4.0, abs=0.1)
    assert offsets[0][1] == pytest.approx(-1.0, abs=0.05)
    assert np.abs(moved[fold == 2].mean() - moved[fold != 2].mean()) < 0.1


def test_a_fold_without_a_known_scan_and_a_single_fold_have_no_offset() -> None:
    values = np.arange(40.0)[:, None]
    fold = np.repeat([0, 1, 2, 3], 10)
    _, _, offsets = centred(values, values[:, 0], fold, fold != 3)
    assert offsets[3][1] == 0.0
    assert offsets[0][1] < -5
    _, target, _ = centred(values, values[:, 0], np.zeros(40, dtype=int), np.ones(40, dtype=bool))
    assert not target.any()


def test_scans_without_the_class_take_no_part() -> None:
    known = rows(0.0)
    true = known.true.copy()
    true[::5] = np.nan
    fitted = fit_dice(["a"], DiceRows(known.values, true, known.part, known.clean, known.fold))
    assert fitted.model.accuracy.cases == 80
    assert np.isfinite(fitted.errors).all()
