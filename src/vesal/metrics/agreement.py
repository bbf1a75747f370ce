"""Whether two measurements of one quantity agree: the bias and the limits of agreement of Bland and Altman."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.metrics.statistics import bootstrap_interval

#: So many standard deviations hold 95 % of normally distributed differences.
_SPAN = 1.959964


@dataclass(frozen=True)
class Agreement:
    """Of measured minus true values, in their unit.

    Attributes:
        count: pairs.
        bias: the mean difference; above 0 where too much is measured.
        bias_low, bias_high: its interval (studentised bootstrap); None for one pair, as is all that follows.
        spread: standard deviation of the differences.
        lower, upper: limits of agreement, bias -+ 1.96 spread: where 95 of 100 differences lie, if they are normal.
        lower_low, lower_high, upper_low, upper_high: intervals of the limits.
    """

    count: int
    bias: float
    bias_low: float | None = None
    bias_high: float | None = None
    spread: float | None = None
    lower: float | None = None
    lower_low: float | None = None
    lower_high: float | None = None
    upper: float | None = None
    upper_low: float | None = None
    upper_high: float | None = None


def bland_altman(
    measured: Sequence[float] | NDArray[np.float64],
    true: Sequence[float] | NDArray[np.float64],
    groups: Sequence[int] | None = None,
) -> Agreement:
    """Bias and limits of agreement (Bland and Altman, The Lancet 1986), with their 95 % intervals.

    A limit's standard error is spread x sqrt(1 / n + 1.96^2 / (2 (n - 1))), its interval Student's with n - 1
    degrees of freedom (Bland and Altman, Statistical Methods in Medical Research 1999). Where several pairs are of one
    patient, `groups` (n,) numbers say which: the bias draws patients, and n counts them in a limit's interval.

    Raises:
        ValueError: there are no pairs, one is not finite, or the numbers differ.

    >>> found = bland_altman([10.5, 21.0, 29.5, 41.0], [10.0, 20.0, 30.0, 40.0])
    >>> found.bias, round(found.spread, 4), round(found.lower, 2), round(found.upper, 2)
    (0.5, 0.7071, -0.89, 1.89)
    """
    from scipy.special import stdtrit

    values, truth = np.asarray(measured, dtype=float), np.asarray(true, dtype=float)
    if values.ndim != 1 or values.shape != truth.shape or not values.size:
        raise ValueError(f"measured {values.shape} and true {truth.shape} are pairs, at least one")
    differences = values - truth
    bias = float(differences.mean())
    count = differences.size
    units = count if groups is None else len(set(groups))
    if units == 1:
        return Agreement(count, bias)
    low, high = bootstrap_interval(differences, groups)
    spread = float(differences.std(ddof=1))
    lower, upper = bias - _SPAN * spread, bias + _SPAN * spread
    error = spread * float(np.sqrt(1 / units + _SPAN**2 / (2 * (units - 1))))
    reach = float(stdtrit(units - 1, 0.975)) * error
    return Agreement(
        count=count,
        bias=bias,
        bias_low=low,
        bias_high=high,
        spread=spread,
        lower=lower,
        lower_low=lower - reach,
        lower_high=lower + reach,
        upper=upper,
        upper_low=upper - reach,
        upper_high=upper + reach,
    )
