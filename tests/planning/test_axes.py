"""Axes that follow from a plan: within thick slices, from left to right, mirrored."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.planning.axes import lateral_axis, mirror_axes, prepared_turn, warped_axes
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.volume.geometry import Geometry

SIDES = LabelSet.from_values({"kidney_left": 1, "kidney_right": 2})
ONE_SIDE = LabelSet.from_values({"kidney_left": 1, "liver": 2})
NO_SIDE = LabelSet.from_values({"tumour": 1})


def make_plan(
    spacing_mm: tuple[float, ...], slice_axis: int | None = None, labels: LabelSet = NO_SIDE
) -> Plan:
    dimension = len(spacing_mm)
    ones = (1,) * dimension
    return Plan(
        dimension=dimension,
        slice_axis=slice_axis,
        spacing_mm=spacing_mm,
        patch=(16,) * dimension,
        batch=2,
        stages=(Stage(features=8, kernel=(3,) * dimension, stride=ones),),
        normalisation=(Normalisation(scheme="zscore"),),
        mirror_axes=tuple(range(dimension)),
        channels=("MRI",),
        labels=labels,
        median_shape=(16,) * dimension,
    )


@pytest.mark.parametrize(
    ("spacing_mm", "axes"),
    [
        ((1.0, 1.0, 3.0), (0, 1, 2)),
        ((1.0, 1.0, 3.1), (0, 1)),
        ((5.0, 1.0, 1.2), (1, 2)),
        ((1.0, 4.0), (0, 1)),
    ],
)
def test_only_axes_within_thick_slices_are_warped(
    spacing_mm: tuple[float, ...], axes: tuple[int, ...]
) -> None:
    assert warped_axes(make_plan(spacing_mm)) == axes


def test_the_lateral_axis_is_the_first_one_unless_slices_are_sagittal_or_of_unknown_direction() -> None:
    assert lateral_axis(make_plan((1.0, 1.0, 1.0))) == 0
    assert [lateral_axis(make_plan((1.0, 1.0), axis)) for axis in (0, 1, 2, None)] == [None, 0, 0, None]


def test_axes_are_taken_in_the_plans_order_turned_to_ras_or_as_they_are_stored() -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    # Stored along P, R, S.
    grid = Geometry(array.shape, np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    plan = make_plan((1.0, 1.0, 1.0))
    turned = prepared_turn(grid, plan).apply(array)
    np.testing.assert_array_equal(turned, array[::-1].transpose(1, 0, 2))
    backwards = plan.model_copy(update={"axis_order": (2, 1, 0)})
    np.testing.assert_array_equal(prepared_turn(grid, backwards).apply(array), turned.transpose(2, 1, 0))
    stored = backwards.model_copy(update={"as_stored": True})
    np.testing.assert_array_equal(prepared_turn(grid, stored).apply(array), array.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("spacing_mm", "order", "axis"),
    [((1.0,) * 3, (2, 1, 0), 2), ((1.0,) * 2, (2, 1, 0), 1), ((1.0,) * 2, (0, 2, 1), None)],
)
def test_the_lateral_axis_follows_the_order_of_the_axes(
    spacing_mm: tuple[float, ...], order: tuple[int, ...], axis: int | None
) -> None:
    slice_axis = 0 if len(spacing_mm) == 2 else None
    assert lateral_axis(make_plan(spacing_mm, slice_axis).model_copy(update={"axis_order": order})) == axis


def test_an_order_that_does_not_name_every_axis_once_is_refused() -> None:
    plan = make_plan((1.0, 1.0, 1.0)).model_dump()
    with pytest.raises(ValueError, match="does not name the 3 axes"):
        Plan.model_validate(plan | {"axis_order": (0, 1, 1)})


def test_no_mirror_makes_a_left_organ_look_like_a_right_one() -> None:
    volume, axial, unknown = ((1.0,) * 3, None), ((1.0,) * 2, 2), ((1.0,) * 2, None)
    for spacing_mm, slice_axis in (volume, axial, unknown):
        every = tuple(range(len(spacing_mm)))
        assert mirror_axes(make_plan(spacing_mm, slice_axis, NO_SIDE)) == every
        sided = mirror_axes(make_plan(spacing_mm, slice_axis, SIDES))
        assert sided == (() if (spacing_mm, slice_axis) == unknown else every)
        lone = mirror_axes(make_plan(spacing_mm, slice_axis, ONE_SIDE))
        assert lone == (() if (spacing_mm, slice_axis) == unknown else every[1:])
