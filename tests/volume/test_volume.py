"""An image or label in space, and pictures that do not say where they lie."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume

NEAR = Geometry.from_spacing((4, 3), (1, 1))
FAR = Geometry.from_spacing((4, 3), (0.2, 0.3))


def test_arrays_have_the_shape_of_their_grid():
    with pytest.raises(ValueError, match="is not"):
        Volume(np.zeros((1, 3, 4)), NEAR)
    with pytest.raises(ValueError, match="is not"):
        LabelMap(np.zeros((3, 4), dtype=np.uint8), NEAR)
    with pytest.raises(ValueError, match="integers"):
        LabelMap(np.zeros((4, 3)), NEAR)


@pytest.mark.parametrize("placed", [(True, False), (False, True), (False, False)])
def test_a_label_lies_on_its_image_where_one_of_them_does_not_say_where(placed):
    label = LabelMap(np.zeros((4, 3), dtype=np.uint8), NEAR, placed[0])
    assert label.beside(Volume(np.zeros((1, 4, 3)), FAR, placed[1])).geometry is FAR


def test_a_label_stays_where_it_is_where_both_say_where_or_shapes_differ():
    label = LabelMap(np.zeros((4, 3), dtype=np.uint8), NEAR)
    assert label.beside(Volume(np.zeros((1, 4, 3)), FAR)) is label
    other = Geometry.from_spacing((3, 4), (1, 1))
    assert label.beside(Volume(np.zeros((1, 3, 4)), other, False)) is label
