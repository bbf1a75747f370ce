"""Shapes, noise and grids that phantoms are drawn with."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.phantoms.canvas import FAR_MM, Canvas, blend_union, rician
from vesal.volume.geometry import Geometry


@pytest.fixture
def canvas() -> Canvas:
    return Canvas(Geometry.from_spacing((41, 41, 41), (1.0, 1.0, 1.0)))


def test_shapes_are_distances_to_their_surface(canvas: Canvas) -> None:
    radius = np.linalg.norm(canvas.points, axis=0)
    ball = canvas.ellipsoid((0.0, 0.0, 0.0), (10.0, 10.0, 10.0))
    near = np.abs(radius - 10.0) < 3.0
    np.testing.assert_allclose(ball[near], (radius - 10.0)[near], atol=0.8)
    x, y, _ = canvas.points
    tube = canvas.tubes([([(0.0, 0.0, -50.0), (0.0, 0.0, 50.0)], (4.0, 4.0))])
    aside = np.hypot(x, y)
    np.testing.assert_allclose(tube[aside < 15.0], (aside - 4.0)[aside < 15.0], atol=1e-3)
    assert tube.max() == FAR_MM


def test_a_union_holds_both_shapes_and_fills_the_crease(canvas: Canvas) -> None:
    left, right = (canvas.ellipsoid((x, 0.0, 0.0), (8.0, 8.0, 8.0)) for x in (-7.0, 7.0))
    sharp, blended = np.minimum(left, right), blend_union(left, right, 4.0)
    assert (blended <= sharp + 1e-4).all()
    assert (blended < 0).sum() > (sharp < 0).sum()


def test_paint_is_soft_over_a_voxel(canvas: Canvas) -> None:
    image = np.zeros(canvas.shape, np.float32)
    canvas.paint(image, canvas.ellipsoid((0.0, 0.0, 0.0), (10.0, 10.0, 10.0)), 100.0)
    assert image[20, 20, 20] == 100.0
    assert image[0, 0, 0] == 0.0
    assert ((image > 5.0) & (image < 95.0)).any()


def test_noise_has_mean_0_and_variance_1_and_follows_its_seed() -> None:
    canvas = Canvas(Geometry.from_spacing((64, 64, 64), (1.0, 1.0, 1.0)))
    field = canvas.noise(np.random.default_rng(0), 2.0)
    assert abs(field.mean()) < 0.1
    assert abs(field.std() - 1.0) < 0.1
    np.testing.assert_array_equal(field, canvas.noise(np.random.default_rng(0), 2.0))


def test_rician_noise_raises_the_background_to_its_known_mean() -> None:
    found = rician(np.random.default_rng(0), np.zeros((50, 50, 50), np.float32), 10.0)
    assert found.mean() == pytest.approx(10.0 * np.sqrt(np.pi / 2.0), rel=0.01)


def test_a_grid_keeps_its_axes_nearest_to_those_of_the_patient() -> None:
    for seed in range(8):
        canvas = Canvas.lay(
            np.random.default_rng(seed), (20, 24, 16), (200.0, 240.0, 160.0), tilt_degrees=10.0
        )
        nearest = np.abs(canvas.geometry.affine[:3, :3]).argmax(axis=0)
        assert nearest.tolist() == [0, 1, 2]
