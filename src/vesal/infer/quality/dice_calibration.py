"""From held-out scans to the regression that predicts the Dice of a class.

Networks of different folds differ as a whole: one is surer of itself, another better. What is to be learned is how
scans of one network differ, so features and target are taken beside the means of their fold. Each fold's model file
gets the regression with its own means put back; an ensemble, whose features are means over its networks, that with the
mean of all.

Arrays: n scans, d features of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.infer.quality.quality_model import DiceAccuracy, DiceModel
from vesal.infer.quality.ranking import rank_correlation
from vesal.infer.quality.ridge_regression import dice_of_log_error, fit_ridge, log_error
from vesal.infer.quality.stored import Array

#: How much a corrupted scan counts beside a clean one.
_CORRUPTED_WEIGHT = 0.1

#: Fold -> how far the mean of its scans lies from that of all folds: of the features (d,), and of the target.
Offsets = dict[int, tuple[Array, float]]


@dataclass(frozen=True, eq=False)
class DiceRows:
    """Held-out scans, clean and corrupted.

    Attributes:
        values: (n, d) features.
        true: (n,) Dice; NaN where neither truth nor prediction hold the class.
        part: (n,) of cross-fitting.
        clean: (n,) whether nothing was done to it.
        fold: (n,) of the network.
    """

    values: Array
    true: Array
    part: NDArray[np.int64]
    clean: NDArray[np.bool_]
    fold: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FittedDice:
    """The model of one class.

    Attributes:
        model: for the mean of all folds' networks.
        errors: (n,) cross-fitted `log_error` of all scans.
        offsets: of each fold.
    """

    model: DiceModel
    errors: Array
    offsets: Offsets


def fit_dice(names: Sequence[str], rows: DiceRows) -> FittedDice:
    """Fit to all scans, and measure by cross-fitting.

    Args:
        names: of the d features.
        rows: with at least a few clean scans that have a Dice in all parts but one.
    """
    values, has = rows.values, ~np.isnan(rows.true)
    true = np.where(has, rows.true, 0.0)
    scored, target = has & rows.clean, log_error(true)
    weight = np.where(rows.clean, 1.0, _CORRUPTED_WEIGHT)
    errors, medians = np.empty(len(true)), np.empty(len(true))
    for test in np.unique(rows.part):
        train, left = has & (rows.part != test), rows.part == test
        moved, own, _ = centred(values, target, rows.fold, train & rows.clean)
        regression = fit_ridge(names, moved[train], (target - own)[train], weight[train])
        errors[left] = regression.predict(moved[left]) + own[left]
        medians[left] = np.median(true[train & rows.clean])
    predicted = dice_of_log_error(errors)
    below, above = np.percentile((target - errors)[scored], (5, 95))
    moved, own, offsets = centred(values, target, rows.fold, scored)
    model = DiceModel(
        regression=fit_ridge(names, moved[has], (target - own)[has], weight[has]).rounded(),
        below=float(below),
        above=float(above),
        accuracy=DiceAccuracy(
            mae=float(np.abs(predicted - true)[scored].mean()),
            spearman=rank_correlation(predicted[scored], true[scored]),
            mae_of_mean=float(np.abs(medians - true)[scored].mean()),
            cases=int(scored.sum()),
        ),
    )
    return FittedDice(model, errors, offsets)


def centred(
    values: Array, target: Array, fold: NDArray[np.int64], known: NDArray[np.bool_]
) -> tuple[Array, Array, Offsets]:
    """Features (n, d) without the offset of their fold, the offset (n,) of each target, and the offsets.

    A part of the difference between the folds' means of their `known` scans is chance. As much of each offset is kept
    as the spread of the means exceeds what chance would give (James and Stein, 1961; Efron and Morris, 1975).
    """
    both = np.column_stack([values, target])
    numbers = np.unique(fold).tolist()
    of_fold = [both[known & (fold == number)] for number in numbers]
    middle = both[known].mean(axis=0)
    several = [own for own in of_fold if len(own) > 1]
    found = {number: np.zeros(both.shape[1]) for number in numbers}
    if len(several) > 1:
        within = np.mean([own.var(axis=0, ddof=1) for own in several], axis=0)
        means = np.stack([own.mean(axis=0) for own in several])
        chance = within * np.mean([1 / len(own) for own in several])
        between = np.maximum(means.var(axis=0, ddof=1) - chance, 0.0)
        for number, own in zip(numbers, of_fold, strict=True):
            if len(own):
                kept = between / np.maximum(between + within / len(own), 1e-12)
                found[number] = kept * (own.mean(axis=0) - middle)
    rows = np.stack([found[number] for number in fold.tolist()])
    return values - rows[:, :-1], rows[:, -1], {of: (row[:-1], float(row[-1])) for of, row in found.items()}
