"""A training of two stages, from scans in which the organ is small to masks on their own grids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import vesal
from vesal.files import read_json
from vesal.nn.model_file import load_package
from vesal.train.recipe import TrainConfig
from vesal.train.state import TrainJob
from vesal.workflow.training import training_locator
from vesal.workflow.training.training_locator import (
    _Seen,
    fine_config,
    locator_config,
    needed_margin,
)

SHAPE = (48, 40, 36)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six noisy scans, each with one bright ball somewhere in a part of it; axes turned from case to case."""
    folder = tmp_path_factory.mktemp("far") / "Task98_Far"
    names = [f"far_{number}" for number in range(6)]
    for number, name in enumerate(names):
        random = np.random.default_rng(number)
        centre = np.array([14, 14, 14]) + random.uniform(-3, 3, 3)
        points = np.stack(np.indices(SHAPE), axis=-1)
        label = (np.linalg.norm(points - centre, axis=-1) < 5).astype(np.uint8)
        image = (100 + 300 * label.astype(float) + random.normal(0, 20, SHAPE)).astype(np.int16)
        affine = np.diag([1.0, -1.0, 1.0, 1.0] if number % 2 else [1.0, 1.0, 1.0, 1.0])
        for part, array in (("imagesTr", image), ("labelsTr", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), folder / part / f"{name}.nii.gz")
    description = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "4": "ball"},
        "training": [
            {"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names
        ],
    }
    for file in (folder / "labelsTr").iterdir():
        scan = nib.load(file)
        nib.save(nib.Nifti1Image(np.asarray(scan.dataobj) * np.uint8(4), scan.affine), file)
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("located") / "run"
    overrides = {"steps": 100, "lr": 0.02, "fold": 0, "folds": 3, "validate_every": 0.5}
    settings = ("plan.locate=true", "plan.budget_s=60", "plan.batch=2")
    request = vesal.TrainRequest(
        data=data, out=out, overrides=overrides, settings=settings, device="cpu", quiet=True
    )
    vesal.train_run(request)
    return out


def test_both_stages_are_trained_and_in_one_file(run: Path) -> None:
    model = vesal.load_model(run)
    assert model.locator is not None
    assert model.plan.locator == model.locator.plan
    assert max(model.plan.median_shape) < max(model.locator.plan.median_shape)
    steps = [
        json.loads(line)["step"] for line in (run / "fold_0/locator/metrics.jsonl").read_text().splitlines()
    ]
    assert max(steps) == 300
    assert (
        max(json.loads(line)["step"] for line in (run / "fold_0/metrics.jsonl").read_text().splitlines())
        == 100
    )
    assert model.locator.labels.outputs == 1


def test_what_the_boxes_miss_of_the_held_out_cases_is_kept(run: Path) -> None:
    located = read_json(run / "fold_0/locator/located.json")
    assert len(located["cases"]) == 2
    assert all(case["missed"] == 0 and case["short_mm"] < 4 for case in located["cases"].values())
    assert (
        vesal.load_model(run).plan.margin_mm
        == located["margin_mm"]
        >= read_json(run / "plan.json")["margin_mm"]
    )


