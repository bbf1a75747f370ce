"""A run fits its quality model to what it held out, and predictions come with estimates."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vesal.data.dataset import Case
from vesal.data.fingerprint import fingerprint
from vesal.data.folds import Folds
from vesal.errors import VesalError
from vesal.infer.model import Model
from vesal.infer.predictor import load_model
from vesal.infer.quality.calibrate import FEWEST
from vesal.infer.quality.network_features import FeatureRecorder
from vesal.infer.quality.quality_model import CalibrationRecord
from vesal.layouts.registry import load_dataset
from vesal.nn.model_file import Package, load_package, save_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan, Stage
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings
from vesal.preprocessing.prepare import prepare
from vesal.report.pages.quality_section import quality_section
from vesal.run.folder import Run
from vesal.run_files import FINISHED
from vesal.volume.geometry import Geometry
from vesal.volume.io import read_volume, write_label, write_volume
from vesal.volume.volume import LabelMap, Volume
from vesal.workflow.predict import predict_cases
from vesal.workflow.quality import CalibrationOptions, _chosen, calibrate_run, predict_held_out
from vesal.workflow.requests.predict_options import PredictOptions

CPU = CalibrationOptions(device="cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of ten little scans and one fold that held them all out, with weights that nobody trained."""
    folder = tmp_path_factory.mktemp("quality")
    data = folder / "Task01_Tiny"
    rows = []
    for number in range(10):
        generator = np.random.default_rng(number)
        label = np.zeros((20, 18, 16), dtype=np.uint8)
        start = generator.integers(4, 8, 3)
        label[tuple(slice(at, at + 7) for at in start)] = 1
        image = 200 * label + generator.normal(100, 20, label.shape)
        grid = Geometry.from_spacing(label.shape, (1.0, 1.0, 1.5))
        write_volume(data / "imagesTr" / f"c{number}.nii.gz", Volume(image[None].astype(np.float32), grid))
        write_label(data / "labelsTr" / f"c{number}.nii.gz", LabelMap(label, grid))
        rows.append({"image": f"./imagesTr/c{number}.nii.gz", "label": f"./labelsTr/c{number}.nii.gz"})
    about = {"name": "Tiny", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "box"}}
    (data / "dataset.json").write_text(json.dumps({**about, "training": rows, "test": []}))
    dataset = load_dataset(data)
    plan = make_plan(fingerprint(dataset), dataset.labels, PlanSettings(patch=(16, 16, 16), batch=1))
    stages = [Stage(features=4, kernel=(3, 3, 3), stride=(step,) * 3) for step in (1, 2)]
    plan = Plan.model_validate(plan.model_dump() | {"stages": stages, "heads": 1})
    run = Run(folder / "run")
    run.folder.mkdir()
    run.dataset_file.write_text(dataset.model_dump_json())
    Folds.model_validate({"seed": 0, "parts": [[f"c{n}" for n in range(10)], ["other"]]}).save(run.folds_file)
    torch.manual_seed(0)
    weights = build_network("unet", plan).state_dict()
    save_package(run.fold(0) / "model.vesal", Package(plan, "unet", {}, {}, weights))
    (run.fold(0) / FINISHED).write_text("{}")
    assert calibrate_run(run, CPU)
    return run


def test_the_model_file_and_the_run_hold_the_quality_model(run: Run) -> None:
    package = load_package(run.fold(0) / "model.vesal")
    assert package.quality is not None
    assert package.quality["single"]["flag"]["clean"] == 10
    assert len(json.dumps(package.quality)) < 200_000
    record = CalibrationRecord.load(run.calibration_file)
    assert len(record.cases) == 20
    section = quality_section(record, ["#123456"])
    assert section["charts"]
    assert section["flag"].rows[0][1].shown == "10"


def test_a_model_is_not_calibrated_twice(run: Run) -> None:
    before = run.calibration_file.stat().st_mtime_ns
    assert calibrate_run(run, CPU)
    assert run.calibration_file.stat().st_mtime_ns == before


def test_too_few_held_out_scans_are_reported(run: Run, tmp_path: Path) -> None:
    few = Run(tmp_path / "few")
    few.folder.mkdir()
    few.dataset_file.write_text(run.dataset_file.read_text())
    Folds.model_validate({"seed": 0, "parts": [["c0"], ["c1"]]}).save(few.folds_file)
    few.fold(0).mkdir()
    (few.fold(0) / FINISHED).write_text("{}")
    messages: list[str] = []
    assert not calibrate_run(few, tell=messages.append)
    assert messages == [
        "The model gets no quality model: that takes held-out scans of 8 patients at least, and there is 1 scan; "
        "train more folds (--fold all)."
    ]


