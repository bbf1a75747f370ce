"""What is fitted to held-out scans: the quality model in a model file, and its record in a run folder.

In a model file it is JSON; whatever is wrong with it there is reported in a VesalError, for a model may come from
anybody.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from vesal.data.labels import LabelSet
from vesal.infer.model_record import read_model_record, unusable
from vesal.infer.quality.reference_distribution import ReferenceDistribution
from vesal.infer.quality.ridge_regression import RidgeRegression
from vesal.infer.quality.stored import MOST_CLASSES, Count, Fraction, Number, Positive, Stored, Text
from vesal.infer.quality.volumes.volume_interval import VolumeCoverage, VolumeModel
from vesal.record import Record

#: Groups of features that are compared with those of the known scans, and how a reason names each.
GROUPS = {
    "geometry": "its size or spacing",
    "intensity": "its intensities",
    "texture": "its noise, sharpness or evenness",
    "appearance": "its coarse appearance",
    "shape": "the shape that was found",
    "encoder": "what the network's encoder sees in it",
}

#: The group that each network has its own reference distribution for.
ENCODER = "encoder"

Verdict = Literal["review", "ok"]

#: Of `Calibration`.
_VERSION = 2


class DiceAccuracy(Stored):
    """How well the Dice of one class was predicted for clean held-out scans.

    Attributes:
        mae: mean absolute error of the predicted Dice.
        spearman: rank correlation of predicted and true Dice; None where it is not defined.
        mae_of_mean: error of always predicting the median.
        cases: how many.
    """

    mae: Fraction
    spearman: Annotated[float, Field(ge=-1, le=1)] | None
    mae_of_mean: Fraction
    cases: Count


class DiceModel(Stored):
    """How the Dice of one class is predicted.

    Attributes:
        regression: gives the `log_error` of the Dice from features of `vesal.infer.quality.calibrate.dice_features`.
        below, above: what the 5th and the 95th percentile of its errors add to it.
        accuracy: for scans that it was not fitted to.
    """

    regression: RidgeRegression
    below: Number
    above: Number
    accuracy: DiceAccuracy


class FlagModel(Stored):
    """From which uncertainty on a scan is to be reviewed, and how that went with held-out scans.

    Attributes:
        threshold: of the uncertainty.
        parts: what the uncertainty is made of: keys of GROUPS, and 'dice'.
        dice_middle, dice_spread: of the mean predicted `log_error` of held-out scans, which put it on the scale of
            the other parts.
        clean, flagged: clean held-out scans, and how many of them were flagged for review; the threshold was set
            by others.
        worst, worst_found: the tenth of them with the lowest true Dice, and how many of these were flagged.
        corrupted, corrupted_found: held-out scans with an artefact of severity 5, and how many of these were flagged.
        by_artifact: artefact -> (scans, flagged).
    """

    threshold: Number
    parts: Annotated[tuple[Text, ...], Field(max_length=16)]
    dice_middle: Number
    dice_spread: Positive
    clean: Count
    flagged: Count
    worst: Count
    worst_found: Count
    corrupted: Count
    corrupted_found: Count
    by_artifact: Annotated[dict[Text, tuple[Count, Count]], Field(max_length=64)]

    @model_validator(mode="after")
    def _parts_are_known(self) -> FlagModel:
        if not set(self.parts) <= {*GROUPS, "dice"}:
            raise ValueError("its flag is made of unknown parts")
        return self

    @property
    def error(self) -> str:
        """The measured error of this flag, in words."""
        text = (
            f"of {self.clean} clean held-out scans it flagged {_percent(self.flagged, self.clean)} for review"
        )
        if self.worst:
            text += f", among them {self.worst_found} of the {self.worst} with the lowest Dice"
        if self.corrupted:
            found = _percent(self.corrupted_found, self.corrupted)
            text += f"; of {self.corrupted} with a severe artefact it flagged {found}"
        return text


class QualityModel(Stored):
    """How the quality of a result is estimated.

    Attributes:
        dice: class -> how its Dice is predicted.
        flag: review or ok.
        volumes: class -> how the interval around its volume is made.
    """

    dice: Annotated[dict[Text, DiceModel], Field(max_length=MOST_CLASSES)]
    flag: FlagModel
    volumes: Annotated[dict[Text, VolumeModel], Field(max_length=MOST_CLASSES)] = Field(default_factory=dict)

    @property
    def classes(self) -> set[str]:
        """All that it names."""
        return {*self.dice, *self.volumes}


class Calibration(Stored):
    """All that one model file keeps.

    Attributes:
        version: of this format; the first had no intervals around volumes.
        classes: that it was fitted for.
        temperature: divides logits.
        references: name of GROUPS -> distribution of the known scans.
        encoder: the same of what this file's network encodes; None where its features cannot be recorded.
        single: for results of one network.
        ensemble: for those of several, which are compared with each other; None where that was not fitted.
    """

    version: Literal[1, 2] = 2
    classes: Annotated[tuple[Text, ...], Field(max_length=MOST_CLASSES)]
    temperature: Annotated[float, Field(ge=0.05, le=20)]
    references: Annotated[dict[Text, ReferenceDistribution], Field(max_length=len(GROUPS) - 1)]
    encoder: ReferenceDistribution | None
    single: QualityModel
    ensemble: QualityModel | None

    @model_validator(mode="after")
    def _names_are_known(self) -> Calibration:
        names = self.single.classes | (set() if self.ensemble is None else self.ensemble.classes)
        if not set(self.references) <= set(GROUPS) - {ENCODER} or not names <= set(self.classes):
            raise ValueError("it holds groups or classes that are unknown")
        return self


def read_calibration(value: dict[str, Any] | None, labels: LabelSet, file: str | Path) -> Calibration | None:
    """The quality model of a model file; None where it holds none.

    Raises:
        VesalError: it is damaged, of a newer Vesal, or not of this model's classes.
    """
    what = "quality model"
    found = read_model_record(Calibration, value, what, file, version=_VERSION)
    if found is not None and found.classes != tuple(labels.classes):
        raise unusable(file, what, "it has other classes than the labels")
    return found


# --- what a run folder keeps ---------------------------------------------------------------------------------


class _Row(Record):
    model_config = ConfigDict(allow_inf_nan=False)


class RiskCoverage(_Row):
    """Mean 1 - Dice of the scans that are kept when those of the lowest predicted Dice are left out first.

    Attributes:
        points: (coverage, risk), from few scans to all.
        area: under them; of the best possible order; and of none.
    """

    points: list[tuple[float, float]] = Field(min_length=1)
    area: float
    area_of_best_order: float
    area_of_no_order: float


class CalibrationRow(_Row):
    """One held-out scan: true and predicted Dice by class, uncertainty and verdict, each from parts of the model that
    were fitted without it.

    Attributes:
        volumes_ml: class -> (predicted, true) volume.
        interval_ml: class -> (low, high) around the predicted one, of the level of `CalibrationRecord.volumes`. Its
            difficulty was fitted without the scan; the quantile is of all clean scans, as for a new one.
    """

    case: str
    fold: int
    artifact: str | None
    dice: dict[str, float]
    predicted: dict[str, float]
    uncertainty: float
    ood_scores: dict[str, float]
    verdict: Verdict
    volumes_ml: dict[str, tuple[float, float]] = Field(default_factory=dict)
    interval_ml: dict[str, tuple[float, float]] = Field(default_factory=dict)


class CalibrationRecord(_Row):
    """What a run folder keeps, scan by scan.

    Attributes:
        temperature, dice, flag: as in the model files; of `source`.
        source: which of the two quality models: that of several networks where there is one.
        risk_coverage: None where too few scans have a Dice.
        cases: held-out scans, clean and corrupted.
        models: fold -> digest of the model file that this belongs to.
        volumes: class -> how the intervals around its volumes did.
    """

    described: ClassVar[tuple[str, str]] = (
        "a calibration",
        "delete it, and vesal train --resume calibrates anew",
    )

    version: Literal[1] = 1
    temperature: float
    dice: dict[str, DiceAccuracy]
    flag: FlagModel
    source: Literal["single", "ensemble"]
    risk_coverage: RiskCoverage | None
    cases: list[CalibrationRow]
    models: dict[str, str] = Field(default_factory=dict)
    volumes: dict[str, VolumeCoverage] = Field(default_factory=dict)


def _percent(part: int, whole: int) -> str:
    return f"{part} ({100 * part / max(whole, 1):.0f} %)"