def test_the_report_shows_both_stages(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "Coarse stage" in page
    assert "Fold 0: 300 steps in" in page
    assert "truth outside the box" in page
    assert page.count("0.00%") >= 2


def test_held_out_cases_are_segmented_on_their_own_grid(run: Path, data: Path) -> None:
    scores = read_json(run / "scores.json")
    files = sorted((run / "fold_0/predictions").glob("*.nii.gz"))
    assert len(files) == 2
    for file in files:
        found, truth = nib.load(file), nib.load(data / "labelsTr" / file.name)
        assert found.shape == truth.shape
        np.testing.assert_allclose(found.affine, truth.affine)
        one, two = (np.asarray(scan.dataobj) for scan in (found, truth))
        assert set(np.unique(one)) <= {0, 4}
        dice = 2 * ((one == 4) & (two == 4)).sum() / ((one == 4).sum() + (two == 4).sum())
        assert dice > 0.8
    assert scores


def test_maps_and_quality_come_from_the_box_that_was_searched(run: Path, data: Path) -> None:
    model = vesal.load_model(run)
    volume = vesal.read_volume(data / "imagesTr/far_0.nii.gz")
    plain, with_maps = model.predict(volume), model.predict(volume, probabilities=True)
    assert np.array_equal(plain.label.array, with_maps.label.array)
    assert with_maps.probabilities is not None
    probability = with_maps.probabilities["ball"]
    assert probability.shape == volume.geometry.shape
    assert np.array_equal(probability > 0.5, plain.label.array == 4)
    crop = model.prepare(volume).crop
    assert crop.crop_shape != volume.geometry.shape


def test_a_box_that_cuts_the_organ_grows_until_it_holds_it(run: Path, data: Path) -> None:
    model = vesal.load_model(run)
    volume = vesal.read_volume(data / "imagesTr/far_0.nii.gz")
    whole = model.prepare(volume)
    middle = [(a + b) // 2 for a, b in zip(whole.crop.crop_start, whole.crop.crop_stop, strict=True)]
    from vesal.preprocessing.prepare import prepare

    # As long as a patch, so that it is not grown to one.
    far = (middle[0] + model.plan.patch[0], *whole.crop.crop_stop[1:])
    cut = prepare(volume, model.plan, box=((middle[0], *whole.crop.crop_start[1:]), far))
    windows = model.windows()
    label, grown = model.segment_within(volume, cut, windows)
    right, _ = model.segment_within(volume, whole, windows)
    assert grown.crop.crop_start[0] < middle[0]
    one, two = label.array == 4, right.array == 4
    assert 2 * (one & two).sum() / (one.sum() + two.sum()) > 0.95
    assert (model.segment(cut, windows).array == 4).sum() < 0.8 * two.sum()


def test_a_finished_run_goes_on_with_nothing(run: Path, data: Path) -> None:
    before = vesal.load_model(run).digest
    rows = (run / "fold_0/metrics.jsonl").read_text(), (run / "fold_0/locator/metrics.jsonl").read_text()
    vesal.train_run(vesal.TrainRequest(data=data, out=run, resume=True, device="cpu", quiet=True))
    assert vesal.load_model(run).digest == before
    again = (run / "fold_0/metrics.jsonl").read_text(), (run / "fold_0/locator/metrics.jsonl").read_text()
    assert again == rows


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        ({"budget_s": 180.0}, {"budget_s": 54.0}),
        ({"budget_s": 1200.0}, {"budget_s": 120.0}),
        ({"steps": 7}, {"steps": 300}),
        ({"steps": 500}, {"steps": 500}),
        ({"epochs": 1000}, {"steps": 1000}),
    ],
)
def test_the_coarse_stage_is_long_enough_however_short_the_run(
    length: dict[str, float], expected: dict[str, float]
) -> None:
    config = TrainConfig.model_validate(
        length
        | {"seed": 5, "loss_options": {"class_weights": {"ball": 2.0}}}
        | {"augment": {"artifacts": {"probability": 0.3}}}
    )
    coarse = locator_config(config, 4)
    assert {name: getattr(coarse, name) for name in expected} == expected
    assert coarse.seed == 5
    assert not coarse.loss_options.class_weights
    assert coarse.augment.artifacts.probability == 0.3
    fine = fine_config(config)
    whole = config.budget_s
    assert fine == config if whole is None else fine.budget_s == whole - (coarse.budget_s or 0)


def test_the_margin_is_what_the_worst_held_out_box_needed(run: Path) -> None:
    coarse = vesal.load_model(run).locator
    assert coarse is not None
    half = 0.5 * max(coarse.plan.spacing_mm)
    assert needed_margin([-4.0, -1.0], 10.0, coarse.plan) == 10.0
    assert needed_margin([-4.0, 11.0], 10.0, coarse.plan) == pytest.approx(11.0 + half, abs=1e-3)
    assert needed_margin([100.0], 10.0, coarse.plan) == 30.0
    assert needed_margin([], 10.0, coarse.plan) == 10.0


def test_a_locator_that_was_trained_on_is_measured_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "locator"
    folder.mkdir()
    shutil.copy(run / "fold_0/locator/model.vesal", folder)
    coarse = vesal.load_model(run).locator
    assert coarse is not None
    monkeypatch.setattr(training_locator, "_look", lambda _model, _case: None)
    job = TrainJob(coarse.plan, TrainConfig(), [], [], folder, torch.device("cpu"), "fold 0", {})
    for steps, planned_mm, margin_mm in ((300, 5.0, 5.0), (300, 7.0, 5.0), (400, 7.0, 7.0)):
        found = training_locator._measured(job, planned_mm, steps, [])
        assert (found.margin_mm, found.steps) == (margin_mm, steps)


def test_a_box_that_cuts_widens_the_margin_of_the_fold() -> None:
    labelled = np.zeros((20, 20, 20), dtype=bool)
    labelled[5:15, 5:15, 5:15] = True
    seen = _Seen(labelled, ((5, 5, 5), (15, 15, 15)), ((7, 5, 0), (15, 15, 20)), (2.0, 1.0, 1.0))
    assert seen.short_mm() == 4.0
    assert seen.missed(0.0) == pytest.approx(0.2)
    assert seen.missed(2.0) == pytest.approx(0.1)
    assert seen.missed(4.0) == 0.0
    assert _Seen(labelled, seen.truth, None, (1.0, 1.0, 1.0)).missed(1.0) is None


def test_a_fine_tuning_moves_both_stages(run: Path, data: Path, tmp_path: Path) -> None:
    # So small a step that the weights stay where they begin.
    still = ("lr=1e-12", "ema=null", "optimizer=adam")
    messages: list[str] = []
    request = vesal.FinetuneRequest(
        run, data, tmp_path / "run", fold="none", budget="3s", settings=still, device="cpu", quiet=True
    )
    vesal.finetune_run(request, tell=messages.append)
    before, after = (
        load_package(file) for file in (run / "fold_0/model.vesal", tmp_path / "run/fold_all/model.vesal")
    )
    assert before.locator_weights is not None
    assert after.locator_weights is not None
    for old, new in ((before.weights, after.weights), (before.locator_weights, after.locator_weights)):
        assert old.keys() == new.keys()
        assert all(torch.allclose(old[name], new[name], atol=1e-6) for name in old)
    assert any("coarse stage begins with the model's (100.0% of its weights)" in text for text in messages)