def test_many_slices_of_few_patients_are_too_few_before_and_after_a_short_prediction(
    run: Run, tmp_path: Path
) -> None:
    """Ten held-out scans: of one patient they crashed the fit, which leaves out whole patients."""
    few = Run(tmp_path / "few")
    few.folder.mkdir()
    for patients in (1, 2, 7):
        dataset = json.loads(run.dataset_file.read_text())
        for number, case in enumerate(dataset["cases"]):
            case["patient"] = f"p{number % patients}"
        few.dataset_file.write_text(json.dumps(dataset))
        Folds.load(run.folds_file).save(few.folds_file)
        few.fold(0).mkdir(exist_ok=True)
        (few.fold(0) / FINISHED).write_text("{}")
        messages: list[str] = []
        assert not calibrate_run(few, tell=messages.append)
        assert f"there are 10 scans of {patients} patient" in messages[0]


def test_the_first_scans_that_are_used_are_of_different_patients() -> None:
    cases = [
        Case(id=f"p{patient}_{number:02}", images=(Path("x"),), patient=f"p{patient}")
        for patient in range(9)
        for number in range(30)
    ]
    chosen = _chosen(cases)
    assert len(chosen) == 64
    for start in (0, 9, 18):
        assert len({name[:2] for name in chosen[start : start + 9]}) == 9


def test_predictions_come_with_quality_estimates(run: Run, tmp_path: Path) -> None:
    model = load_model(run.folder, device="cpu", backend="torch")
    cases = run.dataset().cases[:3]
    result = predict_cases(model, cases, tmp_path / "out", PredictOptions(uncertainty=True))
    rows = json.loads((tmp_path / "out" / "quality.json").read_text())["cases"]
    assert list(rows) == [case.id for case in cases]
    for row in rows.values():
        assert row["verdict"] in ("review", "ok")
        assert "10 clean held-out scans" in row["measured_error"]
        assert 0 <= row["predicted_dice"]["box"]["value"] <= 1
    with (tmp_path / "out" / "quality.csv").open() as file:
        assert [row["case"] for row in csv.DictReader(file)] == list(rows)
    assert result.quality is not None
    assert result.quality.text(list(rows)).startswith("Quality: ")
    uncertainty = read_volume(tmp_path / "out" / "uncertainty" / f"{cases[0].id}.nii.gz")
    assert uncertainty.geometry.shape == (20, 18, 16)
    assert 0 <= uncertainty.array.min() < uncertainty.array.max() <= 1


def test_volumes_come_with_intervals_of_the_level_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    model = load_model(run.folder, device="cpu", backend="torch")
    cases = run.dataset().cases[:2]
    record = CalibrationRecord.load(run.calibration_file)
    assert record.volumes["box"].scans <= 10
    assert all(len(row.volumes_ml["box"]) == 2 for row in record.cases)
    found = {}
    for level in (0.8, 0.99):
        options = PredictOptions(interval_level=level, resume=True)
        result = predict_cases(model, cases, tmp_path, options)
        assert not result.kept
        found[level] = json.loads((tmp_path / "quality.json").read_text())["cases"][cases[0].id][
            "volumes_ml"
        ]["box"]
    assert found[0.8]["low"] <= found[0.8]["value"] <= found[0.8]["high"]
    mask = read_volume(tmp_path / f"{cases[0].id}.nii.gz")
    assert found[0.8]["value"] == pytest.approx((mask.array > 0).sum() * 1.5 / 1000, abs=1e-4)
    assert (found[0.99]["low"], found[0.99]["level"]) == (None, 0.99)
    assert "takes 99 held-out patients" in found[0.99]["note"]


def test_a_resumed_prediction_keeps_its_estimates(run: Run, tmp_path: Path) -> None:
    model = load_model(run.folder, device="cpu", backend="torch")
    cases = run.dataset().cases[:3]
    predict_cases(model, cases[:2], tmp_path)
    predict_cases(model, cases, tmp_path, PredictOptions(resume=True))
    assert set(json.loads((tmp_path / "quality.json").read_text())["cases"]) == {case.id for case in cases}


