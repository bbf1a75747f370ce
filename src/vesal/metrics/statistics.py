"""How sure a mean over cases is: bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

#: Values that one block of resamples holds: bounds the memory for large cohorts.
_BLOCK = 1 << 22

_STATISTICS: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median}


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.float64],
    *,
    confidence: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
    statistic: Literal["mean", "median"] = "mean",
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean (or median) of `values`, one value a case.

    Cases are drawn with replacement, as many as there are, `samples` times; the interval holds the middle
    `confidence` of the resampled statistic (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13). The same seed and number of cases draw the same cases. One case gives an interval of no
    width: it says nothing about other cases.

    Raises:
        ValueError: there are no values, one is not finite, or an argument is out of its range.

    >>> low, high = bootstrap_interval([0.8, 0.9, 0.85, 0.7, 0.95])
    >>> 0.7 < low < 0.84 < high < 0.95
    True
    """
    cases = np.asarray(values, dtype=np.float64)
    if cases.ndim != 1 or cases.size == 0 or not np.isfinite(cases).all():
        raise ValueError("a bootstrap needs a list of finite values, at least one")
    if not 0 < confidence < 1 or samples < 1:
        raise ValueError(f"confidence {confidence} lies between 0 and 1, samples {samples} are at least 1")
    if statistic not in _STATISTICS:
        raise ValueError(f"the statistic '{statistic}' is not one of {', '.join(_STATISTICS)}")
    generator = np.random.default_rng([seed, cases.size])
    of = _STATISTICS[statistic]
    rows = max(1, _BLOCK // cases.size)
    resampled = [
        of(cases[generator.integers(0, cases.size, (min(rows, samples - start), cases.size))], axis=1)
        for start in range(0, samples, rows)
    ]
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(np.concatenate(resampled), [tail, 100 - tail])
    return float(low), float(high)
