"""Tilted slices are straightened within their planes, and results go back onto them."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.volume.dicom.tilt import straight, straightened, tilted_back
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume


def sheared(shift: float, shape: tuple[int, int, int] = (8, 9, 6)) -> Geometry:
    affine = np.diag([0.9, 0.8, 3.0, 1.0])
    affine[:3, 2] = (0.0, shift, 3.0)
    affine[:3, 3] = (5.0, -7.0, 2.0)
    return Geometry(shape, affine)


def test_a_grid_at_right_angles_is_itself() -> None:
    grid = Geometry.from_spacing((4, 5, 6), (1.0, 1.0, 2.0))
    assert straight(grid) is grid
    volume = Volume(np.zeros((1, 4, 5, 6)), grid)
    assert straightened(volume, modality="CT") is volume


@pytest.mark.parametrize("shift", [0.7, -0.7, 2.4])
def test_the_straight_grid_holds_every_slice_in_its_own_plane(shift: float) -> None:
    grid = sheared(shift)
    target = straight(grid)
    inverse = np.linalg.inv(target.affine)
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in grid.shape], [1])).reshape(4, -1)
    where = inverse @ grid.affine @ corners
    assert np.allclose(where[2], corners[2], atol=1e-9)
    for axis in (0, 1):
        assert where[axis].min() > -1e-6
        assert where[axis].max() < target.shape[axis] - 1 + 1e-6
    columns = target.affine[:3, :3]
    assert np.allclose(columns.T @ columns, np.diag(np.square(target.spacing_mm)), atol=1e-9)


def test_beyond_the_slices_there_is_air() -> None:
    volume = Volume(np.full((1, 8, 9, 6), 40.0), sheared(2.4))
    found = straightened(volume, modality="CT").array
    assert set(np.unique(np.round(found)).tolist()) <= {40.0}
    volume.array[0, 0, 0, 0] = -2000.0
    assert straightened(volume, modality="CT").array[0, 4, -1, 0] == pytest.approx(-1024.0)


def test_a_mask_goes_back_onto_the_slices_with_its_centre_within_a_tenth_of_a_voxel() -> None:
    grid = sheared(0.7, (20, 24, 12))
    target = straight(grid)
    x, y, z = np.indices(target.shape)
    ball = ((x - 9) ** 2 + (y - 13) ** 2 + (2 * (z - 6)) ** 2 < 49).astype(np.uint8)
    back = tilted_back(LabelMap(ball, target), grid)
    centres = [
        (geometry.affine @ np.append(np.argwhere(array).mean(axis=0), 1))[:3]
        for array, geometry in ((ball, target), (back.array, grid))
    ]
    assert np.abs((centres[0] - centres[1]) / grid.spacing_mm).max() < 0.1
    assert back.array.sum() == pytest.approx(ball.sum(), rel=0.01)
