"""What is found in a folder that is to be converted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from convert_examples import (
    SHAPE,
    convert,
    made,
    scan,
    truth,
)
from PIL import Image
from segment_files import write_segments

from vesal.errors import DataError, UsageError
from vesal.layouts.registry import load_dataset
from vesal.volume.io import read_label, read_volume, write_volume
from vesal.volume.volume import Volume
from vesal.workflow.convert import convert_run
from vesal.workflow.requests.convert_request import ConvertRequest


def test_channel_files_of_plain_scans_are_one_case(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for channel in range(3):
            scan(tmp_path / "scans" / f"{name}_{channel:04}.nii.gz", 1, low=channel)
    result = convert(tmp_path / "scans", tmp_path / "out", "msd")
    assert result.test_cases == ("a", "b")
    assert read_volume(tmp_path / "out" / "imagesTs" / "a.nii.gz").channels == 3


def test_a_brats_case_that_lacks_a_modality_is_named_and_the_others_are_converted(tmp_path: Path) -> None:
    made("brats", tmp_path / "data")
    scan(tmp_path / "data" / "Brats18_X_3_1" / "Brats18_X_3_1_flair.nii.gz", 0)
    result = convert_run(ConvertRequest(data=tmp_path / "data", out=tmp_path / "out", to="msd"))
    assert result.cases == ("Brats18_X_1_1", "Brats18_X_2_1")
    assert [failure.id for failure in result.failures] == ["Brats18_X_3_1"]
    assert "lacks its T1" in result.failures[0].message
    for path in tmp_path.glob("data/*/*_t2.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match="lacks T2 in most cases"):
        convert_run(ConvertRequest(data=tmp_path / "data", out=tmp_path / "other", to="msd"))


def test_slices_without_a_sidecar_are_refused_or_put_together_by_spacing(tmp_path: Path) -> None:
    made("png", tmp_path / "data")
    with pytest.raises(UsageError, match=r"3 pictures of lung_001.*--spacing X,Y,Z.*--no-stack"):
        convert(tmp_path / "data", tmp_path / "out", "nifti")
    assert not (tmp_path / "out").exists()
    result = convert(tmp_path / "data", tmp_path / "out", "nifti", spacing_mm=(0.5, 0.8, 3.0))
    assert result.cases == ("lung_001", "lung_002")
    volume = read_volume(tmp_path / "out" / "images" / "lung_001.nii.gz")
    assert (volume.geometry.shape, volume.geometry.axis_codes) == ((8, 6, 3), "RAS")
    assert volume.geometry.spacing_mm == pytest.approx((0.5, 0.8, 3.0))
    first = np.array(Image.open(tmp_path / "data" / "images" / "lung_001_slice_0007.png"))
    np.testing.assert_array_equal(volume.array[0, :, :, 0], first[::-1, ::-1].T)
    (tmp_path / "data" / "images" / "lung_001_slice_0008.png").unlink()
    gap = convert_run(
        ConvertRequest(data=tmp_path / "data", out=tmp_path / "gap", to="nifti", spacing_mm=(1, 1, 1))
    )
    assert "no slice 8" in gap.failures[0].message


def test_a_sidecar_in_the_folder_above_is_nothing_to_scans_of_other_names(tmp_path: Path) -> None:
    made("pairs", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "png", "png")
    scan(tmp_path / "png" / "other" / "a.nii.gz", 0)
    assert convert(tmp_path / "png" / "other", tmp_path / "out", "nifti").test_cases == ("a",)
    with pytest.raises(DataError, match="No file of"):
        convert(tmp_path / "png" / "other", tmp_path / "no", "nifti", slices=tmp_path / "png" / "slices.json")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"patients": ["a"]}, "gives cases their patients"),
        ({"annotated": {"a_1": "left lobe"}}, "a list of names such as .* is wanted"),
        ({"annotated": {"a_1": ["nose"]}}, "Case a_1 of .* has 'nose' as an annotated label"),
        ({"labels": {"background": 0, "all": [1, 7]}, "label_names": ["x"]}, "gives each label its value"),
    ],
)
def test_wrong_entries_of_our_own_in_a_description_are_explained(
    entry: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = made("msd", tmp_path) / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entry))
    with pytest.raises(DataError, match=words):
        load_dataset(tmp_path)


def test_a_soft_mask_in_whole_numbers_becomes_the_hard_one_that_its_threshold_makes(tmp_path: Path) -> None:
    made("pairs", tmp_path / "data")
    for number in (1, 2):
        truth(tmp_path / "data" / "Liver_masks" / f"segmentation-{number}.nii", number, 100, 180, 255)
    soft = read_label(tmp_path / "data" / "Liver_masks" / "segmentation-1.nii").array
    images, labels = tmp_path / "data" / "CT", tmp_path / "data" / "Liver_masks"
    cases = [
        {
            "id": f"{n}",
            "image": str(images / f"volume-{n}.nii"),
            "label": str(labels / f"segmentation-{n}.nii"),
        }
        for n in (1, 2)
    ]
    described = {"labels": {"background": 0, "liver": 255}, "threshold": 128, "cases": cases}
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(described))
    convert(tmp_path / "data", tmp_path / "out", "nifti")
    hard = read_label(tmp_path / "out" / "labels" / "1.nii.gz").array
    np.testing.assert_array_equal(hard, np.where(soft >= 128, 255, 0))


def test_labels_of_test_scans_are_read_by_the_names_of_their_segments(tmp_path: Path) -> None:
    data = tmp_path / "data"
    array = np.zeros((1, *SHAPE), np.uint8)
    array[0, 1], array[0, 3] = 1, 2
    for part, name, order in (("Tr", "a", ("liver", "tumour")), ("Ts", "t", ("tumour", "liver"))):
        segments = [(segment, value, 0) for value, segment in enumerate(order, start=1)]
        path = write_segments(data / f"labels{part}" / f"{name}.nrrd", array, segments)
        grid = read_label(path).geometry
        write_volume(data / f"images{part}" / f"{name}_0000.nrrd", Volume(array.astype(np.int16), grid))
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumour": 2}}
    (data / "dataset.json").write_text(json.dumps(described | {"numTraining": 1, "file_ending": ".nrrd"}))
    convert(data, tmp_path / "out", "nifti")
    for place, liver in (("labels/a", 1), ("labelsTs/t", 3)):
        label = read_label(tmp_path / "out" / f"{place}.nii.gz").array
        assert (label[liver].max(), label[4 - liver].max()) == (1, 2)
