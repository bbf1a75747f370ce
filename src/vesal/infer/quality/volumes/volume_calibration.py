"""From held-out scans to the interval around the volume of a class.

The difficulty of each scan is estimated by a regression that was fitted to the patients of other parts, as everything
that is measured on held-out scans (`vesal.infer.quality.calibrate`). Corrupted scans take part in that regression, so
that it knows what large errors look like; the scores, from which the quantile is taken, are those of clean scans alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.infer.quality.ridge_regression import fit_ridge
from vesal.infer.quality.stored import Array, rounded, vector
from vesal.infer.quality.volumes.conformal import conformal_quantile, patient_weights, split_coverage
from vesal.infer.quality.volumes.interval_level import LEVEL
from vesal.infer.quality.volumes.volume_interval import VolumeCoverage, VolumeModel, widening

#: How much a corrupted scan counts beside a clean one in the regression of the difficulty.
_CORRUPTED_WEIGHT = 0.3

#: Added to an error before its logarithm, as a share of the median error of clean scans: less is luck.
_FLOOR_SHARE = 0.2

#: The same where the median error is nothing (ml).
_LEAST_FLOOR_ML = 1e-4

#: The joint OOD score that this share of the clean scans stays under is usual.
_USUAL = 0.9


@dataclass(frozen=True, eq=False)
class VolumeErrors:
    """Of n held-out scans, clean and corrupted, in which one class was found.

    Attributes:
        patients: (n,) names.
        part: (n,) of cross-fitting.
        clean: (n,) whether nothing was done to it.
        predicted_ml, true_ml: (n,) volumes.
        features: (n,) `difficulty_features`.
        ood_scores: (n,) joint OOD score, of a distribution that was fitted without the patient.
    """

    patients: Sequence[str]
    part: NDArray[np.int64]
    clean: NDArray[np.bool_]
    predicted_ml: Array
    true_ml: Array
    features: Sequence[dict[str, float]]
    ood_scores: Array

    @property
    def errors_ml(self) -> Array:
        """(n,) |predicted - true|."""
        return np.abs(self.predicted_ml - self.true_ml)

    @property
    def clean_patients(self) -> list[str]:
        """Of the clean scans, in their order."""
        return [name for name, clean in zip(self.patients, self.clean, strict=True) if clean]


def fit_volume(found: VolumeErrors, level: float = LEVEL) -> tuple[VolumeModel, Array]:
    """The model of one class, and the (n,) cross-fitted difficulty (ml) of each scan.

    Args:
        found: of at least `vesal.infer.quality.calibrate.FEWEST` patients with a clean scan.
        level: at which coverage and width are measured.
    """
    names = list(found.features[0])
    values = np.stack([vector(of, names) for of in found.features])
    usual = float(np.quantile(found.ood_scores[found.clean], _USUAL))
    wider = np.array([widening(score, usual) for score in found.ood_scores.tolist()])
    floor = max(_FLOOR_SHARE * float(np.median(found.errors_ml[found.clean])), _LEAST_FLOOR_ML)
    target = np.log((found.errors_ml + floor) / wider)
    weight = np.where(found.clean, 1.0, _CORRUPTED_WEIGHT)
    difficulty = np.empty(len(target))
    for test in np.unique(found.part):
        train, rows = found.part != test, found.part == test
        regression = fit_ridge(names, values[train], target[train], weight[train])
        difficulty[rows] = np.exp(regression.predict(values[rows])) * wider[rows]
    scores = (found.errors_ml / difficulty)[found.clean]
    order = np.argsort(scores, kind="stable")
    model = VolumeModel(
        regression=fit_ridge(names, values, target, weight).rounded(),
        usual=usual,
        scores=rounded(scores[order]),
        weights=tuple(patient_weights(found.clean_patients)[order].tolist()),
        coverage=measured_coverage(found, difficulty, level),
    )
    return model, difficulty


def measured_coverage(found: VolumeErrors, difficulty: Array, level: float) -> VolumeCoverage:
    """How many truths the intervals hold, and how wide they are, beside intervals of one width for all scans."""
    weights = patient_weights(found.clean_patients)
    clean, errors = found.clean, found.errors_ml
    splits = split_coverage((errors / difficulty)[clean], found.clean_patients, level)
    own, one_width = (
        conformal_quantile((errors / scale)[clean], weights, level)
        for scale in (difficulty, np.ones_like(difficulty))
    )

    def held(scale: Array, quantile: float | None) -> int:
        return 0 if quantile is None else int((errors <= quantile * scale)[~clean].sum())

    def width(scale: Array, quantile: float | None) -> float | None:
        if quantile is None:
            return None
        half = quantile * scale
        low = np.maximum(found.predicted_ml - half, 0.0)
        return float(np.median(((found.predicted_ml + half - low) / found.predicted_ml)[clean]))

    return VolumeCoverage(
        level=level,
        coverage=None if splits is None else splits.mean,
        coverage_low=None if splits is None else splits.low,
        coverage_high=None if splits is None else splits.high,
        width=width(difficulty, own),
        width_unscaled=width(np.ones_like(difficulty), one_width),
        scans=int(clean.sum()),
        corrupted=int((~clean).sum()),
        corrupted_held=held(difficulty, own),
        corrupted_held_unscaled=held(np.ones_like(difficulty), one_width),
    )
