"""Whether two models differ on the same cases: signed ranks, effect sizes, and several tests at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Up to so many differences the p value is counted, above it is approximated.
_EXACT = 200
#: Differences closer than this are ties: 0.9 - 0.8 and 0.8 - 0.7 are no two numbers.
_DECIMALS = 12


@dataclass(frozen=True)
class SignedRanks:
    """Wilcoxon's signed rank test of paired differences.

    Attributes:
        positive, negative: sums of the ranks of differences above and below 0.
        zeros: differences of 0.
        p: two-sided, in (0, 1]; 1 when every difference is 0.
    """

    positive: float
    negative: float
    zeros: int
    p: float

    @property
    def rank_biserial(self) -> float:
        """The effect size, in [-1, 1]: (positive - negative) / (positive + negative) (Kerby 2014).

        1 says that every difference is above 0; 0 that they balance, or that there is none.
        """
        total = self.positive + self.negative
        return (self.positive - self.negative) / total if total else 0.0


def wilcoxon(differences: Sequence[float] | NDArray[np.float64]) -> SignedRanks:
    """Test whether paired differences lie about 0 symmetrically (Wilcoxon, Biometrics Bulletin 1945).

    Zeros are ranked with the others and their ranks then dropped (Pratt, JASA 1959), so that many cases without a
    difference do not make the few others look certain. Ties share their mean rank. Up to 200 differences that are not
    0 the p value is exact, given ties and zeros: it counts the sums of ranks over all signs. Above that it is scipy's
    normal approximation with corrections for ties and continuity.

    Args:
        differences: (cases,) finite.

    Raises:
        ValueError: there are none, or one is not finite.

    >>> wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5]).p
    0.0625
    >>> wilcoxon([0.0, 0.0, 0.0]).p
    1.0
    """
    from scipy.stats import rankdata

    values: NDArray[np.float64] = np.asarray(differences, dtype=np.float64).round(_DECIMALS)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError("a test of differences needs a list of finite values, at least one")
    ranks = rankdata(np.abs(values))
    positive, negative = float(ranks[values > 0].sum()), float(ranks[values < 0].sum())
    zeros = int(np.count_nonzero(values == 0))
    if zeros == values.size:
        return SignedRanks(0.0, 0.0, zeros, 1.0)
    kept = ranks[values != 0]
    p = _exact_p(kept, min(positive, negative)) if kept.size <= _EXACT else _approximate_p(values)
    return SignedRanks(positive, negative, zeros, p)


def _exact_p(ranks: NDArray[np.float64], smaller: float) -> float:
    """Twice the share of all signs whose sum of positive ranks is at most `smaller`."""
    # Mean ranks of ties are halves: counted in halves they are whole numbers.
    halves = np.rint(2 * ranks).astype(int)
    chances = np.zeros(int(halves.sum()) + 1)
    chances[0] = 1.0
    for rank in halves:
        without = chances / 2
        chances = without.copy()
        chances[rank:] += without[: len(without) - rank]
    return float(min(1.0, 2 * chances[: int(np.rint(2 * smaller)) + 1].sum()))


def _approximate_p(values: NDArray[np.float64]) -> float:
    from scipy import stats

    return float(stats.wilcoxon(values, zero_method="pratt", correction=True, method="approx").pvalue)


def cohens_dz(differences: Sequence[float] | NDArray[np.float64]) -> float | None:
    """Cohen's d_z: the mean difference over the standard deviation of the differences; None where that is 0 or unknown.

    After Lakens, Frontiers in Psychology 2013.

    >>> cohens_dz([1.0, 2.0, 3.0])
    2.0
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.size < 2 or np.ptp(values) < 10.0**-_DECIMALS:
        return None
    return float(values.mean() / values.std(ddof=1))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p values of several tests, raised so that one false finding among all is as rare as one test promises.

    Step-down after Holm, Scandinavian Journal of Statistics 1979; valid however the tests depend on each other.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = highest
    return tuple(corrected)
