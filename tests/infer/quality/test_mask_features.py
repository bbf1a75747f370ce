"""Features of a label map: its size and components."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.infer.quality.mask_features import mask_features
from vesal.volume.geometry import Geometry


def test_components_of_a_label_map_are_counted(labels: LabelSet) -> None:
    label = np.zeros((20, 20, 20), dtype=np.uint8)
    grid = Geometry.from_spacing(label.shape, (1.0, 1.0, 1.0))
    empty = mask_features(label, grid, labels)
    label[2:8, 2:8, 2:8] = 1
    whole = mask_features(label, grid, labels)
    label[15:17, 15:17, 15:17] = 1
    two = mask_features(label, grid, labels)
    assert (whole["organ components"], two["organ components"]) == (0.0, pytest.approx(np.log(2)))
    assert two["organ largest"] == pytest.approx(216 / 224)
    assert empty["organ volume"] < whole["organ volume"] < two["organ volume"]
    assert list(empty) == list(whole)


def test_on_the_disk_a_map_has_the_same_features_and_too_large_a_class_is_refused(
    labels: LabelSet, all_on_disk: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    label = np.zeros((20, 24, 18), dtype=np.uint8, order="F")
    label[2:8, 3:9, 4:10] = 1
    label[15:18, 15:17, 12:17] = 1
    grid = Geometry(label.shape, np.array([[0, 0, 2.0, 0], [-1.0, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 0, 1.0]]))
    expected = mask_features(label, grid, labels)
    # The voxels' mean place along each RAS axis, -1 to 1.
    turned = grid.turn_to_ras().apply(label)
    middle = [
        (2 * places.mean() + 1) / size - 1
        for places, size in zip(np.nonzero(turned), turned.shape, strict=True)
    ]
    assert [expected[f"organ centre {axis}"] for axis in range(3)] == pytest.approx(middle)
    with all_on_disk():
        assert mask_features(label, grid, labels) == expected
        monkeypatch.setattr("vesal.memory_limit.room", lambda: 1000)
        with pytest.raises(DataError, match=r"estimate the quality of the result .* \(--no-quality\)"):
            mask_features(label, grid, labels)
