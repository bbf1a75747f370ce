"""A run learns its doubt from what it held out, and predictions tell it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vesal.data.fingerprint import fingerprint
from vesal.data.folds import Folds
from vesal.errors import VesalError
from vesal.infer.predictor import Model, load_model
from vesal.infer.quality.calibrate import FEWEST
from vesal.infer.quality.image_features import image_signals
from vesal.infer.quality.mask_features import label_signals
from vesal.infer.quality.network_features import Watch
from vesal.layouts.registry import load_dataset
from vesal.nn.model_file import Package, load_package, save_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan, Stage
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings
from vesal.preprocessing.prepare import prepare
from vesal.report.pages.quality_section import quality_section, read_quality_record
from vesal.run.folder import Run
from vesal.run_files import FINISHED, QUALITY
from vesal.volume.geometry import Geometry
from vesal.volume.io import read_volume, write_label, write_volume
from vesal.volume.volume import LabelMap, Volume
from vesal.workflow.predict import predict_cases
from vesal.workflow.quality import learn_doubt, observe_run
from vesal.workflow.requests.predict_options import PredictOptions


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
    assert learn_doubt(run, device="cpu")
    return run


def test_the_model_file_and_the_run_know_it(run: Run) -> None:
    package = load_package(run.fold(0) / "model.vesal")
    assert package.quality is not None
    assert package.quality["cases"] == 10
    assert len(json.dumps(package.quality)) < 200_000
    record = read_quality_record(run.folder)
    assert record is not None
    assert len(record.cases) == 20
    section = quality_section(record, ["#123456"])
    assert section["charts"]
    assert section["flag"]["rows"][0][1] == "10"


def test_it_is_not_learned_again_from_the_same_models(run: Run) -> None:
    before = (run.folder / QUALITY).stat().st_mtime_ns
    assert learn_doubt(run, device="cpu")
    assert (run.folder / QUALITY).stat().st_mtime_ns == before


def test_too_few_held_out_scans_are_told(run: Run, tmp_path: Path) -> None:
    few = Run(tmp_path / "few")
    few.folder.mkdir()
    few.dataset_file.write_text(run.dataset_file.read_text())
    Folds.model_validate({"seed": 0, "parts": [["c0"], ["c1"]]}).save(few.folds_file)
    few.fold(0).mkdir()
    (few.fold(0) / FINISHED).write_text("{}")
    told: list[str] = []
    assert not learn_doubt(few, tell=told.append)
    assert told == [
        "The model does not know its doubt: that takes 8 held-out scans at least, and there is 1; train more folds "
        "(--fold all)."
    ]


def test_predictions_say_how_far_to_trust_them(run: Run, tmp_path: Path) -> None:
    model = load_model(run.folder, device="cpu", backend="torch")
    cases = run.dataset().cases[:3]
    result = predict_cases(model, cases, tmp_path / "out", PredictOptions(doubt=True))
    told = json.loads((tmp_path / "out" / "quality.json").read_text())["cases"]
    assert list(told) == [case.id for case in cases]
    for row in told.values():
        assert row["verdict"] in ("review", "ok")
        assert "10 held-out scans" in row["measured_error"]
        assert 0 <= row["predicted_dice"]["box"]["value"] <= 1
    with (tmp_path / "out" / "quality.csv").open() as file:
        assert [row["case"] for row in csv.DictReader(file)] == list(told)
    assert result.quality is not None
    assert result.quality.text().startswith("Quality: ")
    doubt = read_volume(tmp_path / "out" / "doubt" / f"{cases[0].id}.nii.gz")
    assert doubt.geometry.shape == (20, 18, 16)
    assert 0 <= doubt.array.min() < doubt.array.max() <= 1


def test_a_resumed_prediction_keeps_what_was_said(run: Run, tmp_path: Path) -> None:
    model = load_model(run.folder, device="cpu", backend="torch")
    cases = run.dataset().cases[:3]
    predict_cases(model, cases[:2], tmp_path)
    predict_cases(model, cases, tmp_path, PredictOptions(skip_existing=True))
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


def test_probabilities_are_softened_by_the_temperature(run: Run) -> None:
    file = run.fold(0) / "model.vesal"
    package = load_package(file)
    assert package.quality is not None
    volume = read_volume(run.dataset().cases[0].images[0])
    plain = load_model(file, device="cpu", backend="torch", quality=False)
    known = replace(load_model(file, device="cpu", backend="torch"))
    assert known.temperature == package.quality["temperature"]
    hard = plain.predict(volume, probabilities=True).probabilities
    soft = known.predict(volume, probabilities=True).probabilities
    assert hard is not None
    assert soft is not None
    odds = np.log(soft[1] / soft[0]) * known.temperature
    assert odds == pytest.approx(np.log(hard[1] / hard[0]), abs=1e-3)


def test_a_damaged_record_in_a_model_file_is_told_with_its_name(run: Run, tmp_path: Path) -> None:
    package = load_package(run.fold(0) / "model.vesal")
    save_package(tmp_path / "bad.vesal", replace(package, quality={"version": 1, "temperature": -1}))
    with pytest.raises(VesalError, match=r"bad\.vesal is not a usable Vesal model"):
        load_model(tmp_path / "bad.vesal")


# --- what looks on ---------------------------------------------------------------------------------------------


def _watched(run: Run, volume: Volume, **options: bool) -> tuple[Model, Watch, Tensor]:
    model = load_model(run.folder, device="cpu", backend="torch", quality=False)
    prepared, windows = prepare(volume, model.plan), model.windows()
    watch = model.watch(windows, **options)
    return model, watch, model.logits(prepared.image, windows, watch=watch)


def test_who_looks_on_changes_no_logit(run: Run) -> None:
    volume = read_volume(run.dataset().cases[0].images[0])
    model, watch, logits = _watched(run, volume, doubt=True)
    plain = model.logits(prepare(volume, model.plan).image, model.windows())
    assert torch.equal(logits[:2], plain)
    assert 0 <= float(logits[2].min()) < float(logits[2].max()) <= 1 + 1e-5
    (values,) = watch.signals()
    assert 0 <= values["box steady"] <= 1
    assert np.isfinite(watch.insides()[0]).all()


def test_mirrored_copies_do_not_count_twice(run: Run) -> None:
    volume = read_volume(run.dataset().cases[0].images[0])
    model = load_model(run.folder, device="cpu", backend="torch", quality=False)
    prepared = prepare(volume, model.plan)
    found = []
    for axes in ((), (0, 1)):
        windows = replace(model.windows(), mirror_axes=axes)
        watch = model.watch(windows, doubt=True)
        doubt = model.logits(prepared.image, windows, watch=watch)[2]
        found.append((watch.signals(), doubt))
    assert found[0][0] == found[1][0]
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)


@pytest.mark.parametrize("change", ["constant", "plain", "one slice"])
def test_the_looks_of_any_scan_are_finite_numbers_of_the_same_names(run: Run, change: str) -> None:
    volume = read_volume(run.dataset().cases[0].images[0])
    model = load_model(run.folder, device="cpu", backend="torch", quality=False)
    array = {
        "constant": np.full_like(volume.array, 7),
        "plain": volume.array,
        "one slice": volume.array[..., :1],
    }[change]
    grid = Geometry.from_spacing(array.shape[1:], (1.0, 1.0, 1.5))
    other = Volume(np.ascontiguousarray(array), grid)
    found = image_signals(other, prepare(other, model.plan))
    usual = image_signals(volume, prepare(volume, model.plan))
    for group, values in found.items():
        assert np.isfinite(list(values.values())).all(), group
        assert change == "one slice" or list(values) == list(usual[group])


def test_noise_and_blur_are_seen_for_what_they_are(run: Run) -> None:
    from scipy.ndimage import gaussian_filter

    volume = read_volume(run.dataset().cases[0].images[0])
    model = load_model(run.folder, device="cpu", backend="torch", quality=False)

    def noise(array: np.ndarray) -> float:
        other = Volume(array.astype(np.float32), volume.geometry)
        return image_signals(other, prepare(other, model.plan))["texture"]["channel 1 noise"]

    clean = noise(volume.array)
    assert noise(volume.array + np.random.default_rng(0).normal(0, 60, volume.array.shape)) > clean + 0.2
    assert noise(gaussian_filter(volume.array, (0, 1.5, 1.5, 1.5))) < clean - 1


def test_a_label_map_in_pieces_says_so(run: Run) -> None:
    labels = run.dataset().labels
    label = np.zeros((20, 20, 20), dtype=np.uint8)
    empty = label_signals(label, Geometry.from_spacing(label.shape, (1.0, 1.0, 1.0)), labels)
    label[2:8, 2:8, 2:8] = 1
    grid = Geometry.from_spacing(label.shape, (1.0, 1.0, 1.0))
    whole = label_signals(label, grid, labels)
    label[15:17, 15:17, 15:17] = 1
    pieces = label_signals(label, grid, labels)
    assert (whole["box pieces"], pieces["box pieces"]) == (0.0, pytest.approx(np.log(2)))
    assert pieces["box largest"] == pytest.approx(216 / 224)
    assert empty["box volume"] < whole["box volume"] < pieces["box volume"]
    assert list(empty) == list(whole)


def test_where_time_is_short_fewer_scans_are_looked_at_and_none_is_harmed(run: Run) -> None:
    observed, voxels = observe_run(run, device="cpu", allowed_s=1e-6)
    assert len(observed) == len(voxels) == FEWEST
    assert all(one.artifact is None for one in observed)
    observed, _ = observe_run(run, device="cpu", allowed_s=1e6)
    assert [one.artifact is None for one in observed] == [True, False] * 10


def test_one_scan_in_python_is_judged_as_on_the_command_line(run: Run, tmp_path: Path) -> None:
    model = load_model(run.folder, device="cpu", backend="torch")
    case = run.dataset().cases[0]
    predict_cases(model, [case], tmp_path)
    volume = read_volume(case.images[0])
    found = model.predict(volume, quality=True, probabilities=True).judgement
    assert found is not None
    assert found.to_dict() == json.loads((tmp_path / "quality.json").read_text())["cases"][case.id]
    assert model.predict(volume).judgement is None
