"""A folder of masks, one a label, as one label map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesal.errors import DataError
from vesal.volume.geometry import Geometry
from vesal.volume.io import data_files, read_geometry, read_label, write_label
from vesal.volume.volume import LabelMap

GRID = Geometry.from_spacing((4, 3, 2), (1.0, 2.0, 3.0))


def mask(folder: Path, name: str, *voxels: int, value: int = 1, grid: Geometry = GRID) -> None:
    array = np.zeros(grid.shape, np.uint8)
    array.flat[list(voxels)] = value
    folder.mkdir(exist_ok=True)
    write_label(folder / f"{name}.nii.gz", LabelMap(array, grid))


def test_masks_become_one_label_map_where_the_later_value_wins_and_overlaps_are_counted(
    tmp_path: Path,
) -> None:
    mask(tmp_path / "m", "liver", 0, 1, 2)
    mask(tmp_path / "m", "spleen", 2, 3, value=255)
    mask(tmp_path / "m", "aorta", 1, 2, 5)
    mask(tmp_path / "m", "unwanted", 0)
    label = read_label(tmp_path / "m", values={"background": 0, "aorta": 7, "liver": 1, "spleen": 300})
    assert label.array.dtype == np.uint16
    assert label.array.flatten()[:6].tolist() == [1, 7, 300, 300, 0, 7]
    assert label.overlaps == {"liver and aorta": 2, "aorta and spleen": 1}
    assert label.geometry.close_to(GRID)
    assert read_geometry(tmp_path / "m").close_to(GRID)
    assert [path.name for path in data_files(tmp_path / "m")][:2] == ["aorta.nii.gz", "liver.nii.gz"]


def test_masks_that_are_none_or_lie_elsewhere_are_refused_with_the_file(tmp_path: Path) -> None:
    mask(tmp_path / "a", "liver", 0)
    with pytest.raises(DataError, match=r"has no mask of kidney; it holds liver"):
        read_label(tmp_path / "a", values={"kidney": 1})
    mask(tmp_path / "a", "both", 0)
    path = tmp_path / "a/both.nii.gz"
    write_label(path, LabelMap(np.arange(24, dtype=np.uint8).reshape(4, 3, 2), GRID))
    with pytest.raises(
        DataError, match=r"both.nii.gz holds the values 1 and 23 where the mask of one label has one"
    ):
        read_label(tmp_path / "a", values={"liver": 1, "both": 2})
    mask(tmp_path / "a", "both", 0, grid=Geometry.from_spacing((4, 3, 2), (1.0, 2.0, 4.0)))
    with pytest.raises(
        DataError, match=r"liver.nii.gz and .*both.nii.gz lie on different grids \(1 mm apart"
    ):
        read_label(tmp_path / "a", values={"liver": 1, "both": 2})
    mask(tmp_path / "a", "both", 0, grid=Geometry.from_spacing((4, 3, 3), (1.0, 2.0, 3.0)))
    with pytest.raises(DataError, match="4 x 3 x 2 and 4 x 3 x 3 voxels"):
        read_label(tmp_path / "a", values={"liver": 1, "both": 2})
