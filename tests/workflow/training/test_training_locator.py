"""A training of two stages, from scans in which the organ is small to masks on their own grids."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import vesal
from vesal.files import read_json
from vesal.train.recipe import TrainConfig
from vesal.workflow.training.training_locator import _box_sentence, with_length

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
    assert max(steps) == 20
    assert (
        max(json.loads(line)["step"] for line in (run / "fold_0/metrics.jsonl").read_text().splitlines())
        == 80
    )


def test_what_the_boxes_miss_of_the_held_out_cases_is_kept(run: Path) -> None:
    missed = read_json(run / "fold_0/locator/located.json")
    assert len(missed) == 2
    assert all(0 <= share <= 1 for share in missed.values())


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

    cut = prepare(volume, model.plan, box=(whole.crop.crop_start, (middle[0], *whole.crop.crop_stop[1:])))
    windows = model.windows()
    label, grown = model.segment_within(volume, cut, windows)
    right, _ = model.segment_within(volume, whole, windows)
    assert grown.crop.crop_stop[0] > middle[0]
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
        ({"budget_s": 100.0}, {"budget_s": 20.0}),
        ({"steps": 7}, {"steps": 1}),
        ({"epochs": 10}, {"epochs": 2}),
    ],
)
def test_a_stage_has_its_share_of_the_length(length: dict[str, float], expected: dict[str, float]) -> None:
    config = with_length(TrainConfig.model_validate(length), 0.2)
    assert {name: getattr(config, name) for name in expected} == expected


def test_where_the_locator_found_nothing_is_named() -> None:
    assert _box_sentence({"a": 0.0, "b": 0.01}) == (
        "The locator's boxes miss 0.50% of the truth of 2 held-out cases (of one at most 1.00%), before they grow."
    )
    assert _box_sentence({"a": None, "b": 0.01}).startswith(
        "The locator found nothing in 1 of 2 held-out cases. Its boxes miss"
    )
    assert _box_sentence({"a": None}) == (
        "The locator found nothing in 1 of 1 held-out case. With more time (--budget) it learns more."
    )
