"""Surfaces: shapes in, shaded pictures out."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.report.figures.render import Camera, render_surfaces
from vesal.report.figures.surfaces import class_surfaces, surface
from vesal.volume.geometry import Geometry

LABELS = LabelSet.from_values({"background": 0, "inner": 1, "outer": 2})


def ball(shape: tuple[int, ...], spacing: tuple[float, ...], centre_mm: tuple[float, ...], radius_mm: float):
    grid = np.stack(
        np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    )
    offset = grid - np.array(centre_mm).reshape(3, 1, 1, 1)
    return (offset**2).sum(axis=0) <= radius_mm**2


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 4.0), (2.0, 1.0, 1.5)])
def test_the_surface_of_a_ball_lies_at_its_radius_around_its_centre_whatever_the_spacing(spacing):
    shape = tuple(int(60 / step) for step in spacing)
    mesh = surface(ball(shape, spacing, (30, 28, 32), 18), Geometry.from_spacing(shape, spacing))
    distance = np.linalg.norm(mesh.vertices - [30, 28, 32], axis=1)
    assert distance.mean() == pytest.approx(18, abs=0.6 + max(spacing) / 4)
    assert np.allclose(mesh.vertices.mean(axis=0), [30, 28, 32], atol=max(spacing) / 2)


def test_normals_point_outwards_under_a_mirroring_affine_too():
    mask = ball((40, 40, 40), (1, 1, 1), (20, 20, 20), 12)
    for affine in (np.diag([1.0, 1, 1, 1]), np.diag([-1.0, 1, 1, 1])):
        mesh = surface(mask, Geometry(mask.shape, affine))
        outwards = mesh.vertices - mesh.vertices.mean(axis=0)
        assert (mesh.normals * outwards).sum(axis=1).min() > 0


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 3), (2, 2, 40)])
def test_a_speck_still_has_a_surface(shape):
    mask = np.zeros((12, 12, 44), dtype=bool)
    mask[tuple(slice(1, 1 + n) for n in shape)] = True
    mesh = surface(mask, Geometry.from_spacing(mask.shape, (1, 1, 1)))
    assert len(mesh.faces) > 4


def test_an_empty_mask_has_no_surface_and_an_empty_map_is_a_transparent_picture():
    geometry = Geometry.from_spacing((8, 8, 8), (1, 1, 1))
    assert surface(np.zeros((8, 8, 8), dtype=bool), geometry) is None
    pictures = render_surfaces([np.zeros((8, 8, 8), dtype=np.uint8)], geometry, LABELS, size=32)
    assert pictures[0].shape == (32, 32, 4)
    assert not pictures[0].any()


def test_a_ball_is_round_filled_and_shaded_from_the_upper_left():
    label = ball((40, 40, 40), (1, 1, 1), (20, 20, 20), 14).astype(np.uint8)
    picture = render_surfaces([label], Geometry.from_spacing(label.shape, (1, 1, 1)), LABELS, size=120)[0]
    covered = picture[..., 3] > 128
    assert covered.mean() == pytest.approx(np.pi / 4 * 0.92**2, abs=0.03)
    assert covered[60, 10:110].all()
    brightness = picture[..., :3].sum(axis=-1).astype(int)
    assert brightness[35, 40] > brightness[90, 80] + 60


def test_the_patients_left_is_on_the_right_of_the_page_seen_from_the_front():
    label = np.zeros((30, 30, 30), dtype=np.uint8)
    label[4:8, 12:18, 12:18] = 1  # low x: the patient's left
    label[22:26, 12:18, 12:18] = 2
    geometry = Geometry.from_spacing(label.shape, (1, 1, 1))
    picture = render_surfaces([label], geometry, LABELS, size=100, camera=Camera(0, 0))[0].astype(int)
    # 'inner' is orange, 'outer' is blue.
    assert picture[50, 85, 0] > picture[50, 85, 2]
    assert picture[50, 15, 2] > picture[50, 15, 0]


def test_the_nearer_of_two_hides_the_other():
    label = np.zeros((30, 30, 30), dtype=np.uint8)
    label[10:20, 2:10, 10:20] = 1
    label[10:20, 20:28, 10:20] = 2  # high y: in front
    geometry = Geometry.from_spacing(label.shape, (1, 1, 1))
    front = render_surfaces([label], geometry, LABELS, size=60, camera=Camera(0, 0))[0].astype(int)
    behind = render_surfaces([label], geometry, LABELS, size=60, camera=Camera(180, 0))[0].astype(int)
    assert front[30, 30, 2] > front[30, 30, 0]
    assert behind[30, 30, 0] > behind[30, 30, 2]


def test_a_shell_is_translucent_so_that_what_it_holds_is_seen():
    label = ball((40, 40, 40), (1, 1, 1), (20, 20, 20), 16).astype(np.uint8) * 2
    alone = render_surfaces([label], Geometry.from_spacing(label.shape, (1, 1, 1)), LABELS, size=80)[0]
    label[ball((40, 40, 40), (1, 1, 1), (20, 20, 20), 8)] = 1
    holding = render_surfaces([label], Geometry.from_spacing(label.shape, (1, 1, 1)), LABELS, size=80)[0]
    assert alone[40, 15, 3] == 255
    assert holding[40, 15, 3] < 200
    assert holding[40, 40, 0] > holding[40, 40, 2]  # the orange ball shines through the blue shell


def test_truth_and_prediction_are_seen_at_one_scale():
    truth = ball((40, 40, 40), (1, 1, 1), (20, 20, 20), 14).astype(np.uint8)
    prediction = ball((40, 40, 40), (1, 1, 1), (20, 20, 20), 7).astype(np.uint8)
    geometry = Geometry.from_spacing(truth.shape, (1, 1, 1))
    large, small = (
        picture[..., 3] > 128 for picture in render_surfaces([truth, prediction], geometry, LABELS, size=90)
    )
    assert np.sqrt(large.sum() / small.sum()) == pytest.approx(2, abs=0.2)


def test_the_same_map_gives_the_same_picture():
    label = ball((30, 30, 30), (1, 1, 1), (15, 15, 15), 10).astype(np.uint8)
    geometry = Geometry.from_spacing(label.shape, (1, 1, 1))
    first, second = (render_surfaces([label], geometry, LABELS, size=60)[0] for _ in range(2))
    assert np.array_equal(first, second)


def enclosed(mesh) -> float:
    """Volume in mm3, positive where the faces turn outwards."""
    a, b, c = mesh.vertices[mesh.faces].astype(float).transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 3.5)])
@pytest.mark.parametrize("radius_voxels", [1.0, 1.5, 2.0, 3.0, 6.0])
def test_smoothing_takes_less_than_half_a_voxel_from_the_radius_of_a_ball(spacing, radius_voxels):
    radius = radius_voxels * max(spacing)
    shape = tuple(int((2 * radius + 8) / step) for step in spacing)
    centre = tuple(step * (n // 2) for n, step in zip(shape, spacing, strict=True))
    mask = ball(shape, spacing, centre, radius)
    mesh = surface(mask, Geometry.from_spacing(shape, spacing))
    true, found = (
        (volume * 3 / 4 / np.pi) ** (1 / 3) for volume in (mask.sum() * np.prod(spacing), enclosed(mesh))
    )
    voxel = np.prod(spacing) ** (1 / 3)
    assert -0.5 * voxel < found - true < 0.25 * voxel


@pytest.mark.parametrize(
    ("shape", "spacing"), [((57, 52, 53), (4.2, 0.8, 4.4)), ((70, 60, 420), (1, 1, 0.5))]
)
def test_specks_far_apart_have_a_surface_each_though_the_grid_is_coarser_than_they_are(shape, spacing):
    mask = np.zeros(shape, dtype=bool)
    places = np.array([[5, 44, 1], [30, 4, 15], [31, 1, 40], [41, 44, shape[2] - 3]])
    mask[tuple(places.T)] = True
    mesh = surface(mask, Geometry.from_spacing(shape, spacing))
    for place in places:
        distance = np.linalg.norm(mesh.vertices - place * np.array(spacing), axis=1)
        assert distance.min() < 2 * max(spacing)


def test_a_speck_and_a_thread_beside_a_large_ball_keep_their_surfaces():
    mask = ball((60, 60, 60), (1, 1, 1), (30, 30, 30), 14)
    mask[3, 3, 3] = True
    mask[30, 30, 44:58] = True
    mesh = surface(mask, Geometry.from_spacing(mask.shape, (1, 1, 1)))
    assert np.linalg.norm(mesh.vertices - 3, axis=1).min() < 0.6
    assert mesh.vertices[:, 2].max() > 56.5
    assert np.linalg.norm(mesh.vertices - [30, 30, 51], axis=1).min() < 0.6


def test_the_steps_of_thick_slices_become_slopes():
    # A cone in slices of 6 mm: between slices the surface leans, as the cone does.
    x, y, z = np.meshgrid(np.arange(50.0), np.arange(50.0), np.arange(0, 54.0, 6), indexing="ij")
    mask = np.hypot(x - 25, y - 25) < 20 - z / 3
    mask[..., [0, -1]] = False
    mesh = surface(mask, Geometry.from_spacing(mask.shape, (1, 1, 6)))
    side = (mesh.vertices[:, 2] > 15) & (mesh.vertices[:, 2] < 35)
    assert mesh.normals[side, 2].mean() == pytest.approx(np.sin(np.arctan(1 / 3)), abs=0.05)
    assert mesh.normals[side, 2].std() < 0.2


def test_regions_have_the_surfaces_of_their_unions():
    labels = LabelSet.from_values(
        {"oedema": 1, "core": 2}, regions={"whole": ["oedema", "core"], "core": ["core"]}
    )
    map_ = ball((30, 30, 30), (1, 1, 1), (15, 15, 15), 10).astype(np.uint8)
    map_[ball((30, 30, 30), (1, 1, 1), (15, 15, 15), 5)] = 2
    whole, core = class_surfaces(map_, Geometry.from_spacing(map_.shape, (1, 1, 1)), labels)
    assert enclosed(whole) == pytest.approx((map_ > 0).sum(), rel=0.05)
    assert enclosed(core) == pytest.approx((map_ == 2).sum(), rel=0.1)


def test_a_class_is_meshed_in_its_own_box_where_it_lies_in_the_image():
    mask = ball((60, 50, 40), (1, 1, 2), (40, 30, 50), 9)
    geometry = Geometry.from_spacing(mask.shape, (1, 1, 2))
    whole = surface(mask, geometry)
    cut = surface(mask[20:, 10:, 5:], geometry, (20, 10, 5))
    np.testing.assert_allclose(cut.vertices, whole.vertices, atol=1e-4)


def test_many_classes_take_no_more_memory_than_one():
    labels = LabelSet.from_values({f"c{value}": value for value in range(1, 41)})
    label = np.zeros((160, 160, 160), np.uint8)
    for value in range(1, 41):
        label[3 * value : 3 * value + 3, 20:24, 30:34] = value
    tracemalloc.start()
    render_surfaces([label], Geometry.from_spacing(label.shape, (1, 1, 1)), labels, size=16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * label.size
