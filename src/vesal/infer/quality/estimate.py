"""How far to trust the result of one scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vesal.infer.quality.network_features import Features
from vesal.infer.quality.quality_model import ENCODER, GROUPS, Calibration, Verdict
from vesal.infer.quality.ridge_regression import dice_of_log_error, log_error
from vesal.infer.quality.stored import vector
from vesal.infer.quality.volumes.interval_level import LEVEL
from vesal.infer.quality.volumes.volume_interval import VolumeInterval, difficulty_features, no_interval

#: Features of a network that are a Dice themselves.
_DICE_FEATURES = ("expected_dice", "perturbation_consistency", "ensemble_agreement")

#: A result with a class of which a lower Dice is to be expected is to be reviewed.
MIN_DICE = 0.5

#: A part is named as a reason for review from this score on, if it lies so near to the highest.
_REASON, _NEAR_HIGHEST = 1.5, 1.0
_LOW_DICE = "a low Dice is to be expected"


@dataclass(frozen=True)
class PredictedDice:
    """Of one class: the Dice to be expected, and the interval that held nine of ten held-out scans."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain values, for JSON."""
        return {name: round(value, 4) for name, value in vars(self).items()}


@dataclass(frozen=True)
class QualityEstimate:
    """How far to trust one scan's result.

    Attributes:
        verdict: 'review' or 'ok'.
        reason: why, in words.
        uncertainty: from `threshold` on it is 'review', as it is where the Dice of a class is expected under the
            least one that was asked for. 0 is usual, 1.28 is what one in ten known scans exceeds.
        dice: class -> what is to be expected.
        ood_scores: name of GROUPS -> how far the scan lies from the known ones, on the scale of the uncertainty.
        error: the measured error of this very flag.
        volumes: class -> its volume with an interval, where volumes were given.
    """

    verdict: Verdict
    reason: str
    uncertainty: float
    threshold: float
    dice: dict[str, PredictedDice]
    ood_scores: dict[str, float]
    error: str
    volumes: dict[str, VolumeInterval] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "uncertainty": round(self.uncertainty, 3),
            "threshold": round(self.threshold, 3),
            "predicted_dice": {name: of.to_dict() for name, of in self.dice.items()},
            "ood_score": round(max(self.ood_scores.values(), default=0.0), 3),
            "ood_scores": {name: round(value, 3) for name, value in self.ood_scores.items()},
            "measured_error": self.error,
            "volumes_ml": {name: of.to_dict() for name, of in self.volumes.items()},
        }


class QualityEstimator:
    """Estimates the quality of results of one network, or of several that vote.

    Args:
        calibrations: one for each network, in their order. What is common to them is taken from the first.
    """

    def __init__(self, calibrations: Sequence[Calibration]) -> None:
        first = calibrations[0]
        self.temperature = first.temperature
        self.model = first.single
        if len(calibrations) > 1 and first.ensemble is not None:
            self.model = first.ensemble
        self._references = first.references
        self._encoders = [of.encoder for of in calibrations]

    def estimate(
        self,
        features: Features,
        *,
        min_dice: float = MIN_DICE,
        volumes_ml: Mapping[str, float] | None = None,
        level: float = LEVEL,
    ) -> QualityEstimate:
        """Of one scan's result.

        Args:
            features: of the scan and the result.
            min_dice: 'review' also where the Dice of a class is expected to be lower.
            volumes_ml: class -> its volume in the result, for an interval around it.
            level: of these intervals, over 0, under 1.
        """
        flag = self.model.flag
        ood_scores = self._ood_scores(features)
        values = regression_features(features, ood_scores)
        dice, by_class = {}, {}
        for name, model in self.model.dice.items():
            error = float(model.regression.predict(vector(values, model.regression.names)))
            by_class[name] = error
            bounds = error + np.array([0.0, model.above, model.below])
            dice[name] = PredictedDice(*dice_of_log_error(bounds).tolist())
        errors = [*by_class.values()]
        ood_score = joint_uncertainty(ood_scores)
        volumes = {}
        for name, ml in (volumes_ml or {}).items():
            volume, wanted = (
                self.model.volumes.get(name),
                difficulty_features(name, values, by_class.get(name)),
            )
            volumes[name] = (
                no_interval(ml, level) if volume is None else volume.interval(ml, wanted, ood_score, level)
            )
        scores = dict(ood_scores)
        if errors:
            scores["dice"] = (float(np.mean(errors)) - flag.dice_middle) / flag.dice_spread
        scores = {name: scores[name] for name in flag.parts if name in scores}
        uncertainty = joint_uncertainty(scores)
        reasons = [_reason(scores, dice)] if uncertainty >= flag.threshold else []
        low = [name for name, of in dice.items() if of.value < min_dice]
        if low and not any(_LOW_DICE in reason for reason in reasons):
            worst = min(low, key=lambda name: dice[name].value)
            reasons.append(f"{_LOW_DICE} ({worst}: {dice[worst].value:.2f}, under {min_dice:g})")
        return QualityEstimate(
            "review" if reasons else "ok",
            "; ".join(reasons) or "nothing unusual",
            uncertainty,
            flag.threshold,
            dice,
            ood_scores,
            flag.error,
            volumes,
        )

    def _ood_scores(self, features: Features) -> dict[str, float]:
        """By group; of what the encoders see, the mean over the networks."""
        found = {
            name: float(reference.ood_score(vector(features.groups.get(name, {}), reference.names)))
            for name, reference in self._references.items()
        }
        encoded = [
            float(reference.ood_score(values))
            for reference, values in zip(self._encoders, features.encoders, strict=False)
            if reference is not None and len(values) == len(reference.centre)
        ]
        if encoded:
            found[ENCODER] = float(np.mean(encoded))
        return found


def regression_features(features: Features, ood_scores: dict[str, float]) -> dict[str, float]:
    """All features that a Dice may be predicted from: the networks' mean, the shape, and the OOD scores.

    What is a Dice itself comes as its `log_error`, as the Dice that is predicted.
    """
    values: dict[str, float] = {}
    for name in features.networks[0] if features.networks else ():
        mean = np.mean([of[name] for of in features.networks])
        is_dice = name.rpartition(" ")[2] in _DICE_FEATURES
        values[name] = float(log_error(np.clip(mean, 0.0, 1.0)) if is_dice else mean)
    values |= features.groups.get("shape", {})
    return values | {f"ood_score {name}": value for name, value in ood_scores.items()}


def joint_uncertainty(scores: dict[str, float]) -> float:
    """One number from the scores of all parts: the largest, and a little of the next."""
    if not scores:
        return 0.0
    return float(np.log(np.mean(np.exp(np.clip(list(scores.values()), -10, 50)))))


def _reason(scores: dict[str, float], dice: dict[str, PredictedDice]) -> str:
    """Why a scan is to be reviewed, the highest scores first."""
    ranked = sorted(scores.items(), key=lambda entry: -entry[1])
    if not ranked:
        return "nothing of it can be compared with the known scans"
    limit = max(_REASON, ranked[0][1] - _NEAR_HIGHEST)
    named = [name for name, value in ranked if value >= limit] or [ranked[0][0]]
    reasons = []
    if "dice" in named:
        worst = min(dice, key=lambda name: dice[name].value)
        reasons.append(f"{_LOW_DICE} ({worst}: {dice[worst].value:.2f})")
    if groups := [GROUPS[name] for name in named if name in GROUPS]:
        reasons.append(f"unlike the known scans in {', '.join(groups)}")
    return "; ".join(reasons)
