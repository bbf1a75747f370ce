"""Volumes put together out of slices."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from convert_examples import (
    convert,
    made,
)
from layout_examples import slice_of

from vesal.errors import DataError, UsageError
from vesal.volume.io import read_label, read_volume
from vesal.workflow.convert import convert_run
from vesal.workflow.requests.convert_request import ConvertRequest


def test_images_come_back_to_the_quantisation_of_their_window(tmp_path: Path) -> None:
    made("pairs", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "png", "png", window=(-1000.0, -200.0))
    convert(tmp_path / "png", tmp_path / "back", "nifti")
    for number in (1, 2):
        before = read_volume(tmp_path / "data" / "CT" / f"volume-{number}.nii")
        after = read_volume(tmp_path / "back" / "images" / f"volume-{number}.nii.gz")
        assert after.array.dtype == before.array.dtype
        assert np.abs(after.array.astype(float) - before.array).max() <= 800 / 255 / 2 + 0.5


def test_predicted_masks_come_back_as_label_maps_of_their_volumes(tmp_path: Path) -> None:
    made("brats", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "png", "png", keep_empty=False)
    shutil.copytree(tmp_path / "png" / "labels", tmp_path / "predicted")
    index = tmp_path / "png" / "slices.json"
    result = convert(tmp_path / "predicted", tmp_path / "back", "nifti", slices=index)
    assert result.cases == ("Brats18_X_1_1", "Brats18_X_2_1")
    for name in result.cases:
        mask = read_label(tmp_path / "back" / "labels" / f"{name}.nii.gz")
        drawn = read_label(tmp_path / "data" / name / f"{name}_seg.nii.gz")
        np.testing.assert_array_equal(mask.array, drawn.array)
        np.testing.assert_array_equal(mask.geometry.affine, drawn.geometry.affine)
    missing = next(path for path in (tmp_path / "predicted").iterdir() if "X_1_1" in path.name)
    missing.unlink()
    again = convert_run(
        ConvertRequest(data=tmp_path / "predicted", out=tmp_path / "gap", to="nifti", slices=index)
    )
    assert again.cases == ("Brats18_X_2_1",)
    assert missing.name in again.failures[0].message
    with pytest.raises(UsageError, match="masks alone"):
        convert(tmp_path / "predicted", tmp_path / "no", "msd", slices=index)
    with pytest.raises(DataError, match="holds the images alone"):
        convert(tmp_path / "png" / "images", tmp_path / "no", "nifti")


def test_pictures_of_a_volume_without_labels_are_put_together_too(tmp_path: Path) -> None:
    made("png", tmp_path / "data")
    with pytest.raises(UsageError, match="3 pictures of lung_001"):
        convert(tmp_path / "data" / "images", tmp_path / "out", "nifti")
    result = convert(tmp_path / "data" / "images", tmp_path / "out", "nifti", spacing_mm=(1.0, 1.0, 2.0))
    assert result.test_cases == ("lung_001", "lung_002")
    assert read_volume(tmp_path / "out" / "imagesTs" / "lung_002.nii.gz").geometry.shape == (8, 6, 2)


def test_a_sidecar_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    made("pairs", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "png", "png")
    path = tmp_path / "png" / "slices.json"
    good = json.loads(path.read_text())
    evil = json.loads(path.read_text())
    evil["volumes"]["volume-1"]["labels"] = "../secret"
    path.write_text(json.dumps(evil))
    with pytest.raises(DataError, match="not in its own"):
        convert(tmp_path / "png", tmp_path / "back", "nifti")
    good["volumes"]["../../up"] = good["volumes"].pop("volume-1")
    path.write_text(json.dumps(good))
    with pytest.raises(DataError, match="cannot name a file"):
        convert(tmp_path / "png", tmp_path / "back", "nifti")


def slices(
    folder: Path, volume: str, masks: int, annotated: tuple[list[str], ...] = ()
) -> list[dict[str, object]]:
    """Rows of a manifest: three slices, of which so many have a mask with the values 1 and 2."""
    rows: list[dict[str, object]] = []
    for number in range(3):
        name = f"{volume}{number}"
        slice_of(folder / f"images/{name}.png", 3, 4, 5 + number)
        rows.append(
            {"id": name, "image": f"images/{name}.png", "volume": volume, "slice": number, "slice_mm": 2}
        )
        if number < masks:
            slice_of(folder / f"masks/{name}.png", 1, 2)
            rows[-1]["label"] = f"masks/{name}.png"
        if annotated:
            rows[-1]["annotated"] = annotated[number]
    return rows


def test_a_volume_is_annotated_as_all_of_its_slices_are_and_not_half_of_it(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    rows = slices(data, "a", 3) + slices(data, "half", 2)
    rows += slices(data, "b", 3, (["label_1", "label_2"], ["label_1"], ["label_1"]))
    (data / "manifest.json").write_text(json.dumps(rows))
    result = convert_run(ConvertRequest(data=data, out=out, to="msd"))
    assert (result.cases, [one.id for one in result.failures]) == (("a", "b"), ["half"])
    assert "masks of 2 of its 3 slices, and none of half2" in result.failures[0].message
    assert json.loads((out / "dataset.json").read_text())["annotated"] == {"b": ["label_1"]}


def test_slices_that_state_different_distances_make_no_volume(tmp_path: Path) -> None:
    rows = slices(tmp_path / "data", "a", 3) + slices(tmp_path / "data", "b", 3)
    rows[1]["slice_mm"] = 5
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(rows))
    result = convert_run(ConvertRequest(data=tmp_path / "data", out=tmp_path / "out", to="msd"))
    assert (result.cases, [one.id for one in result.failures]) == (("b",), ["a"])
    assert "1 x 1 x 2 mm and those of a1 of 1 x 1 x 5 mm" in result.failures[0].message
