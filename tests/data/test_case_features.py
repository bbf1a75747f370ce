"""What checks compare between cases: small pictures, slices, islands, faces."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.data.case_features import BLOCKS, CaseFeatures, case_features_of, unpack
from vesal.data.labels import LabelSet
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume

LABELS = LabelSet.from_values({"background": 0, "organ": 1, "tumour": 3, "ignore": 9})
SHAPE = (20, 30, 10)


def features(
    image: np.ndarray, label: np.ndarray | None = None, grid: Geometry | None = None
) -> CaseFeatures:
    grid = grid or Geometry.from_spacing(image.shape, (1.0, 2.0, 3.0))
    drawn = None if label is None else LabelMap(label, grid)
    return case_features_of(Volume(image[None], grid), drawn, LABELS, [(0.0, 10.0)], grid.turn_to_ras())


def box(*sides: slice) -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    label[sides] = 1
    return label


def test_the_picture_is_of_means_between_the_limits() -> None:
    image = np.zeros(SHAPE, np.float32)
    image[10:] = 5.0
    image[:, 15:] = 99.0
    picture = unpack(features(image).picture).reshape(BLOCKS, BLOCKS, BLOCKS)
    assert picture[:5, :5] == pytest.approx(0.0)
    assert picture[5:, :5] == pytest.approx(0.5, abs=1 / 255)
    assert picture[:, 5:] == pytest.approx(1.0)


def test_blank_slices_count_between_others_along_the_coarsest_axis_alone() -> None:
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    assert features(image).blank_slices == 0
    image[..., [0, 4, 5]] = 7.0
    image[3] = 7.0
    assert features(image).blank_slices == 2


def test_saturation_is_the_share_of_the_brightest() -> None:
    image = np.zeros(SHAPE, np.float32)
    image[:5] = 10.0
    assert features(image).saturated == (0.25,)


def test_a_label_is_described_by_its_box() -> None:
    image = np.zeros(SHAPE, np.float32)
    found = features(image, box(slice(4, 8), slice(0, 15), slice(2, 10))).label
    assert found is not None
    assert found.box_mm == (4.0, 30.0, 24.0)
    assert found.place == pytest.approx((0.3, 0.25, 0.6))
    assert found.faces == (1.0, 1.0, 0.0, 1.0, 1.0, 0.0)  # 0 where the box ends with the image
    assert found.gaps_mm == (4.0, 12.0, 0.0, 30.0, 6.0, 0.0)
    assert found.islands == 0


def test_pieces_with_empty_planes_between_them_are_islands() -> None:
    label = box(slice(4, 8), slice(4, 8), slice(2, 4))
    label[4, 4, 8] = 3
    found = features(np.zeros(SHAPE, np.float32), label).label
    assert found is not None
    assert (found.islands, found.island_voxels, found.island_gap_mm) == (1, 1, 15.0)


def test_the_digest_of_a_label_is_that_of_its_box_whatever_surrounds_it() -> None:
    image = np.zeros(SHAPE, np.float32)
    first = features(image, box(slice(4, 8), slice(4, 8), slice(2, 4))).label
    moved = features(image, box(slice(9, 13), slice(5, 9), slice(0, 2))).label
    larger = features(image, box(slice(4, 9), slice(4, 8), slice(2, 4))).label
    assert first is not None
    assert moved is not None
    assert larger is not None
    assert first.digest == moved.digest != larger.digest


def test_no_label_none_drawn_and_one_on_another_grid_have_no_features() -> None:
    image = np.zeros(SHAPE, np.float32)
    assert features(image).label is None
    assert features(image, np.zeros(SHAPE, np.uint8)).label is None
    ignored = np.full(SHAPE, 9, np.uint8)
    assert features(image, ignored).label is None
    grid = Geometry.from_spacing(SHAPE, (1.0, 2.0, 3.0))
    other = Geometry.from_spacing((2, 2, 2), (1.0, 1.0, 1.0))
    label = LabelMap(np.ones((2, 2, 2), np.uint8), other)
    found = case_features_of(Volume(image[None], grid), label, LABELS, [(0.0, 1.0)], grid.turn_to_ras())
    assert found.label is None


def test_a_turned_scan_has_the_same_features() -> None:
    generator = np.random.default_rng(1)
    image = generator.uniform(0, 10, SHAPE).astype(np.float32)
    label = box(slice(4, 8), slice(0, 15), slice(2, 10))
    grid = Geometry.from_spacing(SHAPE, (1.0, 2.0, 3.0))
    turned = Geometry(SHAPE, grid.affine @ np.diag([-1.0, 1.0, 1.0, 1.0]))
    straight = features(image, label, grid)
    flipped = features(image[::-1], label[::-1], turned)
    assert straight.picture == flipped.picture
    assert straight.label is not None
    assert flipped.label is not None
    assert straight.label.place == flipped.label.place