def test_it_can_be_left_out_and_changes_no_label(run: Run, tmp_path: Path) -> None:
    model = load_model(run.folder, device="cpu", backend="torch")
    cases = run.dataset().cases[:1]
    predict_cases(model, cases, tmp_path / "with")
    predict_cases(model, cases, tmp_path / "without", PredictOptions(quality=False))
    assert not (tmp_path / "without" / "quality.json").exists()
    plain = load_model(run.folder, device="cpu", backend="torch", quality=False)
    predict_cases(plain, cases, tmp_path / "plain")
    assert not (tmp_path / "plain" / "quality.json").exists()
    name = f"{cases[0].id}.nii.gz"
    found = [read_volume(tmp_path / folder / name).array for folder in ("with", "without", "plain")]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_logits_are_divided_by_the_temperature(run: Run) -> None:
    file = run.fold(0) / "model.vesal"
    package = load_package(file)
    assert package.quality is not None
    volume = read_volume(run.dataset().cases[0].images[0])
    plain = load_model(file, device="cpu", backend="torch", quality=False)
    known = replace(load_model(file, device="cpu", backend="torch"))
    assert known.temperature == package.quality["temperature"]
    prepared = prepare(volume, plain.plan)
    hard, soft = (made.logits(prepared.image, made.windows()) for made in (plain, known))
    np.testing.assert_allclose(soft * known.temperature, hard, atol=1e-3)
    found = known.predict(volume, probabilities=True).probabilities
    assert found is not None
    (probability,) = found.values()
    np.testing.assert_allclose(prepared.crop.cut(probability), soft.softmax(dim=0)[1], atol=1e-5)


def test_a_damaged_quality_model_is_reported_with_the_files_name(run: Run, tmp_path: Path) -> None:
    package = load_package(run.fold(0) / "model.vesal")
    save_package(tmp_path / "bad.vesal", replace(package, quality={"version": 1, "temperature": -1}))
    with pytest.raises(VesalError, match=r"bad\.vesal is not a usable Vesal model"):
        load_model(tmp_path / "bad.vesal")


# --- the feature recorder ---------------------------------------------------------------------------------------------


def _recorded(run: Run, volume: Volume, **options: bool) -> tuple[Model, FeatureRecorder, Tensor]:
    model = load_model(run.folder, device="cpu", backend="torch", quality=False)
    prepared, windows = prepare(volume, model.plan), model.windows()
    recorder = model.feature_recorder(windows, **options)
    return model, recorder, model.logits(prepared.image, windows, recorder=recorder)


def test_recording_changes_no_logit(run: Run) -> None:
    volume = read_volume(run.dataset().cases[0].images[0])
    model, recorder, logits = _recorded(run, volume, uncertainty=True)
    plain = model.logits(prepare(volume, model.plan).image, model.windows())
    assert torch.equal(logits[:2], plain)
    assert 0 <= float(logits[2].min()) < float(logits[2].max()) <= 1 + 1e-5
    (values,) = recorder.network_features()
    assert 0 <= values["box perturbation_consistency"] <= 1
    assert np.isfinite(recorder.encoder_features()[0]).all()


def test_mirrored_copies_do_not_count_twice(run: Run) -> None:
    volume = read_volume(run.dataset().cases[0].images[0])
    model = load_model(run.folder, device="cpu", backend="torch", quality=False)
    prepared = prepare(volume, model.plan)
    found = []
    for axes in ((), (0, 1)):
        windows = replace(model.windows(), mirror_axes=axes)
        recorder = model.feature_recorder(windows, uncertainty=True)
        uncertainty = model.logits(prepared.image, windows, recorder=recorder)[2]
        found.append((recorder.network_features(), uncertainty))
    assert found[0][0] == found[1][0]
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)


def test_where_time_is_short_fewer_scans_are_used_and_none_is_corrupted(run: Run) -> None:
    scans, voxels = predict_held_out(run, CalibrationOptions(device="cpu", allowed_s=1e-6))
    assert len(scans) == len(voxels) == FEWEST
    assert all(one.artifact is None for one in scans)
    scans, _ = predict_held_out(run, CalibrationOptions(device="cpu", allowed_s=1e6))
    assert [one.artifact is None for one in scans] == [True, False] * 10


def test_the_estimate_in_python_is_that_of_the_command_line(run: Run, tmp_path: Path) -> None:
    model = load_model(run.folder, device="cpu", backend="torch")
    case = run.dataset().cases[0]
    predict_cases(model, [case], tmp_path)
    volume = read_volume(case.images[0])
    found = model.predict(volume, quality=True, probabilities=True).quality
    assert found is not None
    assert found.to_dict() == json.loads((tmp_path / "quality.json").read_text())["cases"][case.id]
    assert model.predict(volume).quality is None
