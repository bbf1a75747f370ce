"""Split conformal prediction: from the errors of held-out scans to an interval that holds a new one's truth.

Scans of one patient are no independent draws. Each patient therefore counts once, however many scans there are of them:
Lee, Barber and Willett, "Distribution-free inference with hierarchical data", 2023, of which one scan a patient is the
usual split conformal prediction (Vovk et al., 2005; Lei et al., JASA 2018). The promise is over patients: of new
patients like the held-out ones, a scan's truth lies in its interval with at least the probability `level`, where what
scores it does not depend on the held-out patients; where it does, about so (cross-conformal; it is measured).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.infer.quality.stored import Array

#: Repeated splits by which coverage is measured, and the share of the patients that each keeps for it.
_SPLITS, _TEST_SHARE = 500, 0.2

#: What rounding may take from a sum of weights.
_TOLERANCE = 1e-9


def needed_patients(level: float) -> int:
    """How many held-out patients an interval of this level takes: ceil(1 / (1 - level)) - 1.

    >>> [needed_patients(level) for level in (0.8, 0.9, 0.95, 0.99)]
    [4, 9, 19, 99]
    """
    return max(1, math.ceil(1 / (1 - level) - _TOLERANCE) - 1)


def patient_weights(patients: Sequence[str]) -> Array:
    """(n,) of each scan: one over how many scans there are of its patient."""
    counts = Counter(patients)
    return np.array([1.0 / counts[name] for name in patients])


def conformal_quantile(scores: Array, weights: Array, level: float) -> float | None:
    """The least score up to which scores weigh `level` times (1 + all their weights); None where all do not suffice.

    Of n patients with one scan each: the ceil((n + 1) level)-th smallest score.

    Args:
        scores: (n,) how far each held-out scan was off, in any unit.
        weights: (n,) as of `patient_weights`.
        level: over 0, under 1.
    """
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    wanted = level * (1 + weights.sum()) - _TOLERANCE
    place = int(np.searchsorted(reached, wanted))
    return float(scores[order[place]]) if place < len(scores) else None


@dataclass(frozen=True)
class SplitCoverage:
    """How many of the truths intervals held, over repeated splits.

    Attributes:
        mean: over the splits.
        low, high: between which nine of ten splits lie.
    """

    mean: float
    low: float
    high: float


def split_coverage(scores: Array, patients: Sequence[str], level: float) -> SplitCoverage | None:
    """Repeatedly take some patients for the quantile and count which scores of the others it holds.

    A fifth of the patients are the others, or fewer where the quantile needs them, and each patient counts once. None
    where the quantile needs all of them.
    """
    names = sorted(set(patients))
    others = min(max(1, round(_TEST_SHARE * len(names))), len(names) - needed_patients(level))
    if others < 1:
        return None
    number = {name: place for place, name in enumerate(names)}
    owner = np.array([number[name] for name in patients])
    weights = patient_weights(patients)
    generator = np.random.default_rng([1, len(names)])
    found = np.array(
        [
            _held(scores, weights, np.isin(owner, generator.permutation(len(names))[:others]), level)
            for _ in range(_SPLITS)
        ]
    )
    low, high = np.percentile(found, (5, 95)).tolist()
    return SplitCoverage(float(found.mean()), low, high)


def _held(scores: Array, weights: Array, test: NDArray[np.bool_], level: float) -> float:
    quantile = conformal_quantile(scores[~test], weights[~test], level)
    assert quantile is not None
    return float(np.average(scores[test] <= quantile, weights=weights[test]))
