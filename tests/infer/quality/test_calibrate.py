"""A quality model is fitted to held-out scans, and its errors are measured on scans that it was not fitted to."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vesal.data.labels import LabelSet
from vesal.infer.quality.calibrate import (
    HeldOutScan,
    calibrate,
    cross_parts,
)
from vesal.infer.quality.estimate import QualityEstimator
from vesal.infer.quality.network_features import Features
from vesal.infer.quality.quality_model import Calibration, CalibrationRecord

Calibrated = tuple[dict[int, Calibration], CalibrationRecord]
HeldOut = Callable[..., list[HeldOutScan]]


def test_a_dice_that_the_features_tell_is_predicted(calibrated: Calibrated) -> None:
    accuracy = calibrated[0][0].single.dice["organ"].accuracy
    assert accuracy.cases == 60
    assert accuracy.mae < 0.015 < accuracy.mae_of_mean
    assert accuracy.spearman is not None
    assert accuracy.spearman > 0.9


def test_features_without_information_are_reported_to_have_none(held_out: HeldOut, labels: LabelSet) -> None:
    generator = np.random.default_rng(3)
    rows = [
        replace(one, dice={"organ": float(generator.uniform(0.7, 0.9))})
        for one in held_out(80)
        if one.artifact is None
    ]
    accuracy = calibrate(rows, labels.classes, 1.0)[0][0].single.dice["organ"].accuracy
    assert accuracy.spearman is not None
    assert accuracy.spearman < 0.35
    assert accuracy.mae > 0.9 * accuracy.mae_of_mean


def test_the_flag_finds_the_corrupted_at_its_rate_of_false_alarms(calibrated: Calibrated) -> None:
    flag = calibrated[0][1].single.flag
    assert (flag.clean, flag.corrupted) == (60, 60)
    assert flag.flagged <= 10
    assert flag.corrupted_found >= 57
    assert flag.by_artifact == {"noise": (60, flag.corrupted_found)}
    assert "60 clean held-out scans" in flag.error


def test_the_record_of_a_run_is_json_without_nan_and_a_model_keeps_little(calibrated: Calibrated) -> None:
    record = json.loads(json.dumps(calibrated[1].model_dump(mode="json"), allow_nan=False))
    assert record["risk_coverage"]["area"] < record["risk_coverage"]["area_of_no_order"]
    assert len(json.dumps(calibrated[0][0].model_dump(mode="json"))) < 20_000


def test_eight_scans_of_one_fold_are_enough(held_out: HeldOut, labels: LabelSet) -> None:
    rows = [replace(one, fold=0) for one in held_out(8) if one.artifact is None]
    flag = calibrate(rows, labels.classes, 1.0)[0][0].single.flag
    assert flag.corrupted == 0
    assert "artefact" not in flag.error


def _with_agreement(scans: list[HeldOutScan], gap: float) -> list[HeldOutScan]:
    """Networks that agree where the Dice is high; no other feature tells it."""
    generator = np.random.default_rng(1)
    rows = []
    for one in scans:
        dice = float(generator.uniform(0.7, 0.9))
        features = copy.deepcopy(one.features)
        features.networks[0]["organ ensemble_agreement"] = dice + float(generator.normal(0, 0.02))
        rows.append(replace(one, features=features, dice={"organ": dice}, training_gap=gap))
    return rows


def test_the_agreement_of_networks_predicts_the_dice_of_an_ensemble(
    held_out: HeldOut, labels: LabelSet
) -> None:
    scans = _with_agreement(held_out(), 0.0)
    calibration = calibrate(scans, labels.classes, 1.0)[0][0]
    assert calibration.ensemble is not None
    own = calibration.ensemble.dice["organ"].accuracy.mae
    assert own < 0.6 * calibration.single.dice["organ"].accuracy.mae
    rows = [one for one in scans if one.artifact is None]
    ensemble, single = QualityEstimator([calibration, calibration]), QualityEstimator([calibration])
    errors = [
        np.mean([abs(of.estimate(one.features).dice["organ"].value - one.dice["organ"]) for one in rows])
        for of in (ensemble, single)
    ]
    assert errors[0] < 0.6 * errors[1]


def test_networks_that_overfit_the_scans_are_no_reference(held_out: HeldOut, labels: LabelSet) -> None:
    scans = _with_agreement(held_out(), 0.05)
    assert calibrate(scans, labels.classes, 1.0)[0][0].ensemble is None


def test_all_scans_of_a_patient_are_in_one_part(held_out: HeldOut, labels: LabelSet) -> None:
    """A patient's scans would else be scored by a distribution that was fitted to the same patient."""
    rows = held_out(40)
    generator = np.random.default_rng(8)
    second = []
    for one in rows:
        # The same patient comes twice, and looks like nobody else.
        texture = one.features.groups["texture"]
        own = {name: value + generator.normal() * 0.01 for name, value in texture.items()}
        features = Features(
            {**one.features.groups, "texture": own}, one.features.networks, one.features.encoders
        )
        second.append(replace(one, case=f"{one.case}_b", features=features, patient=one.case))
    joint = [replace(one, patient=one.case) for one in rows] + second
    apart = [replace(one, patient="") for one in joint]

    def middle(scans: list[HeldOutScan]) -> float:
        return calibrate(scans, labels.classes, 1.0)[0][0].references["texture"].middle

    assert middle(joint) > middle(apart)


def test_a_class_that_only_few_patients_hold_gets_no_model_however_many_slices_hold_it(
    held_out: HeldOut, labels: LabelSet
) -> None:
    """What is left when such a patient is left out would be nothing."""
    rows = [replace(one, patient=f"p{number // 4}") for number, one in enumerate(held_out(40))]
    rows = [one if one.patient == "p0" else replace(one, dice={}) for one in rows]
    many = [replace(one, case=f"{one.case}_{copy}") for copy in range(6) for one in rows]
    calibrations, record = calibrate(many, labels.classes, 1.0)
    assert calibrations[0].single.dice == {}
    assert record.dice == {}


def test_parts_are_of_one_size_and_always_the_same() -> None:
    parts = cross_parts([f"c{number}" for number in range(47)])
    sizes = np.bincount(list(parts.values()))
    assert sizes.max() - sizes.min() <= 1
    assert parts == cross_parts([f"c{number}" for number in range(47)])
