"""Boxes around labels, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from vesal.volume.label_boxes import label_boxes


@pytest.mark.parametrize("values", [3, 40])
@pytest.mark.parametrize("order", ["C", "F"])
def test_boxes_of_labels_are_scipys(values: int, order: str) -> None:
    generator = np.random.default_rng(values)
    label = np.zeros((9, 14, 11), np.uint8, order)  # type: ignore[call-overload]
    label[2:7, 3:, 1:9] = generator.integers(0, values + 1, (5, 11, 8)) * (generator.random((5, 11, 8)) < 0.2)
    expected = {
        value: box for value, box in enumerate(ndimage.find_objects(label), start=1) if box is not None
    }
    assert list(label_boxes(label).items()) == list(expected.items())
    assert label_boxes(np.zeros((2, 3), np.uint8)) == {}
