"""From held-out scans to a model's quality estimate: references, predicted Dice, and the flag.

Every error that is reported was measured on scans that the part in question had not seen: the patients are divided
into ten parts, and each part is scored by models that were fitted to the other nine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.infer.quality.dice_calibration import DiceRows, FittedDice, fit_dice
from vesal.infer.quality.estimate import joint_uncertainty, regression_features
from vesal.infer.quality.network_features import Features
from vesal.infer.quality.quality_model import (
    ENCODER,
    GROUPS,
    Calibration,
    CalibrationRecord,
    CalibrationRow,
    FlagModel,
    QualityModel,
    RiskCoverage,
)
from vesal.infer.quality.ranking import risk_coverage
from vesal.infer.quality.reference_distribution import (
    ReferenceDistribution,
    fit_reference,
    median_and_spread,
)
from vesal.infer.quality.ridge_regression import dice_of_log_error
from vesal.infer.quality.stored import Array, vector
from vesal.infer.quality.volumes.interval_level import LEVEL
from vesal.infer.quality.volumes.volume_calibration import VolumeErrors, fit_volume
from vesal.infer.quality.volumes.volume_interval import VolumeModel, difficulty_features, interval_around

#: Least number of patients with a clean held-out scan, for the whole and for each class; of fewer the cross-fitting has
#: parts that leave nothing to learn from.
FEWEST = 8

#: Parts into which scans are divided for cross-fitting.
PARTS = 10

#: Share of the clean scans that may be flagged for review without a reason.
FALSE_ALARMS = 0.1

#: Classes up to which the Dice of one is predicted from features of the others, too.
_FEW = 8

#: How much better networks that were trained on the scans may agree with each other than with one that was not.
TRAINING_GAP = 0.01

#: OOD score in a group in which too few scans are known for a reference distribution.
_NO_SCORE = 0.0


@dataclass(frozen=True, eq=False)
class HeldOutScan:
    """A held-out scan, clean or corrupted, predicted by a network that was not trained on it.

    Attributes:
        case: its name.
        fold: of the network.
        artifact: by which it was corrupted; None for the clean scan.
        features: of the scan and its result.
        dice: class -> true Dice; without those that neither truth nor prediction hold.
        training_gap: how much better networks that were trained on the scan agree with each other than with the one
            that was not; None without two such networks.
        patient: whose scans are in one part; the case where it is unknown.
        volumes_ml: class -> (predicted, true) volume, where the scan shows it; nothing of a picture.
    """

    case: str
    fold: int
    artifact: str | None
    features: Features
    dice: dict[str, float]
    training_gap: float | None = None
    patient: str = ""
    volumes_ml: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The same for scans that have to be in one part."""
        return self.patient or self.case


@dataclass(frozen=True, eq=False)
class _Scans:
    """Held-out scans, and for each row: its part, whether it is clean, and its cross-fitted OOD scores by group."""

    rows: Sequence[HeldOutScan]
    part: NDArray[np.int64]
    clean: NDArray[np.bool_]
    ood_scores: list[dict[str, float]]

    @classmethod
    def of(cls, rows: Sequence[HeldOutScan]) -> _Scans:
        clean = np.array([one.artifact is None for one in rows])
        parts = cross_parts(sorted({one.group for one in rows if one.artifact is None}))
        return cls(rows, np.array([parts[one.group] for one in rows]), clean, [{} for _ in rows])

    def mean_dice(self) -> Array:
        """(n,) over the classes; NaN where no class has a Dice."""
        return np.array([np.mean(list(one.dice.values())) if one.dice else np.nan for one in self.rows])


def cross_parts(names: Sequence[str]) -> dict[str, int]:
    """Name -> which of PARTS random parts of nearly one size it is in, for `names` in a fixed order."""
    order = np.random.default_rng([0, len(names)]).permutation(len(names))
    return {names[row]: place % PARTS for place, row in enumerate(order)}


