"""Two stages of what is no single organ in a plain volume: slices of stacks, regions, voxels to ignore, two folds."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import vesal
from vesal.workflow.predict import predict_cases
from vesal.workflow.requests.predict_options import PredictOptions
from vesal.workflow.training import training_locator

SHAPE = (56, 48, 6)
NAMES = [f"stack_{number}" for number in range(6)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stacks of thick slices: a bright disc with a brighter core in a part of each slice, and a corner to ignore."""
    folder = tmp_path_factory.mktemp("stacks") / "Dataset077_Stacks"
    points = np.stack(np.indices(SHAPE), axis=-1)[..., :2]
    for number, name in enumerate(NAMES):
        random = np.random.default_rng(number)
        distance = np.linalg.norm(points - (np.array([18, 30]) + random.uniform(-3, 3, 2)), axis=-1)
        label = (distance < 7).astype(np.uint8) + (distance < 4)
        image = 100 + 200 * label.astype(float) + random.normal(0, 20, SHAPE)
        label[:4, :4] = 3
        for part, file, array in (
            ("imagesTr", f"{name}_0000", image.astype(np.int16)), ("labelsTr", name, label.astype(np.uint8))
        ):  # fmt: skip
            (folder / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([1.5, 1.5, 10.0, 1.0])), folder / part / f"{file}.nii.gz")
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
        "regions_class_order": [1, 2],
        "numTraining": len(NAMES),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stacks_run") / "run"
    overrides = {"steps": 60, "lr": 0.02, "fold": "all", "folds": 2, "validate_every": 0.5}
    settings = ("plan.locate=true", "plan.budget_s=60", "plan.batch=4")
    request = vesal.TrainRequest(
        data=data, out=out, overrides=overrides, settings=settings, device="cpu", quiet=True
    )
    with pytest.MonkeyPatch.context() as patch:
        # What is so plain is learnt in fewer.
        patch.setattr(training_locator, "LOCATOR_STEPS", (120, 1000))
        vesal.train_run(request)
    return out


def test_a_volume_finds_the_place_for_slices(run: Path) -> None:
    model = vesal.load_model(run)
    assert len(model.packages) == 2
    assert (model.plan.dimension, model.plan.slice_axis) == (2, 2)
    assert model.locator is not None
    assert (model.locator.plan.dimension, model.locator.plan.spacing_mm[2]) == (3, 10.0)
    assert model.locator.labels.outputs == 1
    assert model.labels.classes == ("whole", "core")
    margins = [package.plan.margin_mm for package in model.packages]
    assert model.plan.margin_mm == max(margins)


@pytest.mark.parametrize("options", [PredictOptions(), PredictOptions(mirror=True, probabilities=True)])
def test_folds_vote_with_and_without_mirroring_and_maps(
    run: Path, data: Path, tmp_path: Path, options: PredictOptions
) -> None:
    model = vesal.load_model(run)
    cases = vesal.load_dataset(data).cases[:2]
    result = predict_cases(model, cases, tmp_path / "masks", options)
    assert not result.failures
    for case in cases:
        label = nib.load(result.files[case.id])
        truth = np.asarray(nib.load(case.label).dataobj)
        assert label.shape == truth.shape
        found = np.asarray(label.dataobj)
        known = truth != 3
        for value in (1, 2):
            one, two = (found >= value)[known], (truth >= value)[known]
            assert 2 * (one & two).sum() / (one.sum() + two.sum()) > 0.8
        # A part of each slice was searched, and the corner that is ignored is none of it.
        crop = model.prepare(vesal.read_volume(case.images[0])).crop
        assert np.prod(crop.crop_shape) < 0.6 * np.prod(SHAPE)
