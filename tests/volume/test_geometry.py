"""The grid in space: turns, crops and resizes never move a voxel in the patient."""

from __future__ import annotations

import itertools
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from vesal.volume.geometry import Geometry, Turn
from vesal.volume.resample import resample_label
from vesal.volume.volume import LabelMap

ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def oriented(order: tuple[int, ...], signs: tuple[int, ...], tilt_deg: float = 0.0) -> Geometry:
    """A grid of 4 x 5 x 6 voxels in one of the 48 orientations, tilted by `tilt_deg` about an oblique axis."""
    matrix = np.zeros((3, 3))
    matrix[list(order), range(3)] = np.asarray(signs) * [0.7, 1.3, 3.1]
    tilt = Rotation.from_rotvec(np.deg2rad(tilt_deg) * np.array([1.0, 2.0, -0.5]) / 2.3).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = tilt @ matrix
    affine[:3, 3] = (-37.25, 12.5, 801.75)
    return Geometry((4, 5, 6), affine)


def marked(geometry: Geometry, voxel: tuple[int, ...]) -> np.ndarray:
    array = np.zeros(geometry.shape)
    array[voxel] = 1.0
    return array


def world_of_mark(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    (voxel,) = np.argwhere(array == 1.0)
    return (geometry.affine @ [*voxel, 1.0])[:-1]


@pytest.mark.parametrize("tilt_deg", [0.0, 25.0])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_a_turn_to_ras_keeps_a_marked_voxel_in_its_place_and_is_undone(order, signs, tilt_deg):
    geometry = oriented(order, signs, tilt_deg)
    array = marked(geometry, (1, 3, 2))
    turn = geometry.turn_to_ras()
    turned = turn.apply(array)
    grid = geometry.turned(turn)
    assert turned.shape == grid.shape
    assert grid.axis_codes == "RAS"
    assert grid.turn_to_ras() == Turn((0, 1, 2), (False, False, False))
    np.testing.assert_allclose(world_of_mark(turned, grid), world_of_mark(array, geometry), atol=1e-10)
    np.testing.assert_array_equal(turn.undo(turned), array)
    # Leading axes are channels and stay in front.
    np.testing.assert_array_equal(turn.undo(turn.apply(np.stack([array, 2 * array]))), [array, 2 * array])


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_axis_codes_agree_with_nibabel(order, signs):
    geometry = oriented(order, signs, 20.0)
    assert geometry.axis_codes == "".join(nib.aff2axcodes(geometry.affine))


def test_another_shape_keeps_the_outer_faces_and_the_volume():
    geometry = oriented((2, 0, 1), (1, -1, 1), 30.0)
    other = geometry.with_shape((8, 3, 7))
    for corner in itertools.product((0, 1), repeat=3):
        faces = [
            grid.affine @ [*(size * side - 0.5 for size, side in zip(grid.shape, corner, strict=True)), 1.0]
            for grid in (geometry, other)
        ]
        np.testing.assert_allclose(faces[0], faces[1], atol=1e-10)
    assert np.isclose(other.voxel_volume_mm3 * 8 * 3 * 7, geometry.voxel_volume_mm3 * 4 * 5 * 6)


def test_doubling_the_voxels_keeps_a_marked_voxel_between_its_halves():
    geometry = oriented((0, 1, 2), (1, 1, -1), 10.0)
    fine = geometry.with_shape((8, 10, 12))
    halves = np.argwhere(np.kron(marked(geometry, (1, 2, 3)), np.ones((2, 2, 2))) == 1.0)
    centre = (fine.affine @ [*halves.mean(axis=0), 1.0])[:-1]
    np.testing.assert_allclose(centre, (geometry.affine @ [1, 2, 3, 1.0])[:-1], atol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_lps_agrees_with_simpleitk_at_every_corner(seed):
    generator = np.random.default_rng(seed)
    image = sitk.Image([4, 5, 6], sitk.sitkUInt8)
    image.SetSpacing(generator.uniform(0.3, 4, 3).tolist())
    image.SetOrigin(generator.uniform(-500, 500, 3).tolist())
    mirror = np.diag([1.0, 1.0, (-1.0) ** seed])
    image.SetDirection((Rotation.random(rng=generator).as_matrix() @ mirror).ravel().tolist())
    geometry = Geometry.from_lps(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    for voxel in itertools.product((0, 3), (0, 4), (0, 5)):
        lps = image.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(
            (geometry.affine @ [*voxel, 1])[:3], np.multiply(lps, (-1, -1, 1)), atol=1e-9
        )
    spacing, origin, direction = geometry.to_lps()
    np.testing.assert_allclose(spacing, image.GetSpacing())
    np.testing.assert_allclose(origin, image.GetOrigin())
    np.testing.assert_allclose(direction.ravel(), image.GetDirection(), atol=1e-12)


def test_other_worlds_are_flipped_into_ras():
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    for world in ("RAS", "LAS", "LPS", "RPI"):
        assert Geometry.from_world((2, 2, 2), affine, world).axis_codes == world


def test_a_flat_image_has_no_axis_codes_and_no_turn():
    geometry = Geometry.from_spacing((5, 7), (0.5, 0.25))
    assert geometry.axis_codes == ""
    assert geometry.turn_to_ras() == Turn((0, 1), (False, False))
    assert geometry.turned(geometry.turn_to_ras()).close_to(geometry)
    assert geometry.voxel_volume_mm3 == pytest.approx(0.125)


def test_grids_are_close_to_the_tolerance_at_the_farthest_corner():
    geometry = Geometry.from_spacing((101, 101, 101), (1.0, 1.0, 1.0))
    off = geometry.affine.copy()
    off[0, 0] += 1e-5  # 100 voxels farther on that is 1e-3 mm
    other = Geometry(geometry.shape, off)
    assert geometry.distance_mm(other) == pytest.approx(1e-3, rel=1e-6)
    assert geometry.close_to(other, 1.1e-3)
    assert not geometry.close_to(other, 0.9e-3)
    assert not geometry.close_to(Geometry.from_spacing((101, 101, 100), (1, 1, 1)))
    with pytest.raises(ValueError, match="shapes differ"):
        geometry.distance_mm(Geometry.from_spacing((2, 2, 2), (1, 1, 1)))


def test_json_brings_back_the_very_same_affine():
    geometry = oriented((1, 2, 0), (-1, 1, 1), 33.0)
    back = Geometry.from_dict(json.loads(json.dumps(geometry.to_dict())))
    assert back.shape == geometry.shape
    assert np.array_equal(back.affine, geometry.affine)


def test_voxels_of_a_microscope_are_not_flat():
    assert Geometry.from_spacing((4, 4, 4), (2e-5, 2e-5, 2e-5)).spacing_mm == pytest.approx((2e-5,) * 3)


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.0, 0.0, 1.0, 1.0]),
        np.diag([1.0, np.nan, 1.0, 1.0]),
        np.diag([1.0, np.inf, 1.0, 1.0]),
        np.diag([1.0, 1e30, 1.0, 1.0]),
        np.array([[1.0, 2.0, 0, 0], [1.0, 2.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]),
        np.diag([1.0, 1.0, 1.0, 2.0]),
        np.eye(3),
    ],
)
def test_an_affine_that_places_nothing_is_refused(affine):
    with pytest.raises(ValueError, match="affine"):
        Geometry((2, 2, 2), affine)


