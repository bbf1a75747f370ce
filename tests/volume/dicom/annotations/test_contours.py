"""Contours along the edges of voxels lose none, and hold holes without being more than one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from vesal.volume.dicom.annotations.contours import fill, outlines


def masks() -> list[NDArray[np.bool_]]:
    generator = np.random.default_rng(3)
    speckle = [
        generator.random(generator.integers(1, 25, 2)) < share for share in (0.1, 0.3, 0.5, 0.7, 0.95)
    ] * 6
    smooth = [ndimage.gaussian_filter(generator.standard_normal((40, 31)), 1.5) > 0 for _ in range(10)]
    return [*speckle, *smooth, np.ones((3, 4), dtype=bool)]


@pytest.mark.parametrize("mask", masks())
def test_a_mask_comes_back_from_all_its_contours_and_from_each_filled_by_itself(
    mask: NDArray[np.bool_],
) -> None:
    found = outlines(mask)
    assert np.array_equal(fill(found, mask.shape), mask)
    each = np.zeros_like(mask)
    for polygon in found:
        each |= fill([polygon], mask.shape)
    assert np.array_equal(each, mask)
    # A contour a piece: holes are part of the contour around them.
    assert len(found) == ndimage.label(mask)[1]


def test_no_corner_lies_on_a_straight_line() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[2:7, 3:8] = True
    (polygon,) = outlines(mask)
    assert sorted(map(tuple, polygon.tolist())) == [(1.5, 2.5), (1.5, 7.5), (6.5, 2.5), (6.5, 7.5)]


def test_contours_within_one_another_are_holes() -> None:
    outer = np.array([(0.5, 0.5), (6.5, 0.5), (6.5, 6.5), (0.5, 6.5)])
    inner = np.array([(2.5, 2.5), (4.5, 2.5), (4.5, 4.5), (2.5, 4.5)])
    found = fill([outer, inner], (8, 8))
    assert found.sum() == 36 - 4
    assert not found[3:5, 3:5].any()


def test_a_slanted_polygon_holds_the_centres_within_it() -> None:
    triangle = np.array([(0.2, 0.1), (9.7, 3.3), (2.4, 8.8)])
    x, y = np.meshgrid(np.arange(12), np.arange(11), indexing="ij")
    sides = []
    for start, end in zip(triangle, np.roll(triangle, -1, axis=0), strict=True):
        sides.append((end[0] - start[0]) * (y - start[1]) - (end[1] - start[1]) * (x - start[0]) > 0)
    assert np.array_equal(fill([triangle], (12, 11)), np.all(sides, axis=0))


def test_polygons_beyond_the_slice_are_cut_there() -> None:
    large = np.array([(-50.0, -50.0), (50.0, -50.0), (50.0, 50.0), (-50.0, 50.0)])
    assert fill([large], (5, 4)).all()
    assert not fill([large + 200.0], (5, 4)).any()
