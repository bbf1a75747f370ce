"""What is estimated for a scan: verdict, reason, predicted Dice and its interval."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.infer.quality.calibrate import HeldOutScan
from vesal.infer.quality.estimate import QualityEstimator
from vesal.infer.quality.quality_model import Calibration, CalibrationRecord, read_calibration

HeldOut = Callable[..., list[HeldOutScan]]


@pytest.fixture
def calibration(stored: dict[str, Any], labels: LabelSet) -> Calibration:
    found = read_calibration(stored, labels, "m.vesal")
    assert found is not None
    return found


def test_a_usual_scan_is_ok_and_an_unusual_one_is_to_be_reviewed(
    calibration: Calibration, held_out: HeldOut
) -> None:
    estimator = QualityEstimator([calibration])
    scans = held_out(200, seed=9)
    clean, corrupted = [[estimator.estimate(one.features) for one in scans[start::2]] for start in (0, 1)]
    assert np.mean([one.verdict == "review" for one in clean]) < 0.25
    assert np.mean([one.verdict == "review" for one in corrupted]) > 0.95
    assert "noise, sharpness" in corrupted[0].reason
    assert corrupted[0].error == calibration.single.flag.error


def test_a_low_expected_dice_is_to_be_reviewed_from_the_floor_that_is_asked_for(
    calibration: Calibration, held_out: HeldOut
) -> None:
    estimator = QualityEstimator([calibration])
    usual = [one.features for one in held_out(200, seed=9)[0::2]]
    features = next(of for of in usual if estimator.estimate(of, min_dice=0.0).verdict == "ok")
    expected = estimator.estimate(features, min_dice=0.0).dice["organ"].value
    assert estimator.estimate(features, min_dice=expected - 0.01).verdict == "ok"
    found = estimator.estimate(features, min_dice=expected + 0.01)
    assert found.verdict == "review"
    assert f"organ: {expected:.2f}, under {expected + 0.01:g}" in found.reason


def test_the_interval_holds_about_nine_of_ten(calibration: Calibration, held_out: HeldOut) -> None:
    estimator, within = QualityEstimator([calibration]), []
    for one in held_out(200, seed=5)[0::2]:
        found = estimator.estimate(one.features).dice["organ"]
        assert 0 <= found.low <= found.value <= found.high <= 1
        within.append(found.low <= one.dice["organ"] <= found.high)
    assert 0.75 < np.mean(within) < 0.99


def test_the_interval_around_a_volume_holds_nine_of_ten_and_is_wider_for_unusual_scans(
    calibration: Calibration, held_out: HeldOut
) -> None:
    estimator = QualityEstimator([calibration])
    within: list[list[bool]] = [[], []]
    widths: list[list[float]] = [[], []]
    for number, one in enumerate(held_out(200, seed=5)):
        value, true = one.volumes_ml["organ"]
        found = estimator.estimate(one.features, volumes_ml={"organ": value}).volumes["organ"]
        assert found.low_ml is not None
        assert found.high_ml is not None
        within[number % 2].append(found.low_ml <= true <= found.high_ml)
        widths[number % 2].append(found.high_ml - found.low_ml)
    assert 0.8 < np.mean(within[0]) < 0.98
    assert np.mean(within[1]) > 0.9
    assert np.median(widths[1]) > 2 * np.median(widths[0])


def test_a_level_that_takes_more_patients_than_there_were_gives_no_interval(
    calibration: Calibration, held_out: HeldOut
) -> None:
    estimator, features = QualityEstimator([calibration]), held_out(2)[0].features
    volumes = {"organ": 10.0, "other": 5.0}
    found = estimator.estimate(features, volumes_ml=volumes, level=0.99).volumes
    assert found["organ"].low_ml is None
    assert "takes 99 held-out patients" in found["organ"].note
    assert "there are 60" in found["organ"].note
    assert "there are 0" in found["other"].note
    assert estimator.estimate(features).volumes == {}
    plain = estimator.estimate(features, volumes_ml=volumes).to_dict()["volumes_ml"]
    assert plain["organ"]["low"] < 10.0 < plain["organ"]["high"]
    assert (plain["organ"]["level"], plain["organ"]["patients"], plain["organ"]["note"]) == (0.9, 60, "")


def test_an_estimate_is_json(calibration: Calibration, held_out: HeldOut) -> None:
    found = QualityEstimator([calibration, calibration]).estimate(held_out(2)[0].features).to_dict()
    assert set(json.loads(json.dumps(found, allow_nan=False))) >= {"verdict", "predicted_dice", "ood_score"}


def test_features_outside_the_range_of_the_fit_give_a_dice_between_0_and_1(
    calibration: Calibration, held_out: HeldOut
) -> None:
    features = copy.deepcopy(held_out(2)[0].features)
    features.networks[0]["organ perturbation_consistency"] = 1e9
    features.groups["texture"]["t0"] = -1e9
    found = QualityEstimator([calibration]).estimate(features)
    assert 0 <= found.dice["organ"].value <= 1
    assert found.verdict == "review"


def test_what_is_stored_estimates_as_what_was_fitted(
    calibrated: tuple[dict[int, Calibration], CalibrationRecord], calibration: Calibration, held_out: HeldOut
) -> None:
    features = held_out(2, seed=4)[0].features
    fitted = QualityEstimator([calibrated[0][0]])
    assert fitted.estimate(features) == QualityEstimator([calibration]).estimate(features)


def test_a_flag_of_parts_that_the_model_lacks_asks_for_review(
    calibration: Calibration, held_out: HeldOut
) -> None:
    flag = calibration.single.flag.model_copy(update={"parts": ("geometry",), "threshold": 0.0})
    single = calibration.single.model_copy(update={"flag": flag})
    estimator = QualityEstimator([calibration.model_copy(update={"single": single})])
    found = estimator.estimate(held_out(2)[0].features)
    assert (found.verdict, found.reason) == ("review", "nothing of it can be compared with the known scans")
