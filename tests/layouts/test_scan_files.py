"""What layouts look at: names of files, label values, pairs that mirroring swaps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from layout_examples import (
    MAKERS,
    _save,
    make_manifest,
    make_msd,
    make_pairs,
    scan,
    truth,
)

from vesal.data.dataset import SliceOf
from vesal.errors import DataError
from vesal.layouts.registry import load_dataset
from vesal.layouts.scan_files import slice_of

PAIRS: list[tuple[object, tuple[tuple[str, str], ...]]] = [
    (None, (("left", "right"),)),
    ([], ()),
    ([["right", "left"]], (("right", "left"),)),
]


@pytest.mark.parametrize(("pairs", "expected"), PAIRS)
@pytest.mark.parametrize("layout", ["msd", "nnunet", "manifest"])
def test_a_description_may_say_which_labels_mirroring_swaps(
    layout: str, pairs: object, expected: tuple[tuple[str, str], ...], tmp_path: Path
) -> None:
    assert load_dataset(described(layout, pairs, tmp_path)).labels.pairs == expected


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ("left", '"pairs" must be a list'),
        ([["left"]], '"pairs" must be a list'),
        ([["left", 3]], '"pairs" must be a list'),
        ([["left", "spleen"]], "unknown labels"),
        ([["left", "left"]], "two partners"),
    ],
)
@pytest.mark.parametrize("layout", ["msd", "manifest"])
def test_wrong_pairs_are_explained(layout: str, pairs: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        load_dataset(described(layout, pairs, tmp_path))


def described(layout: str, pairs: object, folder: Path) -> Path:
    """A data set of two labels, left and right, whose description gives these pairs."""
    values = {"left": 1, "right": 2}
    extra = {} if pairs is None else {"pairs": pairs}
    if layout == "manifest":
        make_manifest(folder)
        truth(folder / "scans/x_seg.nii.gz", 1, 2)
        case = {"image": "scans/x.nii.gz", "label": "scans/x_seg.nii.gz"}
        (folder / "list.json").write_text(json.dumps({"labels": values, "cases": [case], **extra}))
        return folder / "list.json"
    MAKERS[layout](folder)
    path = folder / "dataset.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"labels": {"background": 0, **values}} | extra)
    )
    return folder


def test_label_values_are_found_in_all_files_but_the_damaged_ones(tmp_path: Path) -> None:
    make_pairs(tmp_path)
    truth(tmp_path / "Liver_masks/segmentation-2.nii", 5)
    scan(tmp_path / "CT/volume-3.nii")
    (tmp_path / "Liver_masks/segmentation-3.nii").write_bytes(b"damaged")
    dataset = load_dataset(tmp_path)
    assert dataset.labels.values == (0, 1, 2, 5)
    assert any("label_1 = 1, label_2 = 2, label_5 = 5" in remark for remark in dataset.remarks)


def test_labels_that_are_images_are_refused(tmp_path: Path) -> None:
    scan(tmp_path / "images/a.nii.gz")
    _save(tmp_path / "labels/a.nii.gz", np.arange(400, dtype=np.int16).reshape(20, 20, 1))
    with pytest.raises(DataError, match="over 254 different values"):
        load_dataset(tmp_path)


def test_labels_that_are_all_empty_are_told(tmp_path: Path) -> None:
    scan(tmp_path / "images/a.nii.gz")
    truth(tmp_path / "labels/a.nii.gz")
    with pytest.raises(DataError, match=r"All 1 label files of .* are empty"):
        load_dataset(tmp_path)


def test_a_name_twice_with_two_endings_is_refused(tmp_path: Path) -> None:
    make_msd(tmp_path)
    scan(tmp_path / "imagesTr/a.nii")
    with pytest.raises(DataError, match=r"a\.nii.* have the same name"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "volume", "number"),
    [
        ("CASE_slice_012", "CASE", 12),
        ("lung-001.SLC-3", "lung-001", 3),
        ("p1_z7", "p1", 7),
        ("p1_sl_0040", "p1", 40),
        ("case12slice034", "case12", 34),
    ],
)
def test_a_word_before_the_last_number_makes_a_name_that_of_a_slice(name, volume, number):
    assert slice_of(name) == SliceOf(volume=volume, number=number)


@pytest.mark.parametrize("name", ["vessl12", "p1_s3", "lung_001_0042", "slice_3", "quiz7", "a_slice_3_b"])
def test_other_numbers_are_no_slices(name):
    assert slice_of(name) is None
