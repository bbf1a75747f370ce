"""Matrices along one axis: what they reproduce exactly."""

from __future__ import annotations

import pytest
import torch

from vesal.augment.separable import along_axis, coarse_matrix, gaussian_matrix, spline_matrix


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_matrix_acts_along_its_axis_alone(axis: int) -> None:
    array = torch.randn(4, 5, 6)
    matrix = torch.randn(3, array.shape[axis])
    out = along_axis(array, matrix, axis)
    expected = torch.stack([(matrix @ v) for v in array.movedim(axis, -1).reshape(-1, array.shape[axis])])
    other = [n for i, n in enumerate(array.shape) if i != axis]
    assert torch.allclose(out, expected.view(*other, 3).movedim(-1, axis), atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_constants_survive_blurring_coarsening_and_splines(size: int) -> None:
    for matrix in (gaussian_matrix(size, 0.8), coarse_matrix(size, (size + 1) // 2), spline_matrix(size, 6)):
        assert torch.allclose(matrix.sum(dim=1), torch.ones(size, dtype=torch.float64))
        assert (matrix >= 0).all()


def test_keeping_all_voxels_is_the_identity() -> None:
    assert torch.allclose(coarse_matrix(9, 9), torch.eye(9, dtype=torch.float64))


def test_a_spline_reproduces_straight_lines() -> None:
    # Control points lie one interval apart, the first one interval before the field of view.
    points, size = 7, 20
    line = spline_matrix(size, points) @ (torch.arange(points, dtype=torch.float64) - 1)
    assert torch.allclose(line, (torch.arange(size, dtype=torch.float64) + 0.5) / size * (points - 3))
