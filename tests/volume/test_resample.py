"""Resampling: exact where it can be, and equal to scipy, torch, skimage and SimpleITK where it cannot."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from skimage.transform import resize as skimage_resize

from vesal.volume import interpolation
from vesal.volume.geometry import Geometry
from vesal.volume.interpolation import linear_taps, same_view
from vesal.volume.resample import resample_label, resample_volume, resize, resize_label
from vesal.volume.volume import LabelMap, Volume

SHAPES = [(20, 9, 5), (13, 4, 40), (26, 18, 34), (1, 1, 1), (7, 5, 17)]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def upright(seed: int, shape: tuple[int, ...]) -> Geometry:
    """A random orientation, spacing and origin near the middle."""
    generator = np.random.default_rng(seed)
    turn = np.eye(3)[generator.permutation(3)] * generator.choice([-1, 1], 3)
    return centred(turn, generator, shape)


def oblique(seed: int, shape: tuple[int, ...]) -> Geometry:
    generator = np.random.default_rng(seed)
    return centred(Rotation.random(rng=generator).as_matrix(), generator, shape)


def centred(turn: np.ndarray, generator: np.random.Generator, shape: tuple[int, ...]) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = turn * generator.uniform(0.8, 1.5, 3)
    affine[:3, 3] = generator.uniform(-2, 2, 3) - affine[:3, :3] @ (np.asarray(shape) / 2)
    return Geometry(shape, affine)


def to_itk(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    spacing, origin, direction = geometry.to_lps()
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction.ravel().tolist())
    return image


def by_itk(array: np.ndarray, source: Geometry, target: Geometry, kind: int, fill: float) -> np.ndarray:
    reference = to_itk(np.zeros(target.shape, array.dtype), target)
    return sitk.GetArrayFromImage(
        sitk.Resample(to_itk(array, source), reference, sitk.Transform(), kind, fill)
    ).T


# --- resize --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_order_1_is_torchs_interpolate(shape):
    array = noise(2, 13, 9, 17)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(array)[None].double(), size=shape, mode="trilinear", align_corners=False
    )[0]
    np.testing.assert_allclose(resize(array, shape, 1), expected.numpy(), atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_order_0_is_torchs_nearest_exact(shape):
    array = noise(2, 13, 9, 17)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(array)[None], size=shape, mode="nearest-exact"
    )[0]
    np.testing.assert_array_equal(resize(array, shape, 0), expected.numpy())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [1, 3])
def test_resize_is_scipys_zoom_of_the_same_view(shape, order):
    array = noise(2, 13, 9, 17).astype(np.float64)
    factors = np.asarray(shape) / array.shape[1:]
    expected = [ndimage.zoom(part, factors, order=order, mode="nearest", grid_mode=True) for part in array]
    np.testing.assert_allclose(resize(array, shape, order), expected, atol=5e-6)


@pytest.mark.parametrize("shape", [(20, 9), (5, 30)])
@pytest.mark.parametrize("order", [1, 3])
def test_resize_is_skimages_in_two_dimensions(shape, order):
    array = noise(1, 11, 14)
    expected = skimage_resize(array[0], shape, order=order, mode="edge", anti_aliasing=False, clip=False)
    np.testing.assert_allclose(resize(array, shape, order)[0], expected, atol=5e-6)


@pytest.mark.parametrize("order", [1, 3])
def test_a_linear_ramp_stays_one_away_from_the_borders(order):
    shape, new = (40, 36, 44), (67, 25, 44)
    axes = np.meshgrid(*[np.arange(size, dtype=np.float64) for size in shape], indexing="ij")
    ramp = 2.0 * axes[0] - 3.0 * axes[1] + 0.5 * axes[2]
    where = [(np.arange(m) + 0.5) * n / m - 0.5 for n, m in zip(shape, new, strict=True)]
    grid = np.meshgrid(*where, indexing="ij")
    expected = 2.0 * grid[0] - 3.0 * grid[1] + 0.5 * grid[2]
    inside = (slice(20, -20), slice(9, -9), slice(None))
    np.testing.assert_allclose(resize(ramp[None], new, order)[0][inside], expected[inside], atol=1e-3)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_constant_stays_what_it_is(order):
    assert np.allclose(resize(np.full((1, 5, 6, 7), 42.5), (11, 3, 7), order), 42.5, atol=1e-5)


def test_nothing_is_done_where_nothing_is_asked():
    array = noise(2, 5, 6, 7)
    assert resize(array, (5, 6, 7), 3) is array
    integers = np.arange(8, dtype=np.int16).reshape(1, 2, 2, 2)
    assert resize(integers, (2, 2, 2), 3).dtype == np.float32
    np.testing.assert_array_equal(resize(integers, (2, 2, 2), 3), integers)
    label = np.zeros((5, 6, 7), dtype=np.uint8)
    assert resize_label(label, (5, 6, 7), 1) is label


@pytest.mark.parametrize("order", [0, 1, 3])
def test_the_order_in_memory_and_the_type_do_not_matter(order):
    array = np.random.default_rng(0).integers(-99, 99, (2, 8, 9, 10)).astype(np.int16)
    expected = resize(array.astype(np.float32), (5, 13, 10), order)
    for other in (np.asfortranarray(array), array[..., ::-1][..., ::-1], array.astype(np.float64)):
        np.testing.assert_allclose(resize(other, (5, 13, 10), order), expected, atol=1e-4)


def test_nan_stays_where_it_is_under_order_1():
    array = noise(1, 20, 6, 6)
    array[0, 10] = np.nan
    result = resize(array, (40, 6, 6), 1)
    assert np.isnan(result[0, 19:23]).all()
    assert np.isfinite(result[0, :18]).all()
    assert np.isfinite(result[0, 24:]).all()


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="order"):
        resize(noise(1, 4, 4), (5, 5), 2)
    with pytest.raises(ValueError, match="spatial axes"):
        resize(noise(1, 4, 4), (5, 5, 5), 1)
    with pytest.raises(ValueError, match="order 0 or 1"):
        resize_label(np.zeros((4, 4), np.uint8), (5, 5), 3)
    flat = Volume(noise(1, 4, 4), Geometry.from_spacing((4, 4), (1, 1)))
    with pytest.raises(ValueError, match="2D"):
        resample_volume(flat, Geometry.from_spacing((4, 4, 4), (1, 1, 1)))


# --- labels --------------------------------------------------------------------------------------------


def blobs(shape: tuple[int, ...], classes: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(generator.normal(size=shape), 1.5) for _ in range(classes)]
    return np.argmax(fields, axis=0).astype(np.uint8)


@pytest.mark.parametrize("shape", [(20, 9, 5), (26, 36, 34), (13, 18, 40), (1, 1, 1)])
@pytest.mark.parametrize("slab", [1 << 23, 500])
def test_labels_take_the_largest_share_whatever_the_slabs(monkeypatch, shape, slab):
    monkeypatch.setattr("vesal.volume.resample._SLAB_VOXELS", slab)
    label = blobs((13, 18, 17), 5)
    label[label == 4] = 255
    values = [0, 1, 2, 3, 255]
    shares = np.stack([resize((label == value)[None].astype(np.float64), shape, 1)[0] for value in values])
    order = np.sort(shares, axis=0)
    clear = order[-1] - order[-2] > 1e-5
    result = resize_label(label, shape, 1)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[clear], np.array(values, np.uint8)[shares.argmax(axis=0)][clear])
    assert clear.mean() > 0.5


def test_a_resized_image_lies_in_memory_as_it_came_and_is_the_same():
    image = np.random.default_rng(0).random((7, 8, 9), np.float32)
    taps = linear_taps(same_view(8, 5), 8)
    turned = taps.apply(np.asfortranarray(image), 1)
    assert turned.flags.f_contiguous
    assert np.array_equal(turned, taps.apply(image, 1))


def test_order_0_takes_the_nearest_label():
    label = blobs((13, 9), 4)
    expected = ndimage.zoom(label, (20 / 13, 30 / 9), order=0, mode="nearest", grid_mode=True)
    np.testing.assert_array_equal(resize_label(label, (20, 30), 0), expected)


def test_equal_shares_go_to_the_lower_value():
    label = np.array([0, 1, 3, 2], dtype=np.uint8)
    assert resize_label(label, (2,), 1).tolist() == [0, 2]


def test_twice_as_fine_and_back_is_the_same():
    label = blobs((12, 14, 10), 3)
    fine = resize_label(label, (36, 42, 30), 1)
    np.testing.assert_array_equal(resize_label(fine, (12, 14, 10), 0), label)


def test_a_large_map_needs_little_memory_beside_its_result():
    label = np.zeros((256, 256, 256), dtype=np.uint8)
    for value in range(1, 30):
        label[8 * value : 8 * value + 20, 30:220, 5 * value : 5 * value + 60] = value
    tracemalloc.start()
    resize_label(label, (300, 300, 300), 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 27e6 + 250e6


# --- onto any grid -------------------------------------------------------------------------------------


def test_the_very_same_grid_gives_the_very_same_object():
    geometry = oblique(0, (5, 6, 7))
    volume = Volume(noise(2, 5, 6, 7), geometry)
    assert resample_volume(volume, Geometry((5, 6, 7), geometry.affine.copy())) is volume
    label = LabelMap(np.zeros((5, 6, 7), np.uint8), geometry)
    assert resample_label(label, geometry) is label


def test_a_grid_that_differs_by_rounding_keeps_every_voxel():
    geometry = oblique(0, (5, 6, 7))
    rounded = Geometry((5, 6, 7), geometry.affine.astype(np.float32))
    volume = Volume(noise(2, 5, 6, 7), geometry)
    result = resample_volume(volume, rounded)
    assert result.array is volume.array
    assert np.array_equal(result.geometry.affine, rounded.affine)


@pytest.mark.parametrize("make", [upright, oblique])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("order", "kind"), [(0, sitk.sitkNearestNeighbor), (1, sitk.sitkLinear)])
def test_any_grid_agrees_with_simpleitk(make, seed, order, kind):
    source, target = make(seed, (20, 22, 18)), make(seed + 10, (30, 20, 28))
    array = ndimage.gaussian_filter(noise(20, 22, 18, seed=seed), 1)
    result = resample_volume(Volume(array[None], source), target, order, -7.0)
    expected = by_itk(array, source, target, kind, -7.0)
    assert 0.02 < (expected == -7.0).mean() < 0.95
    np.testing.assert_allclose(result.array[0], expected, atol=1e-5)
    assert result.geometry is target


@pytest.mark.parametrize("make", [upright, oblique])
def test_cubic_agrees_with_simpleitk_away_from_the_borders(make):
    source, target = make(3, (40, 40, 40)), make(13, (14, 14, 14))
    array = ndimage.gaussian_filter(noise(40, 40, 40), 1)
    result = resample_volume(Volume(array[None], source), target, 3)
    expected = by_itk(array, source, target, sitk.sitkBSpline, 0.0)
    np.testing.assert_allclose(result.array[0], expected, atol=1e-4)


def test_cubic_is_the_same_by_axes_and_in_general():
    source, target = upright(1, (14, 15, 16)), upright(2, (13, 17, 12))
    array = noise(14, 15, 16)
    nudge = target.affine.copy()
    nudge[:3, :3] = Rotation.from_rotvec([3e-4, 0, 0]).as_matrix() @ nudge[:3, :3]
    upright_result = resample_volume(Volume(array[None], source), target, 3).array
    general_result = resample_volume(Volume(array[None], source), Geometry(target.shape, nudge), 3).array
    both = (upright_result != 0) & (general_result != 0)
    assert both.mean() > 0.3
    np.testing.assert_allclose(upright_result[both], general_result[both], atol=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_labels_agree_with_simpleitk_on_any_grid(seed):
    source, target = oblique(seed, (20, 22, 18)), oblique(seed + 10, (24, 16, 20))
    label = blobs((20, 22, 18), 4, seed).astype(np.int16) * 1000 - 5
    result = resample_label(LabelMap(label, source), target, fill=9)
    assert result.array.dtype == np.int16
    np.testing.assert_array_equal(result.array, by_itk(label, source, target, sitk.sitkNearestNeighbor, 9))


@pytest.mark.parametrize("order", [0, 1, 3])
def test_every_turn_and_whole_shift_copies_the_values(order):
    array = noise(2, 4, 5, 6)
    base = oblique(5, (4, 5, 6))
    for axes, flips in itertools.product(
        itertools.permutations(range(3)), itertools.product((0, 1), repeat=3)
    ):
        matrix = np.zeros((4, 4))
        turned = array.transpose(0, *(axis + 1 for axis in axes))
        for target, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
            matrix[axis, target] = -1 if flip else 1
            matrix[axis, 3] = array.shape[axis + 1] - 1 if flip else 0
        matrix[3, 3] = 1
        turned = np.flip(turned, [axis + 1 for axis, flip in enumerate(flips) if flip])
        grid = Geometry(turned.shape[1:], base.affine @ matrix)
        result = resample_volume(Volume(array, base), grid, order).array
        np.testing.assert_allclose(result, turned, atol=0 if order < 3 else 1e-5)
    shift = np.eye(4)
    shift[:3, 3] = (-1, 0, 2)
    padded = resample_volume(
        Volume(array, base), Geometry((6, 4, 4), base.affine @ shift), order, fill=-3.0
    ).array
    expected = np.pad(array, ((0, 0), (1, 1), (0, 0), (0, 0)), constant_values=-3.0)[:, :, :4, 2:]
    np.testing.assert_allclose(padded, expected, atol=0 if order < 3 else 1e-5)


def test_the_same_view_is_what_resize_gives():
    geometry = oblique(4, (12, 13, 14))
    array = noise(2, 12, 13, 14)
    for order in (0, 1, 3):
        result = resample_volume(Volume(array, geometry), geometry.with_shape((20, 9, 14)), order).array
        np.testing.assert_allclose(result, resize(array, (20, 9, 14), order), atol=1e-4)


def test_a_grid_elsewhere_is_all_fill():
    source = upright(0, (5, 6, 7))
    for turn in (np.eye(3), Rotation.from_rotvec([0.3, 0.2, 0.1]).as_matrix()):
        affine = np.eye(4)
        affine[:3, :3] = turn
        affine[:3, 3] = 5000
        for order in (0, 1, 3):
            result = resample_volume(
                Volume(noise(1, 5, 6, 7), source), Geometry((3, 4, 5), affine), order, 2.5
            )
            assert (result.array == 2.5).all()


@pytest.mark.parametrize("order", [0, 1, 3])
def test_slabs_make_no_difference(monkeypatch, order):
    source, target = oblique(1, (14, 15, 16)), oblique(2, (13, 17, 12))
    volume = Volume(noise(1, 14, 15, 16), source)
    whole = resample_volume(volume, target, order).array
    monkeypatch.setattr("vesal.volume.resample._SLAB_VOXELS", 300)
    np.testing.assert_allclose(resample_volume(volume, target, order).array, whole, atol=1e-6)


def test_flat_images_are_resampled_in_their_plane():
    source = Geometry.from_spacing((20, 30), (0.5, 0.7))
    angle = 0.4
    affine = np.array([[np.cos(angle), -np.sin(angle), 4], [np.sin(angle), np.cos(angle), 1], [0, 0, 1]])
    target = Geometry((12, 15), affine @ np.diag([0.6, 0.6, 1]))
    array = ndimage.gaussian_filter(noise(20, 30), 1)
    result = resample_volume(Volume(array[None], source), target, 1, -1.0).array[0]
    np.testing.assert_allclose(result, by_itk(array, source, target, sitk.sitkLinear, -1.0), atol=1e-5)


def test_order_0_keeps_the_type_and_the_others_give_floats():
    source, target = upright(0, (5, 6, 7)), upright(1, (5, 6, 7))
    volume = Volume(np.ones((1, 5, 6, 7), np.int16), source)
    assert resample_volume(volume, target, 0).array.dtype == np.int16
    assert resample_volume(volume, target, 1).array.dtype == np.float32
    assert resample_volume(volume, target, 3).array.dtype == np.float32


def test_four_channels_of_a_brain_take_seconds():
    array = noise(4, 120, 120, 80)
    start = time.perf_counter()
    for order in (0, 1, 3):
        resize(array, (100, 100, 67), order)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("size", [2, 3, 9, 60])
def test_spline_coefficients_are_scipys(size):
    values = np.random.default_rng(size).normal(size=(size, 5))
    expected = ndimage.spline_filter1d(values, 3, 0, mode="mirror")
    np.testing.assert_allclose(interpolation._spline_coefficients(values), expected, rtol=1e-12, atol=1e-12)
