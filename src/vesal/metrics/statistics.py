"""How sure a mean over cases is: bootstrap intervals of means, medians and paired differences.

A mean's interval is studentised (bootstrap-t; Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter
12.5): resampled means are divided by their own standard errors. On means of skewed values such as Dice it holds the
truth about as often as it claims from ten cases on, where the percentile interval does not; docs/metrics.md has the
numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Statistic = Literal["mean", "median"]

#: Values that one block of resamples holds: bounds the memory for large cohorts.
_BLOCK = 1 << 22
#: Up to so many shares are kept for the next metric.
_KEPT = 1 << 20
#: Up to so many cases most resamples repeat too few values to have a spread: the interval is Student's.
_FEW = 3
#: A resample of nearly equal cases has next to no spread, and its studentised mean next to no bound. No side of an
#: interval is longer than this many of Student's.
_MOST_STUDENTS = 3.0

Floats = NDArray[np.float64]


def bootstrap_interval(
    values: Sequence[float] | Floats,
    groups: Sequence[int] | None = None,
    *,
    confidence: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
    statistic: Statistic = "mean",
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float]:
    """The bootstrap interval of the mean (or median) of `values`, one value a case.

    Cases are drawn with replacement, as many as there are, `samples` times. The mean's interval is studentised
    (see the module), and Student's for two or three cases; the median's holds the middle `confidence` of the
    resampled medians (percentile interval, the same book, chapter 13). The same seed and number of cases draw the same
    cases. One case gives an interval of no width: it says nothing about other cases. Groups of cases are drawn whole
    (Davison and Hinkley, Bootstrap Methods and their Application, 1997, chapter 3.8): scans of one patient fail alike,
    and drawn one by one they would make the mean look surer than it is.

    Args:
        values: (cases,) finite.
        groups: (cases,) numbers, the same of cases that belong together; None where none do.
        confidence: share of such intervals that hold the truth, in (0, 1).
        samples: resamples.
        seed: of the draws.
        statistic: what is estimated.
        bounds: the range of the values, in which the interval stays.

    Raises:
        ValueError: there are no values, one is not finite, or an argument is out of its range.

    >>> low, high = bootstrap_interval([0.8, 0.9, 0.85, 0.7, 0.95], bounds=(0, 1))
    >>> 0.6 < low < 0.84 < high < 1
    True
    """
    cases = _finite(values)
    _check(confidence, samples)
    if statistic not in get_args(Statistic):
        raise ValueError(f"the statistic '{statistic}' is not one of {', '.join(get_args(Statistic))}")
    if np.ptp(cases) == 0:
        return float(cases[0]), float(cases[0])
    if groups is not None:
        low, high = _grouped_interval(cases, groups, statistic, confidence, samples, seed)
        return float(max(low, bounds[0])), float(min(high, bounds[1]))
    if statistic == "median":
        generator, size = np.random.default_rng([seed, cases.size]), cases.size
        drawn = [
            np.median(cases[generator.integers(0, size, (count, size))], axis=1)
            for count in _blocks(samples, size)
        ]
        tail = 100 * (1 - confidence) / 2
        low, high = np.percentile(np.concatenate(drawn), [tail, 100 - tail])
    else:
        low, high = _mean_interval(cases, confidence, samples, seed)
    return float(max(low, bounds[0])), float(min(high, bounds[1]))


def _mean_interval(cases: Floats, confidence: float, samples: int, seed: int) -> tuple[float, float]:
    mean = float(cases.mean())
    centred = cases - mean
    error = float(centred.std(ddof=1)) / np.sqrt(cases.size)
    ratios = None
    if cases.size > _FEW:
        parts = []
        for share in _shares(seed, cases.size, samples):
            means = share @ centred
            variance = np.maximum(share @ centred**2 - means**2, 0) / (cases.size - 1)
            parts.append((means, np.sqrt(variance)))
        ratios = _ratios(parts, error)
    return _studentised(mean, error, ratios, cases.size - 1, confidence)


def _grouped_interval(
    cases: Floats, groups: Sequence[int], statistic: Statistic, confidence: float, samples: int, seed: int
) -> tuple[float, float]:
    """As `bootstrap_interval` where groups of cases are drawn whole."""
    member = np.unique(groups, return_inverse=True)[1]
    units, tail = int(member.max()) + 1, 100 * (1 - confidence) / 2
    generator = np.random.default_rng([seed, units, cases.size])
    if statistic == "median":
        if units == 1:
            return float(np.median(cases)), float(np.median(cases))
        order = np.argsort(cases)
        drawn = [
            _weighted_median(cases[order], _counts(generator, count, units)[:, member[order]])
            for count in _blocks(samples, 4 * cases.size)
        ]
        low, high = np.percentile(np.concatenate(drawn), [tail, 100 - tail]).tolist()
        return low, high
    mean = float(cases.mean())
    if units == 1:
        return mean, mean
    sums, sizes = np.bincount(member, cases - mean), np.bincount(member).astype(float)

    def estimate(times: Floats) -> tuple[Floats, Floats]:
        """(samples, groups) how often each was drawn -> means beside `mean`, and their linearised standard errors."""
        size = times @ sizes
        means = times @ sums / size
        squares = times @ sums**2 - 2 * means * (times @ (sums * sizes)) + means**2 * (times @ sizes**2)
        return means, np.sqrt(np.maximum(squares, 0) * units / (units - 1)) / size

    error = float(estimate(np.ones((1, units)))[1][0])
    ratios = None
    if units > _FEW and error > 0:
        blocks = _blocks(samples, 4 * units)
        ratios = _ratios([estimate(_counts(generator, count, units)) for count in blocks], error)
    return _studentised(mean, error, ratios, units - 1, confidence)


def _weighted_median(values: Floats, times: Floats) -> Floats:
    """(samples,) the medians of values in order, each as often as it was drawn (samples, cases)."""
    reached = times.cumsum(axis=1)
    total = reached[:, -1:]
    sides = [values[(reached > place).argmax(axis=1)] for place in ((total - 1) // 2, total // 2)]
    return np.asarray((sides[0] + sides[1]) / 2)


@dataclass(frozen=True)
class Difference:
    """A mean difference B - A and how sure it is.

    Attributes:
        mean: over the cases of the mean over the runs.
        low, high: its interval; None for one case.
        p: two-sided, of the interval's own bootstrap: how far it has to be widened to reach 0. None for one case.
        error: standard error, all sources of spread together; None for one case.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    error: float | None

    @property
    def detectable(self) -> float | None:
        """The true difference that a test at 5 % would have found four times in five: 2.8 standard errors."""
        return None if self.error is None else (1.959964 + 0.841621) * self.error


