"""Features of a label map: its size and components."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.data.labels import LabelSet
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
