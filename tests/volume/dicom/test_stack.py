"""Slices become the grid on which they lie, whatever their order; what is no volume is refused by name."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from dicom_examples import axial
from numpy.typing import NDArray

from vesal.errors import DataError
from vesal.volume.dicom.frame import Frame
from vesal.volume.dicom.stack import stacks
from vesal.volume.geometry import Geometry

SHAPE = (7, 6, 5)


def frames(affine: NDArray[np.float64], count: int = SHAPE[2], **tags: str) -> list[Frame]:
    columns = affine[:3, :2]
    pixel_mm = np.linalg.norm(columns, axis=0)
    return [
        Frame(
            file=f"{index}.dcm",
            number=0,
            instance=f"1.{index}",
            position_mm=affine[:3, 3] + index * affine[:3, 2],
            directions=(columns / pixel_mm).T,
            pixel_mm=(float(pixel_mm[0]), float(pixel_mm[1])),
            shape=SHAPE[:2],
            tags=tags,
        )
        for index in range(count)
    ]


def orientations() -> list[NDArray[np.float64]]:
    """All 48 orders and directions of the axes, as affines to LPS."""
    found = []
    for order, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, order] * np.array(signs) * (0.8, 0.9, 2.5)
        affine[:3, 3] = (-20, 11, 40)
        found.append(affine)
    return found


@pytest.mark.parametrize("affine", orientations())
def test_in_each_of_48_orientations_every_voxel_stays_where_the_slices_say(
    affine: NDArray[np.float64],
) -> None:
    (stack,) = stacks([frames(affine)[index] for index in (3, 0, 4, 2, 1)])
    lps = Geometry.from_world(stack.geometry.shape, stack.geometry.affine, "LPS").affine
    for index, frame in enumerate(stack.frames):
        assert frame is not None
        assert np.allclose(lps @ (0, 0, index, 1), [*frame.position_mm, 1], atol=1e-9)
    corner = stack.frames[2]
    assert corner is not None
    expected = corner.position_mm + 3 * corner.pixel_mm[0] * corner.directions[0]
    assert np.allclose((lps @ (3, 0, 2, 1))[:3], expected, atol=1e-9)
    assert stack.tilt_degrees == 0


def test_a_tilted_gantry_shears_the_grid_and_tells_its_angle() -> None:
    affine = axial()
    affine[:3, 2] = (0.0, 2.5 * np.tan(np.radians(12)), 2.5)
    (stack,) = stacks(frames(affine))
    assert stack.tilt_degrees == pytest.approx(12, abs=0.01)
    assert stack.geometry.close_to(Geometry.from_world(SHAPE, affine, "LPS"))


def test_rounded_positions_are_no_tilt_and_no_uneven_distance() -> None:
    rounded = [
        replace(
            frame, position_mm=np.round(np.add(frame.position_mm, (0.004, -0.003, 0.004 * (-1) ** number)), 2)
        )
        for number, frame in enumerate(frames(axial(spacing=(0.8, 0.9, 1.25)), 40))
    ]
    (stack,) = stacks(rounded)
    assert stack.tilt_degrees == 0
    assert stack.geometry.spacing_mm[2] == pytest.approx(1.25, abs=1e-3)


def test_directions_that_are_rounded_otherwise_on_each_slice_are_one() -> None:
    generator = np.random.default_rng(1)
    affine = axial(origin=(-250.0, 300.0, 1400.0))
    rounded = []
    for frame in frames(affine):
        columns, rows = frame.directions + generator.uniform(-5e-4, 5e-4, (2, 3))
        columns /= np.linalg.norm(columns)
        rows -= rows @ columns * columns
        rounded.append(replace(frame, directions=np.array([columns, rows / np.linalg.norm(rows)])))
    (stack,) = stacks(rounded)
    assert [frame.file for frame in stack.frames if frame] == [f"{index}.dcm" for index in range(SHAPE[2])]


def test_a_missing_slice_is_refused_with_its_neighbours_or_left_a_place() -> None:
    whole = frames(axial())
    lacking = [frame for frame in whole if frame.file != "2.dcm"]
    with pytest.raises(DataError, match=r"1 slice missing between 1\.dcm and 3\.dcm.*--fill-slices"):
        stacks(lacking)
    (stack,) = stacks(lacking, fill=True)
    assert [frame and frame.file for frame in stack.frames] == ["0.dcm", "1.dcm", None, "3.dcm", "4.dcm"]
    assert stack.missing == 1
    assert stack.geometry.close_to(stacks(whole)[0].geometry)


def test_distances_that_vary_are_refused() -> None:
    odd = frames(axial())
    odd[4] = replace(odd[4], position_mm=np.add(odd[4].position_mm, (0, 0, 1.1)))
    with pytest.raises(DataError, match=r"2\.5 mm apart, but 3\.dcm and 4\.dcm 3\.6 mm"):
        stacks(odd)


def test_a_slice_that_is_there_twice_is_refused() -> None:
    whole = frames(axial())
    with pytest.raises(DataError, match=r"2\.dcm and again\.dcm lie at one place"):
        stacks([*whole, replace(whole[2], file="again.dcm")])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shape": (7, 7)}, r"has 7 x 7 pixels where 0\.dcm has 7 x 6"),
        ({"pixel_mm": (0.8, 1.0)}, "pixels of 0.8 x 1 mm"),
        (
            {"directions": np.array([(0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])},
            r"another angle than 0\.dcm \(90 degrees\)",
        ),
    ],
)
def test_slices_of_two_kinds_are_no_volume(change: dict[str, object], reason: str) -> None:
    mixed = frames(axial())
    mixed[3] = replace(mixed[3], **change)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=rf"3\.dcm.*{reason}"):
        stacks(mixed)


def test_a_slice_shifted_within_its_plane_is_refused() -> None:
    shifted = frames(axial())
    shifted[2] = replace(shifted[2], position_mm=np.add(shifted[2].position_mm, (3.0, 0, 0)))
    with pytest.raises(DataError, match=r"2\.dcm is shifted within its plane by 3\.75 pixels"):
        stacks(shifted)


@pytest.mark.parametrize("keyword", ["EchoTime", "TemporalPositionIdentifier", "DiffusionBValue"])
def test_phases_at_one_place_are_told_apart_in_the_order_of_their_values(keyword: str) -> None:
    late = [replace(frame, file=f"late{frame.file}") for frame in frames(axial(), **{keyword: "100.5"})]
    found = stacks([*late, *frames(axial(), **{keyword: "20"})])
    assert [stack.phase for stack in found] == [f"{keyword} = 20", f"{keyword} = 100.5"]
    assert all(frame is not None and frame.file.startswith("late") for frame in found[1].frames)


def test_a_single_slice_is_no_volume() -> None:
    with pytest.raises(DataError, match=r"single slice \(0\.dcm\)"):
        stacks(frames(axial(), 1))
