"""Slices: which way up, which intensities, and the exact way back."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from vesal.convert.slices import (
    SliceIndex,
    choose_window,
    cut,
    from_pixels,
    picture_geometry,
    resolve_axis,
    to_pixels,
    uncut,
)
from vesal.errors import VesalError
from vesal.volume.geometry import Geometry

SHAPE = (4, 5, 6)


def grid(order: tuple[int, ...], signs: tuple[int, ...]) -> Geometry:
    """A grid whose array axis i runs along world axis order[i], with spacings 1, 2 and 3 mm by array axis."""
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * (axis + 1.0)
    affine[3, 3] = 1.0
    return Geometry(SHAPE, affine)


def marked(geometry: Geometry, direction: tuple[int, int, int]) -> np.ndarray:
    """A volume that is 1 in the voxel farthest towards `direction` (RAS)."""
    array = np.zeros(geometry.shape)
    corners = list(itertools.product(*[(0, size - 1) for size in geometry.shape]))
    places = [(geometry.affine @ [*corner, 1.0])[:3] @ direction for corner in corners]
    array[corners[int(np.argmax(places))]] = 1.0
    return array


ORIENTATIONS = [
    grid(order, signs)
    for order in itertools.permutations(range(3))
    for signs in ((1, 1, 1), (-1, 1, -1), (1, -1, 1))
]


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_every_orientation_comes_back_voxel_for_voxel(axis: str) -> None:
    array = np.random.default_rng(0).normal(size=SHAPE)
    for geometry in ORIENTATIONS:
        slices = cut(array, geometry, axis)
        assert slices.shape[1:] == picture_geometry(geometry, axis).shape
        np.testing.assert_array_equal(uncut(slices, geometry, axis), array)


@pytest.mark.parametrize(
    ("axis", "direction"),
    [
        (
            "z",
            (1, 1, 1),
        ),  # axial: the patient's right is on the left, anterior on top; the last slice is the highest
        ("y", (1, 1, 1)),  # coronal: right on the left, superior on top
        ("x", (1, 1, 1)),  # sagittal: anterior on the left, superior on top
    ],
)
def test_pictures_are_upright_whatever_the_stored_orientation(
    axis: str, direction: tuple[int, int, int]
) -> None:
    for geometry in ORIENTATIONS:
        slices = cut(marked(geometry, direction), geometry, axis)
        number, column, row = (int(found[0]) for found in np.nonzero(slices))
        assert (number, column, row) == (len(slices) - 1, 0, 0)


def test_a_picture_states_the_spacing_of_its_columns_and_rows() -> None:
    geometry = grid((0, 1, 2), (1, 1, 1))
    assert picture_geometry(geometry, "z").spacing_mm == (1.0, 2.0)
    assert picture_geometry(geometry, "x").spacing_mm == (2.0, 3.0)


def test_thick_is_the_axis_of_the_coarsest_spacing_and_z_where_there_is_none() -> None:
    assert resolve_axis("thick", Geometry.from_spacing(SHAPE, (1, 8, 1))) == "y"
    assert resolve_axis("thick", Geometry.from_spacing(SHAPE, (1, 1.2, 1))) == "z"
    assert resolve_axis("z", Geometry.from_spacing((4, 5), (1, 1))) is None


# --- intensities -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
def test_intensities_come_back_to_half_a_step(bits: int) -> None:
    values = np.random.default_rng(0).uniform(-900, 300, 1000).astype(np.float32)
    window = (-1000.0, 400.0)
    back = from_pixels(to_pixels(values, window, bits), window, bits, "float32")
    step = 1400 / (2**bits - 1)
    assert np.abs(back - values).max() <= step / 2 + 1e-3


def test_whole_numbers_in_a_full_window_come_back_exactly() -> None:
    values = np.random.default_rng(0).integers(-1024, 3071, 1000).astype(np.int16)
    window = choose_window(values, "full", bits=16, name="CT")
    np.testing.assert_array_equal(from_pixels(to_pixels(values, window, 16), window, 16, "int16"), values)


def test_what_is_outside_the_window_or_not_finite_is_black_or_white() -> None:
    pixels = to_pixels(np.array([-5.0, 0.0, 10.0, 11.0, np.nan, np.inf, -np.inf]), (0.0, 10.0), 8)
    assert pixels.tolist() == [0, 0, 255, 255, 0, 255, 0]


def test_the_automatic_window_of_ct_is_in_hounsfield_units_and_of_mri_by_percentiles() -> None:
    values = np.arange(-2000, 2000).astype(np.int16)
    assert choose_window(values, "auto", bits=8, name="CT") == (-1000.0, 1000.0)
    low, high = choose_window(values, "auto", bits=8, name="MRI")
    assert low == pytest.approx(-1979, abs=2)
    assert high == pytest.approx(1979, abs=2)
    brain = np.concatenate([np.zeros(5000), np.arange(100, 1100)])
    assert choose_window(brain, "auto", bits=8, name="T1") == (0.0, pytest.approx(1094, abs=2))
    picture = np.arange(10, dtype=np.uint8)
    assert choose_window(picture, "auto", bits=8, name="image") == (0.0, 255.0)


def test_a_constant_or_empty_scan_still_has_a_window() -> None:
    for values in (np.full(9, 7.0), np.full(9, np.nan), np.zeros(9, dtype=np.int16)):
        low, high = choose_window(values, "auto", bits=8, name="MRI")
        assert low < high


# --- the sidecar -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not valid JSON"), ("[]", "how pictures lie"), ('{"version": 9}', "version")],
)
def test_a_damaged_sidecar_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "slices.json"
    path.write_text(text)
    with pytest.raises(VesalError, match=words):
        SliceIndex.load(path)
