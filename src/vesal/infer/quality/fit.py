"""Small models of what is usual and of what a Dice will be, learned from a few dozen scans and kept as plain numbers.

Arrays: n scans, d numbers of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Directions of a `Usual` in which spread is kept; in all others it is one number.
_DIRECTIONS = 12

#: Least spread of a number: what is the same in all scans but for rounding is not unlike for another rounding.
_LEAST_SPREAD = 0.02

#: A number farther from the usual, in spreads, counts as being so far.
_FARTHEST = 30.0

#: Parts into which scans are divided to judge each by a model that has not seen it.
PARTS = 10


@dataclass(frozen=True, eq=False)
class Usual:
    """A Gaussian of low rank with a shrunk covariance, and how far the scans that it was made from lie from it.

    The covariance of the standardised numbers is shrunk towards the unit matrix (Ledoit and Wolf, "A well-conditioned
    estimator for large-dimensional covariance matrices", J Multivariate Anal 2004); of its eigenvectors the first few
    are kept, and the mean of the other eigenvalues stands for them.

    Attributes:
        centre, scale: (d,).
        directions: (k, d), orthonormal.
        variances: (k,) along them.
        rest: variance along all others.
        middle, spread: of the log distances of scans that each was left out for, median and upper spread.
    """

    centre: Array
    scale: Array
    directions: Array
    variances: Array
    rest: float
    middle: float = 0.0
    spread: float = 1.0

    def log_distance(self, values: Array) -> Array:
        """(n, d) or (d,) -> log of the mean squared Mahalanobis distance a number."""
        x = np.clip((values - self.centre) / self.scale, -_FARTHEST, _FARTHEST)
        along = x @ self.directions.T
        rest = np.maximum((x**2).sum(axis=-1) - (along**2).sum(axis=-1), 0.0)
        total = (along**2 / self.variances).sum(axis=-1) + rest / self.rest
        return np.asarray(np.log(total / x.shape[-1] + 1e-6))

    def unlike(self, values: Array) -> Array:
        """How unusual: 0 is the median of the scans that are known, 1.28 what one in ten of them exceeds."""
        return (self.log_distance(values) - self.middle) / self.spread


def fit_usual(values: Array, left_out: Array) -> Usual:
    """From known scans.

    Args:
        values: (n, d), n at least 4.
        left_out: (n,) their `left_out_distances`.
    """
    middle, spread = centred(left_out)
    return replace(_gaussian(values), middle=middle, spread=spread)


def left_out_distances(values: Array, part: NDArray[np.int64], known: NDArray[np.bool_]) -> Array:
    """(n,): log distance of each row of (n, d) from what is usual among the known rows of all other parts."""
    found = np.empty(len(values))
    for test in np.unique(part):
        found[part == test] = _gaussian(values[known & (part != test)]).log_distance(values[part == test])
    return found


def centred(values: Array, least: float = 0.05) -> tuple[float, float]:
    """Median, and the spread of a normal distribution with the same 90th percentile."""
    middle, high = np.percentile(values, (50, 90))
    return float(middle), float(max((high - middle) / 1.2816, least))


def _gaussian(values: Array) -> Usual:
    middle = np.median(values, axis=0)
    deviation = 1.4826 * np.median(np.abs(values - middle), axis=0)
    # A few strange scans among the known ones shall not make their likes usual.
    reach = np.where(deviation > 0, 5 * deviation, np.inf)
    kept = np.clip(values, middle - reach, middle + reach)
    centre, scale = kept.mean(axis=0), np.maximum(kept.std(axis=0), _LEAST_SPREAD)
    x = (kept - centre) / scale
    n, d = x.shape
    _, singular, right = np.linalg.svd(x, full_matrices=False)
    eigenvalues = singular**2 / n
    mean = eigenvalues.sum() / d
    squares = (eigenvalues**2).sum()
    noise = ((x**2).sum(axis=1) ** 2).sum() / n**2 - squares / n
    away = squares - d * mean**2
    shrunk = 1.0 if away <= 0 else float(np.clip(noise / away, 0.0, 1.0))
    count = min(_DIRECTIONS, len(eigenvalues), max(1, n // 3), d)
    others = (eigenvalues.sum() - eigenvalues[:count].sum()) / max(d - count, 1)
    floor = 1e-3
    return Usual(
        centre,
        scale,
        right[:count],
        np.maximum((1 - shrunk) * eigenvalues[:count] + shrunk * mean, floor),
        float(max((1 - shrunk) * others + shrunk * mean, floor)),
    )


def cross_parts(names: Sequence[str]) -> dict[str, int]:
    """Name -> which of PARTS random parts of nearly one size it is in, for `names` in a fixed order."""
    order = np.random.default_rng([0, len(names)]).permutation(len(names))
    return {names[row]: place % PARTS for place, row in enumerate(order)}


# --- how good a mask will be ---------------------------------------------------------------------------------

#: Added to 1 - Dice before the logarithm: below it, differences do not matter.
_FLOOR = 0.02

#: Ridge penalties to choose from, times the number of scans.
_PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def to_loss(dice: Array) -> Array:
    """log(1 - Dice + 0.02): errors of good masks and of bad ones are then of one size."""
    return np.log(1.0 - dice + _FLOOR)


def to_dice(loss: Array) -> Array:
    """The inverse of `to_loss`, clipped to 0..1."""
    return np.clip(1.0 + _FLOOR - np.exp(np.minimum(loss, 1.0)), 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Line:
    """A ridge regression: bias + sum of weights times standardised numbers, which are clipped to what was seen.

    Attributes:
        centre, scale, weights: (d,).
        lowest, highest: (d,) of the numbers that it was fitted on.
    """

    centre: Array
    scale: Array
    weights: Array
    bias: float
    lowest: Array
    highest: Array

    def __call__(self, values: Array) -> Array:
        """(n, d) or (d,) -> (n,) or ()."""
        x = (np.clip(values, self.lowest, self.highest) - self.centre) / self.scale
        return np.asarray(x @ self.weights + self.bias)


def fit_line(values: Array, wanted: Array, weight: Array) -> Line:
    """Ridge with the penalty that predicts left-out scans best (closed form of leaving one out).

    Args:
        values: (n, d).
        wanted: (n,).
        weight: (n,) how much each scan counts.
    """
    share = weight / weight.sum()
    centre = share @ values
    scale = np.maximum(np.sqrt(share @ (values - centre) ** 2), 1e-6)
    x = (values - centre) / scale
    bias = float(share @ wanted)
    root = np.sqrt(share)[:, None]
    left, singular, right = np.linalg.svd(x * root, full_matrices=False)
    y = (wanted - bias) * root[:, 0]
    best: tuple[float, Array] | None = None
    for penalty in _PENALTIES:
        kept = singular**2 / (singular**2 + penalty)
        fitted = left @ (kept * (left.T @ y))
        leverage = np.minimum((left**2) @ kept + share, 0.95)
        error = float((((y - fitted) / (1 - leverage)) ** 2).sum())
        if best is None or error < best[0]:
            best = error, right.T @ (np.divide(singular, singular**2 + penalty) * (left.T @ y))
    assert best is not None
    return Line(centre, scale, best[1], bias, values.min(axis=0), values.max(axis=0))


def fit_temperature(logits: Array, truth: NDArray[np.int64], weight: Array, *, regions: bool) -> float:
    """The number by which logits are divided so that their probabilities fit the truth best (least log loss).

    Guo et al., "On calibration of modern neural networks", ICML 2017. Between 0.25 and 8, by golden section.

    Args:
        logits: (n, K) of voxels.
        truth: (n,) the class of each, or (n, K) 0 or 1 for regions.
        weight: (n,) how many voxels each stands for.
        regions: sigmoid of each channel in place of the softmax.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if regions:
            each = (np.logaddexp(0.0, scaled) - truth * scaled).sum(axis=1)
        else:
            peak = scaled.max(axis=1, keepdims=True)
            each = np.log(np.exp(scaled - peak).sum(axis=1)) + peak[:, 0]
            each = each - np.take_along_axis(scaled, truth[:, None], axis=1)[:, 0]
        return float(weight @ each)

    low, high, golden = np.log(0.25), np.log(8.0), (np.sqrt(5) - 1) / 2
    for _ in range(30):
        first, second = high - golden * (high - low), low + golden * (high - low)
        if loss(first) < loss(second):
            high = second
        else:
            low = first
    return float(np.exp((low + high) / 2))


def rank_correlation(one: Sequence[float] | Array, other: Sequence[float] | Array) -> float | None:
    """Spearman's; None where it is not defined."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.asarray(values, dtype=float)) for values in (one, other)]
    if len(ranks[0]) < 3 or min(np.ptp(of) for of in ranks) == 0:
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def risk_coverage(predicted: Array, true: Array) -> tuple[list[tuple[float, float]], float, float, float]:
    """Mean 1 - Dice of the scans that are kept when those of the lowest predicted Dice are left out first.

    Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.

    Returns:
        (coverage, risk) from few scans to all; the area under it; that of the best order; that of none.
    """
    order = np.argsort(-predicted, kind="stable")
    counts = np.arange(1, len(true) + 1)

    def curve(losses: Array) -> Array:
        return np.cumsum(losses) / counts

    risks, best = curve((1 - true)[order]), curve(np.sort(1 - true))
    points = list(zip((counts / len(true)).tolist(), risks.tolist(), strict=True))
    return points, float(risks.mean()), float(best.mean()), float((1 - true).mean())
