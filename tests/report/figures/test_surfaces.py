"""Surfaces of classes: where they lie, which way they look, and what is never lost."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.report.figures.surfaces import class_surfaces, surface
from vesal.volume.geometry import Geometry


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
