"""The distribution of a few dozen known scans, and how far from it another scan lies: its out-of-distribution score.

Arrays: n scans, d features of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from vesal.infer.quality.stored import (
    Array,
    Directions,
    Names,
    Number,
    Numbers,
    Positive,
    Positives,
    Stored,
)

#: Directions in which the variance is kept; in all others it is one number.
_DIRECTIONS = 12

#: Least spread of a feature: what is the same in all scans but for rounding is no outlier for another rounding.
_LEAST_SPREAD = 0.02

#: Least variance along a direction, of standardised features.
_LEAST_VARIANCE = 1e-3

#: A feature farther from the centre, in spreads, counts as being so far.
_FARTHEST = 30.0


class ReferenceDistribution(Stored):
    """A Gaussian of low rank with a shrunk covariance, and how far the scans that it was fitted to lie from it.

    The covariance of the standardised features is shrunk towards the unit matrix (Ledoit and Wolf, "A well-conditioned
    estimator for large-dimensional covariance matrices", J Multivariate Anal 2004); of its eigenvectors the first few
    are kept, and the mean of the other eigenvalues stands for them.

    Attributes:
        names: of the features; none where they are a network's own.
        centre, scale: (d,).
        directions: (k, d), orthonormal.
        variances: (k,) along them.
        rest: variance along all others.
        middle, spread: median and upper spread of the log distances of scans that were each left out.
    """

    names: Names
    centre: Numbers
    scale: Positives
    directions: Directions
    variances: Positives
    rest: Positive
    middle: Number
    spread: Positive

    @model_validator(mode="after")
    def _sizes_fit(self) -> ReferenceDistribution:
        size = len(self.centre)
        sound = (
            size > 0
            and len(self.scale) == size
            and len(self.names) in (0, size)
            and len(self.variances) == len(self.directions)
            and all(len(direction) == size for direction in self.directions)
        )
        if not sound:
            raise ValueError("the numbers of a reference distribution do not fit each other")
        return self

    def log_distance(self, values: Array) -> Array:
        """(n, d) or (d,) -> (n,) or (), log of the mean squared Mahalanobis distance a feature."""
        x = np.clip((values - np.array(self.centre)) / np.array(self.scale), -_FARTHEST, _FARTHEST)
        along = x @ np.array(self.directions).reshape(-1, len(self.centre)).T
        rest = np.maximum((x**2).sum(axis=-1) - (along**2).sum(axis=-1), 0.0)
        total = (along**2 / np.array(self.variances)).sum(axis=-1) + rest / self.rest
        return np.asarray(np.log(total / x.shape[-1] + 1e-6))

    def ood_score(self, values: Array) -> Array:
        """(n, d) or (d,) -> (n,) or (): 0 is the median of the known scans, 1.28 what one in ten of them exceeds."""
        return (self.log_distance(values) - self.middle) / self.spread


def fit_reference(
    values: Array, part: NDArray[np.int64], known: NDArray[np.bool_], names: Sequence[str] = ()
) -> tuple[ReferenceDistribution, Array]:
    """Fit to the known scans, and score every scan by the known ones of the other parts.

    Args:
        values: (n, d); at least 4 of them known.
        part: (n,) of a scan. Scans of one part are scored by a distribution that none of them has entered.
        known: (n,) whether a scan is of the kind that the distribution describes.
        names: of the features.

    Returns:
        The distribution of all known scans, and the (n,) cross-fitted scores on its scale.
    """
    distances = np.empty(len(values))
    for test in np.unique(part):
        fitted = _gaussian(values[known & (part != test)])
        distances[part == test] = fitted.log_distance(values[part == test])
    middle, spread = median_and_spread(distances[known])
    return _gaussian(values[known], names, middle, spread), (distances - middle) / spread


def median_and_spread(values: Array, least: float = 0.05) -> tuple[float, float]:
    """Median, and the standard deviation of a normal distribution with the same 90th percentile."""
    middle, high = np.percentile(values, (50, 90))
    return float(middle), float(max((high - middle) / 1.2816, least))


def _gaussian(
    values: Array, names: Sequence[str] = (), middle_distance: float = 0.0, spread: float = 1.0
) -> ReferenceDistribution:
    middle = np.median(values, axis=0)
    deviation = 1.4826 * np.median(np.abs(values - middle), axis=0)
    # A few outliers among the known scans shall not make others like them usual.
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
    variances = (1 - shrunk) * eigenvalues[:count] + shrunk * mean
    return ReferenceDistribution(
        names=tuple(names),
        centre=centre.tolist(),
        scale=scale.tolist(),
        directions=right[:count].tolist(),
        variances=np.maximum(variances, _LEAST_VARIANCE).tolist(),
        rest=float(max((1 - shrunk) * others + shrunk * mean, _LEAST_VARIANCE)),
        middle=middle_distance,
        spread=spread,
    )