def test_an_empty_or_four_dimensional_grid_is_refused():
    for shape in ((2, 0, 2), (2,), (2, 2, 2, 2)):
        with pytest.raises(ValueError, match="axes"):
            Geometry(shape, np.eye(len(shape) + 1))


def test_the_affine_cannot_be_changed_behind_its_back():
    affine = np.eye(4)
    geometry = Geometry((2, 2, 2), affine)
    affine[0, 0] = 5.0
    assert geometry.spacing_mm == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 5.0


def test_voxels_of_a_microscope_that_lie_a_voxel_apart_are_on_another_grid():
    grid = Geometry.from_spacing((8, 8, 8), (5e-4, 5e-4, 1e-3))
    moved = Geometry(grid.shape, grid.affine + 5e-4 * np.eye(4, k=3))
    assert not grid.close_to(moved)
    assert grid.rounding_mm == pytest.approx(5e-5)
    rounded = Geometry(grid.shape, grid.affine.astype(np.float32))
    assert grid.close_to(rounded)
    assert Geometry.from_spacing((8, 8), (0.5, 0.7)).rounding_mm == 1e-3
    label = LabelMap(np.eye(8, dtype=np.uint8)[..., None].repeat(8, axis=2), grid)
    np.testing.assert_array_equal(resample_label(label, moved).array[:-1], label.array[1:])
