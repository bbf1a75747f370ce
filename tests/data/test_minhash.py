"""Marks that scans share where one was cut from the other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from vesal.data.minhash import MARKS, marks, minhash


def scan(seed: int, shape: tuple[int, ...] = (48, 40, 36)) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0).astype(np.float32)


def shared(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the first one's marks that the other has."""
    first, second = marks(minhash(one)), marks(minhash(other))
    return np.isin(first, second).mean()


@pytest.mark.parametrize("shape", [(48, 40, 36), (200, 180)])
def test_a_change_of_contrast_or_type_changes_no_mark(shape: tuple[int, ...]) -> None:
    image = scan(0, shape)
    assert 0 < marks(minhash(image)).size <= MARKS
    assert shared(image, np.exp(image)) == 1.0
    assert shared(image, image.astype(np.float64)) == 1.0


def test_a_crop_and_a_shift_keep_marks_and_another_scan_has_none_of_them() -> None:
    image = scan(1)
    assert shared(image[8:, 4:-4], image) > 0.5
    assert shared(np.roll(image, 5, axis=0), image) > 0.5
    assert shared(scan(2), image) < 0.05


@pytest.mark.parametrize(
    "image", [np.zeros((3, 3, 3)), np.zeros((20, 20)), np.arange(1000.0).reshape(10, 10, 10)]
)
def test_a_scan_without_patterns_has_no_marks(image: np.ndarray) -> None:
    assert minhash(image) == ""
    assert marks("").size == 0
