"""The whole way on real scans, in a few steps each: load, check, plan, train, predict, score."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesal.audit.checks import check_dataset
from vesal.audit.defects.duplicates import duplicate_groups
from vesal.data.dataset import Dataset
from vesal.data.fingerprint import Fingerprint, fingerprint
from vesal.data.folds import make_folds
from vesal.errors import DataError
from vesal.infer.predictor import load_model
from vesal.layouts.registry import load_dataset
from vesal.workflow.predict import predict_cases
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.train import train_run


def silent(_text: str) -> None:
    """Takes messages that no test looks at."""


@pytest.fixture(scope="module")
def heart(data_dir: Path) -> tuple[Dataset, Fingerprint]:
    dataset = load_dataset(data_dir / "Task02_Heart")
    return dataset, fingerprint(dataset)


def test_the_hearts_are_twelve_with_their_shapes_spacings_and_slope(
    heart: tuple[Dataset, Fingerprint],
) -> None:
    _, record = heart
    assert len(record.cases) == 12
    assert {case.shape[:2] for case in record.cases} == {(320, 320)}
    depths = [case.shape[2] for case in record.cases]
    assert (min(depths), max(depths)) >= (90, 100)
    assert max(depths) <= 130
    for case in record.cases:
        assert case.spacing_mm == pytest.approx((1.25, 1.25, 1.37), abs=1e-3)
        # 8-bit files whose slope is 8: the true intensities go beyond 255.
        assert case.channels[0].maximum > 255
        assert case.voxels["left atrium"] > 30_000


def test_the_one_heart_under_two_names_is_found_and_kept_together(heart: tuple[Dataset, Fingerprint]) -> None:
    dataset, record = heart
    assert duplicate_groups(record) == (("la_005", "la_026"),)
    assert [finding.kind for finding in check_dataset(dataset, record)] == ["duplicate"]
    for seed in range(10):
        folds = make_folds(dataset.cases, folds=4, seed=seed, together=duplicate_groups(record))
        assert any({"la_005", "la_026"} <= set(part) for part in folds.parts)


def test_training_refuses_to_put_the_two_names_on_two_sides(data_dir: Path, tmp_path: Path) -> None:
    names = [case.id for case in load_dataset(data_dir / "Task02_Heart").cases]
    parts = [["la_005", *names[:2]], [name for name in names if name not in ("la_005", *names[:2])]]
    split = [{"train": parts[1 - k], "val": parts[k]} for k in range(2)]
    (tmp_path / "split.json").write_text(json.dumps(split))
    request = TrainRequest(
        data=data_dir / "Task02_Heart",
        out=tmp_path / "run",
        overrides={"steps": 1, "fold": 0, "plan.budget_s": 30.0},
        folds_file=tmp_path / "split.json",
        device="cpu",
        quiet=True,
    )
    with pytest.raises(DataError, match=r"la_005.*la_026|la_026.*la_005"):
        train_run(request, tell=silent)


@pytest.mark.parametrize(
    ("name", "dimension", "channels", "classes", "values"),
    [
        ("Task05_Prostate", 3, 2, ("PZ", "TZ"), {0, 1, 2}),
        ("ACDC", 2, 1, ("RV", "Myo", "LV"), {0, 1, 2, 3}),
        ("BraTS2018", 3, 4, ("whole tumour", "tumour core", "enhancing tumour"), {0, 1, 2, 4}),
    ],
)
def test_each_kind_of_data_trains_a_few_steps_and_predicts(
    name: str,
    dimension: int,
    channels: int,
    classes: tuple[str, ...],
    values: set[int],
    data_dir: Path,
    tmp_path: Path,
) -> None:
    data = data_dir / name
    if name == "ACDC":
        # Eight of the forty patients say the same in a fifth of the time.
        data = tmp_path / name
        data.mkdir()
        for patient in sorted((data_dir / name / "training").iterdir())[:8]:
            (data / patient.name).symlink_to(patient)
    request = TrainRequest(
        data=data,
        out=tmp_path / "run",
        overrides={"steps": 20, "fold": 0, "folds": 4, "plan.budget_s": 20.0, "validate_every": 0.5},
        device="cpu",
        quiet=True,
    )
    result = train_run(request, tell=silent)
    model = load_model(tmp_path / "run")
    assert model.plan.dimension == dimension
    assert len(model.plan.channels) == channels
    assert model.labels.classes == classes
    assert result.scores is not None
    assert {row.class_name for row in result.scores.cases} == set(classes)
    dataset = load_dataset(data)
    case = dataset.cases[0]
    predicted = predict_cases(model, [case], tmp_path / "out")
    mask, scan = nib.load(predicted.files[case.id]), nib.load(case.images[0])
    np.testing.assert_array_equal(mask.affine, scan.affine)
    assert mask.shape == scan.shape[:3]
    assert set(np.unique(np.asarray(mask.dataobj))) <= values


def test_ed_and_es_of_a_patient_stay_on_one_side(data_dir: Path) -> None:
    dataset = load_dataset(data_dir / "ACDC")
    assert (len(dataset.cases), len({case.patient for case in dataset.cases})) == (80, 40)
    folds = make_folds(dataset.cases, folds=5)
    patients = {case.id: case.patient for case in dataset.cases}
    sides = [{patients[name] for name in part} for part in folds.parts]
    assert sum(len(side) for side in sides) == 40