def paired_difference(
    a: Floats,
    b: Floats,
    groups: Sequence[int] | None = None,
    *,
    samples: int = 2000,
) -> Difference:
    """The mean of b - a over the same cases; its 95 % interval covers cases, and runs or groups if several.

    A hierarchical bootstrap: the runs of A and those of B are drawn with replacement, then the cases, and the
    difference of the drawn is divided by its own standard error, which adds the variances of the cases' mean
    differences and of the means of either side's runs. Groups of cases are drawn whole (Davison and Hinkley,
    Bootstrap Methods and their Application, 1997, chapter 3.8). One run a side leaves the spread of training unknown;
    so do two, nearly.

    Args:
        a, b: (runs, cases), such as one row a seed; runs are independent of each other, cases are paired.
        groups: (cases,) numbers that say which training (fold) predicted a case; at least three different ones are
            needed to say much.
        samples: resamples.

    Raises:
        ValueError: the cases of A and B differ in number, or there is one group.

    >>> a = np.array([[0.80, 0.85, 0.70, 0.90, 0.88]])
    >>> paired_difference(a, a + 0.05).mean.__round__(3)
    0.05
    """
    a, b = np.atleast_2d(np.asarray(a, float)), np.atleast_2d(np.asarray(b, float))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not a.size or not b.size:
        raise ValueError(f"A {a.shape} and B {b.shape} are (runs, cases) with the same cases, at least one")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a paired difference needs finite values")
    cases = a.shape[1]
    difference = b.mean(axis=0) - a.mean(axis=0)
    mean = float(difference.mean())
    if cases == 1:
        return Difference(mean, None, None, None, None)
    design = _Design(a, b, None if groups is None else np.unique(groups, return_inverse=True)[1])
    if design.units < 2:
        raise ValueError("groups are drawn where there are at least two")
    error = float(design.estimate(design.whole())[1][0])
    if error <= 1e-12 * max(1.0, abs(mean)):
        return Difference(mean, mean, mean, 1.0 if abs(mean) < 1e-12 else 1 / (samples + 1), 0.0)
    ratios = None
    if design.units > _FEW:
        generator = np.random.default_rng([0, cases, len(a), len(b)])
        drawn = [design.estimate(weights) for weights in design.draws(generator, samples)]
        ratios = _ratios([(means - mean, errors) for means, errors in drawn], error)
    low, high = _studentised(mean, error, ratios, design.units - 1, 0.95)
    return Difference(mean, low, high, _p_value(mean / error, ratios, design.units - 1), error)


# --- resampling runs and cases -------------------------------------------------------------------------------


#: Of a block of resamples: how often each run of A and of B (samples, runs) and each case (samples, cases) was drawn.
_Weights = tuple[Floats, Floats, Floats]


