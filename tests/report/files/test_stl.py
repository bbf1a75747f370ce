"""Surfaces as STL: read back by the format's own rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesal.errors import DataError
from vesal.report.figures.surfaces import surface
from vesal.report.files.stl import write_stl
from vesal.volume.geometry import Geometry

_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("nothing", "<u2")])


def test_the_triangles_enclose_the_volume_in_millimetres_and_face_outwards(tmp_path: Path) -> None:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[5:15, 5:15, 5:15] = True
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    mesh = surface(mask, Geometry(mask.shape, affine))
    write_stl(tmp_path / "cube.stl", [None, mesh], ["nothing", "cube"])
    data = (tmp_path / "cube.stl").read_bytes()
    assert data.startswith(b"vesal, RAS mm: nothing, cube")
    count = int(np.frombuffer(data, "<u4", 1, 80)[0])
    triangles = np.frombuffer(data, _TRIANGLE, offset=84)
    assert count == len(triangles) > 0
    corners = triangles["corners"].astype(np.float64)
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(10**3 * 12, rel=0.1)
    middle = corners.mean(axis=(0, 1))
    np.testing.assert_allclose(middle, affine[:3, :3] @ np.full(3, 9.5) + affine[:3, 3], atol=0.5)
    outwards = np.einsum("ij,ij->i", triangles["normal"], corners.mean(axis=1) - middle)
    assert (outwards > 0).mean() > 0.99


def test_nothing_is_no_surface(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no surface"):
        write_stl(tmp_path / "none.stl", [None], ["cube"])
    assert list(tmp_path.iterdir()) == []
