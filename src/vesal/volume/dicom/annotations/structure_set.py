"""Structure sets (RTSTRUCT) -> masks on the grid of the scan that they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vesal.errors import DataError
from vesal.text import listed, plural
from vesal.volume.dicom.annotations.contours import Polygon, fill
from vesal.volume.geometry import Geometry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Contours that enclose an area (PS3.3 C.8.8.6.1); points and open lines do not.
_AREAS = ("CLOSED_PLANAR", "CLOSED_PLANAR_XOR", "CLOSEDPLANAR_XOR")

#: A contour whose points part by more than this, in slices, runs across the slices.
_ACROSS = 0.5


@dataclass(frozen=True, eq=False)
class Roi:
    """A region of interest.

    Attributes:
        number: that the structure set gave it.
        name: that a person gave it, such as 'GTV-1'.
        contours: of each, (N, 3) in mm, LPS+.
    """

    number: int
    name: str
    contours: tuple[NDArray[np.float64], ...]


def rois(header: Dataset, where: str) -> list[Roi]:
    """The regions with an area that a structure set holds, in its order; names that are there twice get a number.

    Args:
        header: of the structure set.
        where: for messages.

    Raises:
        DataError: a contour has no whole number of points.
    """
    names = {
        int(one.ROINumber): str(one.get("ROIName", "")).strip() or f"ROI {one.ROINumber}"
        for one in header.get("StructureSetROISequence") or []
    }
    found: dict[str, Roi] = {}
    for one in header.get("ROIContourSequence") or []:
        number = int(one.ReferencedROINumber)
        contours = tuple(
            _points(item, where)
            for item in one.get("ContourSequence") or []
            if str(item.get("ContourGeometricType", "")) in _AREAS
        )
        if not contours:
            continue
        name = names.get(number, f"ROI {number}")
        name = name if name not in found else f"{name} ({number})"
        found[name] = Roi(number, name, contours)
    order = list(names)
    return sorted(
        found.values(), key=lambda roi: order.index(roi.number) if roi.number in order else len(order)
    )


def _points(item: Dataset, where: str) -> NDArray[np.float64]:
    values = np.array([float(value) for value in item.get("ContourData") or []])
    if values.size % 3 or not np.isfinite(values).all():
        raise DataError(
            f"{where} has a contour of {values.size} numbers, which are no points; export it again."
        )
    return values.reshape(-1, 3)


def rasterised(roi: Roi, geometry: Geometry) -> tuple[NDArray[np.bool_], str]:
    """The voxels whose centres lie within the region's contours.

    Contours of a slice that lie within one another are holes. A contour between two slices belongs to the nearer one,
    and in the middle to the later one, so that a set which lies half a slice off fills one slice after the other. Where
    contours of several planes lie nearest to one slice, the nearest plane is the slice's.

    Args:
        roi: of a structure set.
        geometry: of the scan, (columns, rows, slices).

    Returns:
        (columns, rows, slices), and a remark on what was left out or is missing; '' where nothing is.

    Raises:
        DataError: contours run across the slices.
    """
    planes = _planes(roi, geometry)
    mask = np.zeros(geometry.shape, dtype=bool)
    nearest: dict[int, float] = {}
    outside = 0
    for height in planes:
        index = int(np.floor(height + 0.5))
        if not 0 <= index < geometry.shape[2]:
            outside += len(planes[height])
        elif index not in nearest or abs(height - index) < abs(nearest[index] - index):
            nearest[index] = height
    for index, height in nearest.items():
        mask[:, :, index] = fill(planes[height], (geometry.shape[0], geometry.shape[1]))
    return mask, _remark(roi, nearest, outside)


def _planes(roi: Roi, geometry: Geometry) -> dict[float, list[Polygon]]:
    """Height of a plane, in slices -> its contours in indices (column, row)."""
    inverse = np.linalg.inv(Geometry.from_world(geometry.shape, geometry.affine, "LPS").affine)
    planes: dict[float, list[Polygon]] = {}
    for points in roi.contours:
        if len(points) < 3:
            continue
        indices = points @ inverse[:3, :3].T + inverse[:3, 3]
        heights = indices[:, 2]
        if np.ptp(heights) > _ACROSS:
            raise DataError(
                f"Contours of '{roi.name}' run across the slices of the scan; draw or export them on its slices."
            )
        # Rounded, so that contours of one plane are one.
        planes.setdefault(round(float(np.median(heights)), 2), []).append(indices[:, :2])
    return planes


def _remark(roi: Roi, slices: Mapping[int, float], outside: int) -> str:
    parts = []
    if outside:
        parts.append(f"{plural(outside, 'contour')} outside the scan left out")
    if slices:
        gaps = sorted(set(range(min(slices), max(slices) + 1)) - set(slices))
        if gaps:
            parts.append(f"no contour on {plural(len(gaps), 'slice')} between its first and last")
    return f"'{roi.name}': {listed(parts)}." if parts else ""


def masks(found: Sequence[Roi], geometry: Geometry) -> Iterator[tuple[str, NDArray[np.bool_], str]]:
    """Name, mask and remark of each region, one after the other."""
    for roi in found:
        yield roi.name, *rasterised(roi, geometry)