@dataclass(frozen=True, eq=False)
class _Design:
    a: Floats
    b: Floats
    groups: NDArray[np.intp] | None

    @property
    def units(self) -> int:
        """What is drawn on the level of cases: groups, or cases."""
        return self.a.shape[1] if self.groups is None else int(self.groups.max()) + 1

    def whole(self) -> _Weights:
        """Everything once."""
        return np.ones((1, len(self.a))), np.ones((1, len(self.b))), np.ones((1, self.a.shape[1]))

    def draws(self, generator: np.random.Generator, samples: int) -> Iterator[_Weights]:
        """Blocks of resamples."""
        for count in _blocks(samples, 4 * self.a.shape[1]):
            a, b = (_counts(generator, count, len(side)) for side in (self.a, self.b))
            if self.groups is None:
                cases = _counts(generator, count, self.a.shape[1])
            else:
                # Whole: the cases within a group are no independent draws beside it.
                cases = _counts(generator, count, self.units)[:, self.groups]
            yield a, b, cases

    def estimate(self, weights: _Weights) -> tuple[Floats, Floats]:
        """(samples,) weighted mean differences, and their standard errors."""
        of_a, of_b, share = (drawn / drawn.sum(axis=1, keepdims=True) for drawn in weights)
        difference = of_b @ self.b - of_a @ self.a
        mean = (difference * share).sum(axis=1)
        apart = difference - mean[:, None]
        if self.groups is None:
            variance = (apart**2 * share).sum(axis=1) / (self.units - 1)
        else:
            # Linearised, for groups of unequal size: the squared sums of the groups' residuals.
            member = np.eye(self.units)[self.groups]
            times = weights[2] @ member / np.maximum(member.sum(axis=0), 1)
            sums = (apart @ member) / weights[2].sum(axis=1, keepdims=True)
            variance = (times * sums**2).sum(axis=1) * self.units / (self.units - 1)
        for runs, drawn in ((self.a, of_a), (self.b, of_b)):
            if len(runs) > 1:
                of_runs = share @ runs.T
                centre = (of_runs * drawn).sum(axis=1, keepdims=True)
                variance = variance + ((of_runs - centre) ** 2 * drawn).sum(axis=1) / (len(runs) - 1)
        return mean, np.sqrt(np.maximum(variance, 0))


def _counts(generator: np.random.Generator, samples: int, units: int) -> Floats:
    """(samples, units) how often each unit is in a draw of as many with replacement."""
    if units == 1:
        return np.ones((samples, 1))
    drawn = generator.integers(0, units, (samples, units)) + units * np.arange(samples)[:, None]
    return np.bincount(drawn.ravel(), minlength=samples * units).reshape(samples, units).astype(float)


def _shares(seed: int, cases: int, samples: int) -> Iterator[Floats]:
    """Blocks (rows, cases) of each case's share in a resample."""
    if cases * samples <= _KEPT:
        yield _kept_shares(seed, cases, samples)
        return
    generator = np.random.default_rng([seed, cases])
    for count in _blocks(samples, 4 * cases):
        yield _counts(generator, count, cases) / cases


@lru_cache(maxsize=4)
def _kept_shares(seed: int, cases: int, samples: int) -> Floats:
    """Of all resamples: many metrics of one cohort are drawn alike."""
    return _counts(np.random.default_rng([seed, cases]), samples, cases) / cases


def _blocks(samples: int, width: int) -> list[int]:
    """How many resamples of so many values each are held at once."""
    rows = max(1, _BLOCK // width)
    return [min(rows, samples - start) for start in range(0, samples, rows)]


# --- from resamples to an interval ---------------------------------------------------------------------------


def _ratios(parts: Sequence[tuple[Floats, Floats]], error: float) -> Floats:
    """Differences from the estimate over their own errors; those of equal cases are large, not infinite."""
    apart = np.concatenate([part[0] for part in parts])
    errors = np.concatenate([part[1] for part in parts])
    return apart / np.maximum(errors, 1e-9 * error)


def _studentised(
    estimate: float, error: float, ratios: Floats | None, freedom: int, confidence: float
) -> tuple[float, float]:
    """The interval, from studentised resamples or else from Student's distribution; it holds the estimate."""
    from scipy.special import stdtrit

    tail = (1 - confidence) / 2
    student = float(stdtrit(freedom, 1 - tail))
    if ratios is None:
        return estimate - student * error, estimate + student * error
    below, above = np.percentile(ratios, [100 * tail, 100 * (1 - tail)])
    most = _MOST_STUDENTS * student
    return estimate - float(np.clip(above, 0, most)) * error, estimate + float(
        np.clip(-below, 0, most)
    ) * error


def _p_value(ratio: float, ratios: Floats | None, freedom: int) -> float:
    """Two-sided, of a difference of 0; from resamples it is never below what their number can show."""
    from scipy.special import stdtr

    if ratios is None:
        return float(2 * stdtr(freedom, -abs(ratio)))
    beyond = min(np.count_nonzero(ratios >= ratio), np.count_nonzero(ratios <= ratio))
    return float(min(1.0, 2 * (beyond + 1) / (ratios.size + 1)))


def _finite(values: Any) -> Floats:
    cases = np.asarray(values, dtype=np.float64)
    if cases.ndim != 1 or cases.size == 0 or not np.isfinite(cases).all():
        raise ValueError("a bootstrap needs a list of finite values, at least one")
    return cases


def _check(confidence: float, samples: int) -> None:
    if not 0 < confidence < 1 or samples < 1:
        raise ValueError(f"confidence {confidence} lies between 0 and 1, samples {samples} are at least 1")
