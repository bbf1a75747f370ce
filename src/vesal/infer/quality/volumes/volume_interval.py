"""The interval around the volume of a class: how it is kept in a model file, and how it is applied to a new scan.

Normalised split conformal prediction: on held-out scans |predicted - true volume| is divided by a difficulty that is
estimated from the scan and its result without the truth; the quantile of these scores times the difficulty of a new
scan is half its interval. Lambert et al., "Robust conformal volume estimation in 3D medical images", MICCAI 2024, and
Cheung et al., COMPASS, 2025, do so with other scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from vesal.infer.quality.ridge_regression import RidgeRegression
from vesal.infer.quality.stored import Count, Fraction, Number, Numbers, Positives, Stored, vector
from vesal.infer.quality.volumes.conformal import conformal_quantile, needed_patients
from vesal.text import plural

#: Names of `difficulty_features`.
VOLUME, UNCERTAIN, DICE_ERROR = "volume", "uncertain", "dice_error"

#: Added to the share of the volume that is uncertain, before the logarithm.
_LEAST_SHARE = 1e-3

#: An interval is at most this many times as wide as a known scan's: beyond it says nothing more.
_WIDEST = 100.0


@dataclass(frozen=True)
class VolumeInterval:
    """The volume of a class in a result, and what holds its true one.

    Attributes:
        value_ml: of the mask.
        low_ml, high_ml: the interval; None where there is none.
        level: share of new patients, like the held-out ones, whose truth such intervals hold at least.
        patients: held-out ones that it rests on.
        note: why there is no interval; '' where there is one.
    """

    value_ml: float
    low_ml: float | None
    high_ml: float | None
    level: float
    patients: int
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "value": round(self.value_ml, 4),
            "low": None if self.low_ml is None else round(self.low_ml, 4),
            "high": None if self.high_ml is None else round(self.high_ml, 4),
            "level": self.level,
            "patients": self.patients,
            "note": self.note,
        }


class VolumeCoverage(Stored):
    """How such intervals did on held-out scans, each with a difficulty that was fitted without its patient.

    Attributes:
        level: that they were to hold.
        coverage, coverage_low, coverage_high: share that they held, mean over repeated splits, and between which nine
            of ten splits lie; None where there are too few patients to split.
        width: median of (high - low) / predicted volume; None where there are too few patients for an interval.
        width_unscaled: the same of intervals of one width for all scans.
        scans: clean held-out scans in which the class was found.
        corrupted, corrupted_held, corrupted_held_unscaled: scans with an artefact of severity 5, in how many of them
            the interval held the truth, and in how many one of the same width for all scans did.
    """

    level: Fraction
    coverage: Fraction | None
    coverage_low: Fraction | None
    coverage_high: Fraction | None
    width: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] | None
    width_unscaled: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] | None
    scans: Count
    corrupted: Count
    corrupted_held: Count
    corrupted_held_unscaled: Count


class VolumeModel(Stored):
    """How the interval around the volume of one class is made.

    Attributes:
        regression: gives the log of the difficulty (ml), before it is widened for scans unlike the known ones.
        usual: the joint OOD score that one in ten known scans exceeds; beyond it intervals widen.
        scores: (n,) of the clean held-out scans in which the class was found, ascending: |predicted - true volume|
            over the difficulty.
        weights: (n,) one over how many of these scans are of the same patient.
        coverage: as measured.
    """

    regression: RidgeRegression
    usual: Number
    scores: Numbers
    weights: Positives
    coverage: VolumeCoverage

    @model_validator(mode="after")
    def _sizes_fit(self) -> VolumeModel:
        if len(self.scores) != len(self.weights) or max(self.weights, default=0) > 1:
            raise ValueError("the scores and weights of a volume interval do not fit each other")
        if any(one > other for one, other in zip(self.scores, self.scores[1:], strict=False)):
            raise ValueError("the scores of a volume interval are not in order")
        if set(self.regression.names) - {VOLUME, UNCERTAIN, DICE_ERROR}:
            raise ValueError("the difficulty of a volume interval is made of unknown features")
        if min(self.scores, default=0) < 0:
            raise ValueError("a score of a volume interval is negative")
        return self

    @property
    def patients(self) -> int:
        """Held-out patients that it rests on."""
        return round(sum(self.weights))

    def quantile(self, level: float) -> float | None:
        """Of the scores; None where there are too few patients for this level."""
        return conformal_quantile(np.array(self.scores), np.array(self.weights), level)

    def interval(
        self, value_ml: float, features: dict[str, float], ood_score: float, level: float
    ) -> VolumeInterval:
        """Around the volume of a result.

        Args:
            value_ml: of the mask.
            features: `difficulty_features` of the scan and its result.
            ood_score: `vesal.infer.quality.estimate.joint_uncertainty` of its OOD scores.
            level: over 0, under 1.
        """
        if value_ml <= 0:
            note = "nothing of it was found, and no interval is measured for that"
            return VolumeInterval(value_ml, None, None, level, self.patients, note)
        quantile = self.quantile(level)
        if quantile is None:
            return VolumeInterval(value_ml, None, None, level, self.patients, too_few(self.patients, level))
        log_difficulty = float(self.regression.predict(vector(features, self.regression.names)))
        half = quantile * math.exp(min(log_difficulty, 50.0)) * widening(ood_score, self.usual)
        return VolumeInterval(value_ml, *interval_around(value_ml, half), level, self.patients)


def interval_around(value_ml: float, half_ml: float) -> tuple[float, float]:
    """(low, high); no volume is under 0."""
    return max(0.0, value_ml - half_ml), value_ml + half_ml


def no_interval(value_ml: float, level: float) -> VolumeInterval:
    """Of a class for which nothing could be measured."""
    return VolumeInterval(value_ml, None, None, level, 0, too_few(0, level))


def too_few(patients: int, level: float) -> str:
    """Why there is no interval."""
    needed = plural(needed_patients(level), "held-out patient")
    return (
        f"an interval of level {level:g} takes {needed} in whom the class was found, and there are {patients}"
    )


def widening(ood_score: float, usual: float) -> float:
    """By how much an interval is wider because the scan is unlike the known ones: 1 for nine of ten of these."""
    return min(1.0 + max(0.0, ood_score - usual), _WIDEST)


def difficulty_features(name: str, values: dict[str, float], dice_error: float | None) -> dict[str, float]:
    """From what the error of a class's volume is expected, by name.

    - volume: log of 0.01 + millilitres;
    - uncertain: log of the share of it that the probabilities leave open, in the mask and outside of it;
    - dice_error: `log_error` of the predicted Dice, where one is predicted.

    Args:
        name: of the class.
        values: `vesal.infer.quality.estimate.regression_features`.
        dice_error: as predicted; None without.
    """
    inside, outside = values.get(f"{name} inside", 1.0), values.get(f"{name} outside", 0.0)
    share = max(0.0, 1 - inside) + math.expm1(min(max(0.0, outside), 50.0))
    found = {VOLUME: values.get(f"{name} volume", 0.0), UNCERTAIN: math.log(_LEAST_SHARE + share)}
    return found if dice_error is None else found | {DICE_ERROR: dice_error}
