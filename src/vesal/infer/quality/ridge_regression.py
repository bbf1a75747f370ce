"""A regression of Dice on a few features of a scan, fitted to a few dozen scans.

Arrays: n scans, d features of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import model_validator

from vesal.infer.quality.stored import Array, Names, Number, Numbers, Positives, Stored

#: Added to 1 - Dice before the logarithm: below it, differences do not matter.
_FLOOR = 0.02

#: Ridge penalties to choose from, times the number of scans.
_PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def log_error(dice: Array) -> Array:
    """log(1 - Dice + 0.02): errors of good masks and of bad ones are then of one size."""
    return np.log(1.0 - dice + _FLOOR)


def dice_of_log_error(value: Array) -> Array:
    """The inverse of `log_error`, clipped to 0..1."""
    return np.clip(1.0 + _FLOOR - np.exp(np.minimum(value, 1.0)), 0.0, 1.0)


class RidgeRegression(Stored):
    """bias + sum of weights times standardised features, which are clipped to the range of the training scans.

    Attributes:
        names: of the features.
        centre, scale, weights: (d,).
        bias: of the target.
        lowest, highest: (d,) range of the features that it was fitted to.
    """

    names: Names
    centre: Numbers
    scale: Positives
    weights: Numbers
    bias: Number
    lowest: Numbers
    highest: Numbers

    @model_validator(mode="after")
    def _sizes_fit(self) -> RidgeRegression:
        lists = (self.names, self.centre, self.scale, self.weights, self.lowest, self.highest)
        if len({len(of) for of in lists}) != 1 or not self.names:
            raise ValueError("the numbers of a regression do not fit each other")
        return self

    def shifted(self, features: Array, target: float) -> RidgeRegression:
        """The same for scans whose features (d,) and target all lie so much higher."""
        moved = {
            name: tuple((np.array(getattr(self, name)) + features).tolist())
            for name in ("centre", "lowest", "highest")
        }
        return self.model_copy(update=moved | {"bias": self.bias + target})

    def predict(self, values: Array) -> Array:
        """(n, d) or (d,) -> (n,) or ()."""
        x = (np.clip(values, self.lowest, self.highest) - np.array(self.centre)) / np.array(self.scale)
        return np.asarray(x @ np.array(self.weights) + self.bias)


def fit_ridge(names: Sequence[str], values: Array, target: Array, weight: Array) -> RidgeRegression:
    """Ridge regression with the penalty that predicts left-out scans best (closed form of leaving one out).

    Args:
        names: of the d features.
        values: (n, d).
        target: (n,).
        weight: (n,) how much each scan counts.
    """
    share = weight / weight.sum()
    centre = share @ values
    scale = np.maximum(np.sqrt(share @ (values - centre) ** 2), 1e-6)
    x = (values - centre) / scale
    bias = float(share @ target)
    root = np.sqrt(share)[:, None]
    left, singular, right = np.linalg.svd(x * root, full_matrices=False)
    y = (target - bias) * root[:, 0]
    best: tuple[float, Array] | None = None
    for penalty in _PENALTIES:
        kept = singular**2 / (singular**2 + penalty)
        fitted = left @ (kept * (left.T @ y))
        leverage = np.minimum((left**2) @ kept + share, 0.95)
        error = float((((y - fitted) / (1 - leverage)) ** 2).sum())
        if best is None or error < best[0]:
            best = error, right.T @ (np.divide(singular, singular**2 + penalty) * (left.T @ y))
    assert best is not None
    return RidgeRegression(
        names=tuple(names),
        centre=centre.tolist(),
        scale=scale.tolist(),
        weights=best[1].tolist(),
        bias=bias,
        lowest=values.min(axis=0).tolist(),
        highest=values.max(axis=0).tolist(),
    )
