"""Components and holes of label maps, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from vesal.infer import components
from vesal.infer.components import component_sizes, holes, label_components, largest_component

ONE = np.arange(256) == 1


def mask(shape: tuple[int, ...], share: float = 0.4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


@pytest.mark.parametrize("shape", [(40, 30), (20, 15, 12)])
@pytest.mark.parametrize("corners", [True, False])
def test_components_are_those_of_scipy(shape: tuple[int, ...], corners: bool) -> None:
    structure = ndimage.generate_binary_structure(len(shape), len(shape) if corners else 1)
    expected, count = ndimage.label(mask(shape), structure)
    found, found_count = label_components(mask(shape), corners=corners)
    assert found_count == count
    np.testing.assert_array_equal(found, expected)


def test_more_components_than_16_bits_hold_are_numbered() -> None:
    array = np.zeros((520, 520), dtype=bool)
    array[::2, ::2] = True
    found, count = label_components(array)
    assert count == found.max() == 67_600


@pytest.mark.parametrize("order", ["C", "F"])
def test_sizes_are_counted_slab_by_slab(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_SLAB_VOXELS", 50)
    found, count = label_components(mask((20, 15, 12)))
    expected = np.bincount(found.ravel(), minlength=count + 1)
    np.testing.assert_array_equal(component_sizes(np.array(found, order=order), count), expected)  # type: ignore[call-overload]


def test_of_equal_components_the_first_by_the_first_axis_is_the_largest() -> None:
    numbers = np.array([[0, 0, 1], [2, 0, 1], [2, 0, 0]])
    assert largest_component(numbers, np.array([5, 2, 2])) == 1
    assert largest_component(numbers[::-1], np.array([5, 2, 2])) == 2


@pytest.mark.parametrize("shape", [(40, 30), (20, 15, 12)])
def test_holes_of_a_single_class_are_those_of_scipy(shape: tuple[int, ...]) -> None:
    values = mask(shape, 0.6).astype(np.uint8)
    numbers, inside = holes(values, ONE)
    expected = ndimage.binary_fill_holes(values) & (values == 0)
    assert expected.any()
    np.testing.assert_array_equal(inside[numbers], expected)


def test_background_beside_another_class_is_no_hole() -> None:
    values = np.ones((5, 5), dtype=np.uint8)
    values[2, 2] = 0
    assert holes(values, ONE)[1].tolist() == [False, True]
    values[2, 3] = 2
    assert holes(values, ONE)[1].tolist() == [False, False]
