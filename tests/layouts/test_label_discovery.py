"""What label files hold where nothing declares it: classes, a soft mask, or a question."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image, ImageFilter

from vesal.audit.checks import check_dataset
from vesal.data.case import read_case
from vesal.data.fingerprint import fingerprint
from vesal.errors import DataError, UsageError
from vesal.layouts.label_discovery import label_values
from vesal.layouts.registry import load_dataset
from vesal.volume.io import read_label
from vesal.workflow.inspect import fix_run

ROWS, COLUMNS = np.mgrid[:48, :64]


def disc(number: int) -> np.ndarray:
    """(48, 64) bool, one of eight discs."""
    return (ROWS - 22 - number) ** 2 + (COLUMNS - 28 - 2 * number) ** 2 < (11 + number % 3) ** 2


def pictures(root: Path, masks: list[np.ndarray], suffix: str = ".png") -> Path:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, mask in enumerate(masks):
        image = (90 * disc(number) + rng.integers(40, 60, disc(number).shape)).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"k{number}.png")
        Image.fromarray(mask.astype(np.uint8)).save(root / "masks" / f"k{number}{suffix}")
    return root


def volumes(root: Path, arrays: list[np.ndarray]) -> Path:
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number, array in enumerate(arrays):
        image = (rng.normal(size=array.shape) * 5 + 50 * (np.nan_to_num(array) > 0.5)).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), root / f"images/c{number}.nii.gz")
        nib.save(nib.Nifti1Image(array, np.eye(4)), root / f"labels/c{number}.nii.gz")
    return root


def kinds(root: Path) -> set[str]:
    dataset = load_dataset(root)
    return {one.kind for one in check_dataset(dataset, fingerprint(dataset)) if one.severity == "error"}


def mixed() -> list[np.ndarray]:
    return [disc(number) * (1, 255)[number % 2] for number in range(8)]


def smooth() -> list[np.ndarray]:
    blurred = (
        Image.fromarray(disc(n).astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1)) for n in range(8)
    )
    return [np.asarray(one) for one in blurred]


def lossy() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [np.abs(disc(n) * 255 - rng.integers(0, 7, (48, 64))) for n in range(8)]


@pytest.mark.parametrize(("masks", "at"), [(mixed(), 1), (smooth(), 128), (lossy(), 128)])
def test_masks_that_are_soft_or_mixed_are_one_class_that_somebody_has_to_decide_on(tmp_path, masks, at):
    dataset = load_dataset(pictures(tmp_path / "data", masks))
    assert [(label.name, label.value) for label in dataset.labels.labels] == [("foreground", 255)]
    assert f"--set label_threshold={at}" in dataset.labels.question
    assert kinds(tmp_path / "data") == {"soft-mask"}
    with pytest.raises(DataError, match="looks like"):
        dataset.decided(None, None)
    label = read_case(dataset.decided(None, float(at)).cases[3]).label
    assert label is not None
    np.testing.assert_array_equal(label.array.T, np.where(masks[3] >= at, 255, 0))


@pytest.mark.parametrize("masks", [mixed(), smooth(), lossy()])
def test_fix_makes_such_masks_hard_and_lists_it(tmp_path, masks):
    root = pictures(tmp_path / "data", masks)
    summary = fix_run(root, tmp_path / "out", pictures=0)
    fixed = {
        record.case for record in summary.records if record.kind == "soft-mask" and record.outcome == "fixed"
    }
    assert fixed == {f"k{n}" for n in range(8) if set(np.unique(masks[n])) != {0, 255}}
    assert summary.cases == 8
    dataset = load_dataset(summary.folder)
    assert dataset.labels.question == ""
    assert dataset.labels.values == (0, 255)
    threshold = 1 if len(np.unique(masks[0])) == 2 else 128
    for number, mask in enumerate(masks):
        there = read_label(summary.folder / f"masks/k{number}.png").array.T
        np.testing.assert_array_equal(there, np.where(mask >= threshold, 255, 0))


def test_masks_saved_as_jpeg_are_read_by_a_threshold_and_fixed_as_png(tmp_path):
    root = pictures(tmp_path / "data", [disc(n) * 255 for n in range(8)], ".jpg")
    assert "soft mask" in load_dataset(root).labels.question
    summary = fix_run(root, tmp_path / "out", pictures=0)
    assert summary.cases == 8
    for case in load_dataset(summary.folder).cases:
        assert case.label is not None
        there = read_label(case.label).array.T > 0
        assert (there != disc(int(case.id[1:]))).mean() < 0.01


def test_dataset_json_beside_the_folders_decides(tmp_path):
    root = pictures(tmp_path, smooth())
    (root / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "polyp": 255}, "threshold": 100})
    )
    dataset = load_dataset(root)
    assert dataset.labels.question == ""
    assert dataset.labels.names == ("polyp",)
    assert kinds(root) == set()
    (root / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "polyp": 255}, "threshold": "x"})
    )
    with pytest.raises(DataError, match="threshold"):
        load_dataset(root)


@pytest.mark.parametrize(
    "values", [(1, 2, 3), (50, 100, 150, 200, 250), (128, 255), (85, 170, 255), (1,), (255,), (7, 11, 19, 23)]
)
def test_classes_are_classes(tmp_path, values):
    masks = [
        np.select([disc(n) & (COLUMNS % len(values) == i) for i in range(len(values))], values)
        for n in range(4)
    ]
    dataset = load_dataset(pictures(tmp_path, masks))
    assert dataset.labels.question == ""
    assert dataset.labels.values == (0, *values)


@pytest.mark.parametrize(("values", "odd"), [((-1, 1, 2), "-1"), ((1, 2, 255), "255"), ((-1, 1), "-1")])
def test_values_that_may_be_no_classes_are_asked_about(tmp_path, values, odd):
    array = np.zeros((8, 8, 8), dtype=np.int16)
    for number, value in enumerate(values):
        array[number + 1, 2:6, 2:6] = value
    root = volumes(tmp_path / "data", [array] * 4)
    dataset = load_dataset(root)
    assert f"hold the value {odd}" in dataset.labels.question
    assert "label-question" in kinds(root)
    with pytest.raises(DataError, match="ignore"):
        dataset.decided(None, None)
    names = {f"a{value}": value for value in values if str(value) != odd}
    decided = dataset.decided({**names, "ignore": int(odd)}, None)
    assert decided.labels.ignore == int(odd)
    with pytest.raises(UsageError, match="fit together"):
        dataset.decided({"a": 1, "b": 1}, None)


def scaled() -> np.ndarray:
    array = np.zeros((10, 10, 10), dtype=np.float32)
    array[2:5, 2:8, 2:8], array[5:8, 2:8, 2:8] = 0.988, 2.0235
    return array


def with_nan() -> np.ndarray:
    array = np.rint(scaled())
    array[0, 0, :3] = np.nan
    return array


def with_infinity() -> np.ndarray:
    array = np.rint(scaled())
    array[0, 0, 0] = np.inf
    return array


@pytest.mark.parametrize("array", [scaled(), with_nan(), with_infinity()])
def test_undeclared_labels_with_fractions_or_nan_are_fixed_voxel_by_voxel(tmp_path, array):
    arrays = [np.roll(array, number % 2, axis=1) for number in range(6)]
    root = volumes(tmp_path / "data", arrays)
    assert load_dataset(root).labels.values == (0, 1, 2)
    assert kinds(root) == {"label-values"}
    summary = fix_run(root, tmp_path / "out", pictures=0)
    for number, there in enumerate(arrays):
        fixed = read_label(summary.folder / f"labels/c{number}.nii.gz").array
        np.testing.assert_array_equal(fixed, np.rint(np.nan_to_num(there, posinf=0)))


def test_probabilities_are_one_soft_class_and_other_fractions_are_refused(tmp_path):
    ramp = np.clip(np.linspace(-1, 2, 1000).reshape(10, 10, 10), 0, 1).astype(np.float32)
    labels = load_dataset(volumes(tmp_path / "a", [ramp] * 3)).labels
    assert labels.threshold == 0.5
    assert labels.values == (0, 1)
    array = np.zeros((10, 10, 10), dtype=np.float32)
    array[2:4], array[4:6], array[6:8] = 0.4, 1.4, 2.4
    with pytest.raises(DataError, match=r"0\.4, 1\.4, 2\.4 .* declare the labels in dataset\.json"):
        load_dataset(volumes(tmp_path / "b", [array] * 3))


def test_the_values_of_a_file_or_why_not(tmp_path):
    root = volumes(tmp_path, [np.rint(scaled())])
    assert label_values(root / "labels/c0.nii.gz") == {0, 1, 2}
    assert isinstance(label_values(root / "labels/none.nii.gz"), DataError)
