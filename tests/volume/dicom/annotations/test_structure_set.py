"""Structure sets that people and other programs drew: names, holes, planes between the slices, what is no area."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vesal.errors import DataError
from vesal.volume.dicom.annotations.structure_set import Roi, rasterised, rois
from vesal.volume.geometry import Geometry

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

GRID = Geometry.from_world((10, 10, 4), np.diag([1.0, 1.0, 2.0, 1.0]), "LPS")


def square(low: float, high: float, z: float) -> np.ndarray[Any, Any]:
    return np.array([(low, low, z), (high, low, z), (high, high, z), (low, high, z)])


def item(**elements: Any) -> Any:
    one = pydicom.Dataset()
    for keyword, value in elements.items():
        setattr(one, keyword, value)
    return one


def header(contours: dict[int, list[tuple[str, np.ndarray[Any, Any]]]], names: dict[int, str]) -> Any:
    found = item()
    found.StructureSetROISequence = [item(ROINumber=number, ROIName=name) for number, name in names.items()]
    found.ROIContourSequence = [
        item(
            ReferencedROINumber=number,
            ContourSequence=[
                item(ContourGeometricType=kind, ContourData=[f"{value:.4f}" for value in points.ravel()])
                for kind, points in of
            ],
        )
        for number, of in contours.items()
    ]
    return found


def test_regions_have_the_names_and_the_order_that_a_person_gave() -> None:
    area = [("CLOSED_PLANAR", square(1, 5, 0))]
    found = rois(header({7: area, 2: area, 9: area}, {2: "Lung L", 7: " GTV ", 9: "GTV"}), "rt.dcm")
    assert [(roi.number, roi.name) for roi in found] == [(2, "Lung L"), (7, "GTV"), (9, "GTV (9)")]


def test_points_and_open_lines_are_no_areas() -> None:
    found = rois(
        header({1: [("POINT", np.zeros((1, 3)))], 2: [("OPEN_PLANAR", square(1, 5, 0))]}, {1: "I", 2: "L"}),
        "x",
    )
    assert found == []


def test_a_contour_within_another_is_a_hole_and_two_beside_are_both_there() -> None:
    roi = Roi(1, "ring", (square(0.5, 8.5, 2), square(2.5, 5.5, 2), square(6.5, 7.5, 4), square(0.5, 1.5, 4)))
    mask, remark = rasterised(roi, GRID)
    assert remark == ""
    assert mask[:, :, 1].sum() == 64 - 9
    assert mask[:, :, 2].sum() == 2
    assert not mask[:, :, (0, 3)].any()


def test_contours_between_slices_belong_to_the_nearer_one_and_the_nearest_plane_wins() -> None:
    mask, _ = rasterised(Roi(1, "a", (square(0.5, 4.5, 2.6), square(0.5, 6.5, 2.2))), GRID)
    assert mask[:, :, 1].sum() == 36
    assert mask.sum() == 36


def test_contours_half_a_slice_off_leave_no_slice_out() -> None:
    contours = tuple(square(0.5, 4.5, height) for height in (1, 3, 5))  # between slices at 0, 2, 4 and 6
    mask, remark = rasterised(Roi(1, "a", contours), GRID)
    assert mask.sum(axis=(0, 1)).tolist() == [0, 16, 16, 16]
    assert remark == ""


def test_slices_without_a_contour_and_contours_outside_the_scan_are_told() -> None:
    mask, remark = rasterised(
        Roi(1, "a", (square(0.5, 4.5, 0), square(0.5, 4.5, 6), square(0.5, 4.5, 60))), GRID
    )
    assert mask.sum() == 32
    assert (
        remark
        == "'a': 1 contour outside the scan left out, no contour on 2 slices between its first and last."
    )


def test_contours_across_the_slices_are_refused() -> None:
    across = np.array([(1.0, 1.0, 0.0), (4.0, 1.0, 0.0), (4.0, 1.0, 6.0), (1.0, 1.0, 6.0)])
    with pytest.raises(DataError, match="'a' run across the slices"):
        rasterised(Roi(1, "a", (across,)), GRID)


def test_numbers_that_are_no_points_are_refused() -> None:
    with pytest.raises(DataError, match=r"rt\.dcm has a contour of 5 numbers"):
        rois(header({1: [("CLOSED_PLANAR", np.zeros(5))]}, {1: "a"}), "rt.dcm")
