"""Volumes and descriptions as the layouts want them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from convert_examples import (
    SHAPE,
    affine_of,
    convert,
    grid,
    made,
)

from vesal.data.split_file import read_split
from vesal.layouts.registry import load_dataset
from vesal.volume.geometry import Geometry
from vesal.volume.io import read_volume, write_label, write_volume
from vesal.volume.volume import LabelMap, Volume
from vesal.workflow.convert import convert_run
from vesal.workflow.requests.convert_request import ConvertRequest


def test_nifti_files_that_need_no_change_are_copied_byte_for_byte(tmp_path: Path) -> None:
    """Scale, offset and position of the header stay as the scanner wrote them."""
    stored = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine_of(1))
    stored.header.set_slope_inter(8.0, -3.0)
    (tmp_path / "scans").mkdir()
    nib.save(stored, tmp_path / "scans" / "a.nii.gz")
    convert(tmp_path / "scans", tmp_path / "out", "nnunet")
    copied = tmp_path / "out" / "imagesTs" / "a_0000.nii.gz"
    assert copied.read_bytes() == (tmp_path / "scans" / "a.nii.gz").read_bytes()
    assert load_dataset(tmp_path / "out").layout == "nnunet"


def test_scans_of_any_format_become_nifti_with_their_type(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    kinds = {"a.nrrd": np.int16, "b.mha": np.float32, "c.nii": np.uint8}
    for name, kind in kinds.items():
        array = np.random.default_rng(0).integers(0, 200, (1, *SHAPE)).astype(kind)
        write_volume(folder / name, Volume(array, grid(2)))
    result = convert(folder, tmp_path / "out", "nifti")
    assert result.test_cases == ("a", "b", "c")
    for name, kind in kinds.items():
        volume = read_volume(tmp_path / "out" / "imagesTs" / f"{name[0]}.nii.gz")
        assert volume.array.dtype == kind
        assert volume.geometry.close_to(grid(2))
    one = convert(folder / "a.nrrd", tmp_path / "single", "nifti")
    assert one.test_cases == ("a",)


def test_brats_for_nnunet_has_consecutive_values_and_regions_and_says_so(tmp_path: Path) -> None:
    made("brats", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "Dataset137_BraTS", "nnunet")
    described = json.loads((tmp_path / "Dataset137_BraTS" / "dataset.json").read_text())
    assert described["labels"] == {
        "background": 0,
        "whole tumour": [1, 2, 3],
        "tumour core": [1, 3],
        "enhancing tumour": 3,
    }
    assert described["regions_class_order"] == [2, 1, 3]
    assert described["channel_names"] == {"0": "FLAIR", "1": "T1", "2": "T1ce", "3": "T2"}
    assert (described["numTraining"], described["file_ending"]) == (2, ".nii.gz")
    assert any("enhancing tumour 4 -> 3" in remark for remark in result.remarks)
    assert not any("DatasetXXX" in remark for remark in result.remarks)
    recorded = json.loads((tmp_path / "Dataset137_BraTS" / "conversion.json").read_text())
    assert {"name": "enhancing tumour", "from": 4, "to": 3, "into": "enhancing tumour"} in recorded["labels"][
        "values"
    ]


def test_frames_of_a_patient_get_a_split_for_nnunet_that_keeps_them_together(tmp_path: Path) -> None:
    made("acdc", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "out", "nnunet")
    folds = read_split(tmp_path / "out" / "splits_final.json")
    assert folds.count == 2
    for part in folds.parts:
        assert len({name.split("_")[0] for name in part}) == 1
    assert any("splits_final.json" in remark for remark in result.remarks)


def test_the_same_scan_under_two_names_gets_a_split_for_nnunet_too(tmp_path: Path) -> None:
    made("pairs", tmp_path / "data")
    for kind in ("CT/volume", "Liver_masks/segmentation"):
        shutil.copy(tmp_path / "data" / f"{kind}-1.nii", tmp_path / "data" / f"{kind}-3.nii")
    convert(tmp_path / "data", tmp_path / "out", "nnunet")
    assert {frozenset(part) for part in read_split(tmp_path / "out" / "splits_final.json").parts} == {
        frozenset({"volume-1", "volume-3"}),
        frozenset({"volume-2"}),
    }


def test_labels_off_their_image_are_refused_for_slices_and_copied_with_a_remark_otherwise(
    tmp_path: Path,
) -> None:
    made("pairs", tmp_path / "data")
    moved = LabelMap(np.ones(SHAPE, np.uint8), Geometry.from_spacing(SHAPE, (1, 1, 1)))
    write_label(tmp_path / "data" / "Liver_masks" / "segmentation-1.nii", moved)
    result = convert(tmp_path / "data", tmp_path / "out", "msd")
    assert any("volume-1: image and label lie" in remark for remark in result.remarks)
    sliced = convert_run(ConvertRequest(data=tmp_path / "data", out=tmp_path / "png", to="png"))
    assert (sliced.cases, [failure.id for failure in sliced.failures]) == (("volume-2",), ["volume-1"])
