"""Shaded pictures of surfaces."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.report.figures.render import Camera, render_meshes
from vesal.report.figures.surfaces import class_surfaces, surface
from vesal.volume.geometry import Geometry

LABELS = LabelSet.from_values({"background": 0, "inner": 1, "outer": 2})


def render_surfaces(maps, geometry, labels, **options):
    return render_meshes([class_surfaces(map_, geometry, labels) for map_ in maps], labels, **options)


def ball(shape: tuple[int, ...], spacing: tuple[float, ...], centre_mm: tuple[float, ...], radius_mm: float):
    grid = np.stack(
        np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    )
    offset = grid - np.array(centre_mm).reshape(3, 1, 1, 1)
    return (offset**2).sum(axis=0) <= radius_mm**2


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
