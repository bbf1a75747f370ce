"""The spacing that nnU-Net keeps beside TIFF volumes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from vesal.data.case import image_digest, read_image_and_digest
from vesal.data.dataset import Case
from vesal.errors import DataError
from vesal.layouts.registry import load_dataset
from vesal.volume.formats.raster import read_header
from vesal.volume.io import data_files, read_geometry, read_label, read_volume

VOLUME = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)


def save(path: Path, spacing: object = None, beside: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, VOLUME, photometric="minisblack")
    if beside:
        (path.parent / beside).write_text(json.dumps({"spacing": spacing}))
    return path


@pytest.mark.parametrize(("name", "beside"), [("cell_0000.tif", "cell.json"), ("cell.tiff", "cell.json")])
def test_slices_rows_and_columns_are_z_y_x(name: str, beside: str, tmp_path: Path) -> None:
    path = save(tmp_path / name, [80, 7.5, 7], beside)
    volume = read_volume(path)
    assert volume.geometry.shape == (5, 4, 6)
    assert volume.geometry.spacing_mm == (7.0, 7.5, 80.0)
    assert read_geometry(path).spacing_mm == (7.0, 7.5, 80.0)
    assert read_label(path).geometry.spacing_mm == (7.0, 7.5, 80.0)
    assert read_header(path).placed


def test_without_the_file_or_its_entry_a_voxel_is_a_millimetre(tmp_path: Path) -> None:
    path = save(tmp_path / "cell_0000.tif")
    assert read_volume(path).geometry.spacing_mm == (1.0, 1.0, 1.0)
    (tmp_path / "cell.json").write_text('{"stain": "DAPI"}')
    assert read_volume(path).geometry.spacing_mm == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("spacing", [[1, 2], [1, 2, 0], "thin", None, [1, 2, -3], [1, 2, "x"]])
def test_a_spacing_that_is_none_is_named(spacing: object, tmp_path: Path) -> None:
    path = save(tmp_path / "cell_0000.tif", spacing, "cell.json")
    with pytest.raises(DataError, match=r"cell\.json .*three sizes"):
        read_volume(path)


def test_a_data_set_of_such_volumes_has_their_spacing(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / "imagesTr" / f"cell{number}_0000.tif", [80, 7.5, 7], f"cell{number}.json")
        save(tmp_path / "labelsTr" / f"cell{number}.tif", [80, 7.5, 7], f"cell{number}.json")
    labels = {"background": 0} | {f"v{value}": value for value in range(1, 120)}
    described = {"channel_names": {"0": "EM"}, "labels": labels, "file_ending": ".tif"}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    dataset = load_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["cell0", "cell1"]
    assert {read_geometry(case.images[0]).spacing_mm for case in dataset.cases} == {(7.0, 7.5, 80.0)}


def test_who_corrects_the_spacing_has_another_scan(tmp_path: Path) -> None:
    """Whatever is found by the content of a scan's files, prepared scans and results, is made anew."""
    path = save(tmp_path / "cell_0000.tif", [80, 7.5, 7], "cell.json")
    assert data_files(path) == (path, tmp_path / "cell.json")
    case = Case(id="cell", images=(path,), patient="cell")
    before, digest = read_image_and_digest(case)
    assert image_digest(case) == digest
    save(path, [40, 7.5, 7], "cell.json")
    after, other = read_image_and_digest(case)
    assert (before.geometry.spacing_mm[2], after.geometry.spacing_mm[2]) == (80.0, 40.0)
    assert image_digest(case) == other != digest
    (tmp_path / "cell.json").unlink()
    assert data_files(path) == (path,)