def calibrate(
    held_out: Sequence[HeldOutScan], classes: Sequence[str], temperature: float
) -> tuple[dict[int, Calibration], CalibrationRecord]:
    """Learn from clean held-out scans of at least FEWEST patients, and as many corrupted ones as there are.

    Where several networks predicted a scan, their agreement is the best feature of the ensemble's Dice. But the others
    were trained on the scan. That does no damage as long as they treat it as any other scan: as long as they agree with
    each other no better than with the network that was not (TRAINING_GAP). Where they do, nothing is fitted for
    ensembles.

    Args:
        held_out: clean scans and corrupted copies of the same scans.
        temperature: as `vesal.infer.quality.temperature.fit_temperature` finds it.

    Returns:
        Fold -> what its model file keeps; and what the run folder keeps.
    """
    scans = _Scans.of(held_out)
    references, encoders = _fit_references(scans)
    fitted = single = _fit_model(scans, classes, ensemble=False)
    clean = [one for one in held_out if one.artifact is None]
    gaps = [one.training_gap for one in clean if one.training_gap is not None]
    ensemble = None
    if len(gaps) == len(clean) and np.mean(gaps) < TRAINING_GAP:
        fitted = ensemble = _fit_model(scans, classes, ensemble=True)
    calibrations = {
        fold: Calibration(
            classes=tuple(classes),
            temperature=temperature,
            references=references,
            encoder=encoders.get(fold),
            single=single.of_fold(fold),
            ensemble=None if ensemble is None else ensemble.model,
        )
        for fold in sorted({one.fold for one in clean})
    }
    record = CalibrationRecord(
        temperature=temperature,
        dice={name: of.accuracy for name, of in fitted.model.dice.items()},
        flag=fitted.model.flag,
        source="single" if ensemble is None else "ensemble",
        risk_coverage=_risk_coverage_of(scans, fitted.predicted),
        cases=_record_rows(scans, fitted),
        volumes={name: of.coverage for name, of in fitted.model.volumes.items()},
    )
    return calibrations, record


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A quality model, and its cross-fitted results for each scan.

    Attributes:
        model: for the mean of all folds' networks.
        offsets: class -> fold -> (of the features, of the target) of its own network, beside that mean.
    """

    model: QualityModel
    offsets: dict[str, dict[int, tuple[Array, float]]]
    predicted: list[dict[str, float]]
    uncertainty: Array
    review: NDArray[np.bool_]
    intervals: list[dict[str, tuple[float, float]]]

    def of_fold(self, fold: int) -> QualityModel:
        """For the network of one fold."""
        dice = {
            name: of.model_copy(
                update={"regression": of.regression.shifted(*self.offsets[name][fold]).rounded()}
            )
            for name, of in self.model.dice.items()
        }
        return self.model.model_copy(update={"dice": dice})


def _fit_model(scans: _Scans, classes: Sequence[str], *, ensemble: bool) -> _Fitted:
    features = [
        regression_features(one.features, scores)
        for one, scores in zip(scans.rows, scans.ood_scores, strict=True)
    ]
    dice, errors = {}, np.zeros(len(features))
    offsets = {}
    predicted: list[dict[str, float]] = [{} for _ in features]
    by_class: dict[str, Array] = {}
    for name in classes:
        names = dice_features(name, classes, list(features[0]), ensemble=ensemble)
        found = _fit_dice(name, names, scans, features)
        if found is None:
            continue
        dice[name], by_class[name], offsets[name] = found.model, found.errors, found.offsets
        errors += found.errors
        for of, value in zip(predicted, dice_of_log_error(found.errors).tolist(), strict=True):
            of[name] = value
    errors /= max(len(dice), 1)
    middle, spread = median_and_spread(errors[scans.clean], least=0.02)
    scores = [
        {**of, **({"dice": (error - middle) / spread} if dice else {})}
        for of, error in zip(scans.ood_scores, errors, strict=True)
    ]
    uncertainty = np.array([joint_uncertainty(of) for of in scores])
    review = np.zeros(len(features), dtype=bool)
    for test in np.unique(scans.part):
        threshold = _threshold(uncertainty[scans.clean & (scans.part != test)])
        review[scans.part == test] = uncertainty[scans.part == test] >= threshold
    flag = FlagModel(
        threshold=_threshold(uncertainty[scans.clean]),
        parts=tuple(scores[0]),
        dice_middle=middle,
        dice_spread=spread,
        **_flag_counts(scans, review),
    )
    volumes, intervals = _fit_volumes(scans, classes, features, by_class)
    model = QualityModel(dice=dice, flag=flag, volumes=volumes)
    return _Fitted(model, offsets, predicted, uncertainty, review, intervals)


def _record_rows(scans: _Scans, fitted: _Fitted) -> list[CalibrationRow]:
    return [
        CalibrationRow(
            case=one.case,
            fold=one.fold,
            artifact=one.artifact,
            dice={name: round(value, 5) for name, value in one.dice.items()},
            predicted={name: round(value, 5) for name, value in fitted.predicted[row].items()},
            uncertainty=round(float(fitted.uncertainty[row]), 4),
            ood_scores={name: round(value, 4) for name, value in scans.ood_scores[row].items()},
            verdict="review" if fitted.review[row] else "ok",
            volumes_ml={name: (round(a, 5), round(b, 5)) for name, (a, b) in one.volumes_ml.items()},
            interval_ml={name: (round(a, 5), round(b, 5)) for name, (a, b) in fitted.intervals[row].items()},
        )
        for row, one in enumerate(scans.rows)
    ]


# --- reference distributions -----------------------------------------------------------------------------------


def _fit_references(
    scans: _Scans,
) -> tuple[dict[str, ReferenceDistribution], dict[int, ReferenceDistribution]]:
    """By group, and of the encoder by fold; the scores of all scans are noted in `scans.ood_scores`."""

    def fit(
        group: str, rows: NDArray[np.int64], part: NDArray[np.int64], values: Array, names: Sequence[str] = ()
    ) -> ReferenceDistribution:
        reference, scores = fit_reference(values, part, scans.clean[rows], names)
        for row, score in zip(rows, scores.tolist(), strict=True):
            scans.ood_scores[row][group] = score
        return reference.rounded()

    references, encoders = {}, {}
    everyone = np.arange(len(scans.rows))
    for group in GROUPS:
        names = list(scans.rows[0].features.groups.get(group, {}))
        if names:
            values = np.stack([vector(one.features.groups[group], names) for one in scans.rows])
            references[group] = fit(group, everyone, scans.part, values, names)
    for fold in sorted({one.fold for one in scans.rows}):
        rows = np.flatnonzero([one.fold == fold for one in scans.rows])
        own = [scans.rows[row] for row in rows.tolist()]
        sizes = {len(one.features.encoders[0]) if one.features.encoders else 0 for one in own}
        if (
            len({one.group for one in own if one.artifact is None}) >= FEWEST
            and len(sizes) == 1
            and sizes != {0}
        ):
            parts = cross_parts(sorted({one.group for one in own}))
            part = np.array([parts[one.group] for one in own])
            values = np.stack([one.features.encoders[0] for one in own])
            encoders[fold] = fit(ENCODER, rows, part, values)
    if encoders:
        for scores in scans.ood_scores:
            scores.setdefault(ENCODER, _NO_SCORE)
    return references, encoders


# --- predicted Dice ----------------------------------------------------------------------------------------------


def dice_features(name: str, classes: Sequence[str], known: Sequence[str], *, ensemble: bool) -> list[str]:
    """Names of `vesal.infer.quality.estimate.regression_features` from which the Dice of a class is predicted.

    Few, for a few dozen scans support few: of an ensemble its agreement, beside which all others only added noise.
    """
    related = classes if len(classes) <= _FEW else [name]
    if ensemble:
        wanted = [f"{name} expected_dice", *(f"{of} ensemble_agreement" for of in related)]
    else:
        wanted = [
            *(
                f"{name} {what}"
                for what in ("expected_dice", "perturbation_consistency", "volume", "surface")
            ),
            *(f"{of} perturbation_consistency" for of in related if of != name),
            "entropy",
            *(f"ood_score {group}" for group in GROUPS),
        ]
    return [feature for feature in wanted if feature in known]


def _fit_dice(
    name: str, names: Sequence[str], scans: _Scans, features: Sequence[dict[str, float]]
) -> FittedDice | None:
    """The model of one class; None where too few patients hold it."""
    true = np.array([one.dice.get(name, np.nan) for one in scans.rows])
    scored = ~np.isnan(true) & scans.clean
    if len({one.group for one, counts in zip(scans.rows, scored, strict=True) if counts}) < FEWEST:
        return None
    fold = np.array([one.fold for one in scans.rows])
    values = np.stack([vector(of, names) for of in features])
    return fit_dice(names, DiceRows(values, true, scans.part, scans.clean, fold))


# --- intervals around volumes ------------------------------------------------------------------------------------


def _fit_volumes(
    scans: _Scans,
    classes: Sequence[str],
    features: Sequence[dict[str, float]],
    dice_errors: dict[str, Array],
) -> tuple[dict[str, VolumeModel], list[dict[str, tuple[float, float]]]]:
    """Class -> its model, without those that too few patients showed; and of each scan class -> its interval (ml).

    Args:
        dice_errors: class -> (n,) predicted `log_error` of all scans, cross-fitted.
    """
    models: dict[str, VolumeModel] = {}
    intervals: list[dict[str, tuple[float, float]]] = [{} for _ in scans.rows]
    for name in classes:
        found = [row for row, one in enumerate(scans.rows) if one.volumes_ml.get(name, (0.0, 0.0))[0] > 0]
        if len({scans.rows[row].group for row in found if scans.clean[row]}) < FEWEST:
            continue
        errors = dice_errors.get(name)
        volumes = np.array([scans.rows[row].volumes_ml[name] for row in found])
        models[name], difficulty = fit_volume(
            VolumeErrors(
                patients=[scans.rows[row].group for row in found],
                part=scans.part[found],
                clean=scans.clean[found],
                predicted_ml=volumes[:, 0],
                true_ml=volumes[:, 1],
                features=[
                    difficulty_features(name, features[row], None if errors is None else float(errors[row]))
                    for row in found
                ],
                ood_scores=np.array([joint_uncertainty(scans.ood_scores[row]) for row in found]),
            )
        )
        quantile = models[name].quantile(LEVEL)
        if quantile is None:
            continue
        for row, predicted, scale in zip(found, volumes[:, 0].tolist(), difficulty.tolist(), strict=True):
            intervals[row][name] = interval_around(predicted, quantile * scale)
    return models, intervals


# --- how well the Dice is predicted ------------------------------------------------------------------------------


def _risk_coverage_of(scans: _Scans, predicted: Sequence[dict[str, float]]) -> RiskCoverage | None:
    """Of the clean scans, by their means over the classes; None where there are too few."""
    means = scans.mean_dice()
    pairs = [
        (np.mean([of[name] for name in one.dice if name in of]), mean)
        for one, of, mean, clean in zip(scans.rows, predicted, means, scans.clean, strict=True)
        if clean and any(name in of for name in one.dice)
    ]
    return risk_coverage(*np.array(pairs).T) if len(pairs) >= FEWEST else None


# --- review or ok ---------------------------------------------------------------------------------------------


def _threshold(uncertainty: Array) -> float:
    """The uncertainty that a share FALSE_ALARMS of the scans reaches."""
    return float(np.quantile(uncertainty, 1 - FALSE_ALARMS))


def _flag_counts(scans: _Scans, review: NDArray[np.bool_]) -> dict[str, Any]:
    """How many scans there are of each kind, and how many of them were flagged."""
    means = scans.mean_dice()
    scored = np.flatnonzero(scans.clean & ~np.isnan(means))
    worst = scored[np.argsort(means[scored], kind="stable")][: max(1, round(0.1 * len(scored)))]
    by_artifact: dict[str, tuple[int, int]] = {}
    for one, flagged in zip(scans.rows, review, strict=True):
        if one.artifact is not None:
            count, found = by_artifact.get(one.artifact, (0, 0))
            by_artifact[one.artifact] = count + 1, found + int(flagged)
    return {
        "clean": int(scans.clean.sum()),
        "flagged": int(review[scans.clean].sum()),
        "worst": len(worst),
        "worst_found": int(review[worst].sum()),
        "corrupted": int((~scans.clean).sum()),
        "corrupted_found": int(review[~scans.clean].sum()),
        "by_artifact": dict(sorted(by_artifact.items())),
    }
