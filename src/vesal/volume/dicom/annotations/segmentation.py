"""DICOM segmentations (SEG): named segments, and each one's mask on its own grid or on that of a scan."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vesal.errors import DataError
from vesal.text import plural
from vesal.volume.dicom.extra import needed
from vesal.volume.dicom.frame import Frame
from vesal.volume.dicom.frames import frames_of
from vesal.volume.dicom.header import decoding
from vesal.volume.dicom.stack import Stack
from vesal.volume.geometry import Geometry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

#: A voxel of a fractional segmentation belongs to its segment from this share of the highest value on.
_HALF = 0.5

#: Frames that lie off the grid by more than this (voxels, at a corner) are on another one.
_OFF = 0.1


@dataclass(frozen=True)
class DicomSegment:
    """A segment of a segmentation object.

    Attributes:
        number: in the object, from 1.
        name: its label.
        code: (value, scheme, meaning) of its type, such as ('10200004', 'SCT', 'Liver').
        colour: '#rrggbb', or ''.
    """

    number: int
    name: str
    code: tuple[str, str, str]
    colour: str = ""


def segments_of(header: Dataset) -> list[DicomSegment]:
    """The segments that the header describes, by their numbers; names that are there twice get their number."""
    found: dict[str, DicomSegment] = {}
    described = sorted(header.get("SegmentSequence") or [], key=lambda one: int(one.SegmentNumber))
    for one in described:
        number = int(one.SegmentNumber)
        # Number 0 of a label map is the background.
        if number == 0:
            continue
        name = str(one.get("SegmentLabel", "")).strip() or f"segment {number}"
        name = name if name not in found else f"{name} ({number})"
        code = (one.get("SegmentedPropertyTypeCodeSequence") or [None])[0]
        parts = (
            ("", "", "")
            if code is None
            else tuple(
                str(code.get(key, "")) for key in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
            )
        )
        found[name] = DicomSegment(number, name, (parts[0], parts[1], parts[2]), _colour(one))
    return list(found.values())


#: Slices for each one that has a frame; a segmentation leaves out those that hold nothing.
_MOST_SLICES = 100


def grid_of(frames: Sequence[Frame], where: str) -> Geometry:
    """The grid on which the frames of a segmentation lie, where no scan gives one; empty slices need no frame.

    Raises:
        DataError: they lie on no common grid.
    """
    first = frames[0]
    heights = np.unique(np.round([frame.position_mm @ first.normal for frame in frames], 3))
    step = float(np.diff(heights).min()) if len(heights) > 1 else float(max(first.pixel_mm))
    count = int(np.rint((heights[-1] - heights[0]) / step)) + 1
    if count > _MOST_SLICES * len(heights):
        raise DataError(
            f"{where} has frames {step:g} mm apart over {heights[-1] - heights[0]:g} mm; keep it beside its scan."
        )
    lowest = min(frames, key=lambda frame: float(frame.position_mm @ first.normal))
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * first.pixel_mm[0]
    affine[:3, 1] = first.directions[1] * first.pixel_mm[1]
    affine[:3, 2] = first.normal * step
    affine[:3, 3] = lowest.position_mm
    grid = Geometry.from_world((*first.shape, count), affine, "LPS")
    for frame in frames:
        _slice_of(frame, grid, where)
    return grid


def segment_masks(
    header: FileDataset, where: str, stack: Stack | None, only: Container[str] | None = None
) -> tuple[Geometry, Iterator[tuple[DicomSegment, NDArray[np.bool_]]]]:
    """The grid, and each segment's mask (columns, rows, slices) on it.

    Args:
        header: with the pixels.
        where: for messages.
        stack: slices of the scan; None where it is not at hand. Where the frames do not lie on them, their own grid is
            taken.
        only: names of the segments that are wanted; None for all.

    Raises:
        DataError: the frames lie on no common grid, or a frame says not of which segment it is.
    """
    frames = frames_of(where, header)
    found = [] if stack is None else [_slice_of_scan(frame, stack) for frame in frames]
    places = [place for place in found if place is not None]
    if stack is not None and len(places) == len(frames):
        grid = stack.geometry
    else:
        grid = grid_of(frames, where)
        places = [_slice_of(frame, grid, where) for frame in frames]
    wanted = [one for one in segments_of(header) if only is None or one.name in only]
    return grid, _masks(header, places, where, grid, wanted)


def _masks(
    header: FileDataset, places: Sequence[int], where: str, grid: Geometry, wanted: Sequence[DicomSegment]
) -> Iterator[tuple[DicomSegment, NDArray[np.bool_]]]:
    """Each segment's mask; `places`: the slice of each frame."""
    kind = str(header.get("SegmentationType", "BINARY"))
    if kind == "LABELMAP":
        numbers = np.zeros(grid.shape, dtype=np.uint16)
        for number, place in enumerate(places):
            numbers[:, :, place] = _stored(header, number, len(places), where).T
        for segment in wanted:
            yield segment, numbers == segment.number
        return
    least = 1.0 if kind != "FRACTIONAL" else _HALF * float(header.get("MaximumFractionalValue") or 255)
    of_segment = _segment_numbers(header, where)
    for segment in wanted:
        mask = np.zeros(grid.shape, dtype=bool)
        for number, place in enumerate(places):
            if of_segment[number] == segment.number:
                values = _stored(header, number, len(places), where).T
                mask[:, :, place] |= values >= least
        yield segment, mask


def _stored(header: FileDataset, number: int, count: int, where: str) -> NDArray[Any]:
    """(rows, columns) of a frame."""
    with decoding(where):
        if header.get("BitsAllocated") == 1 and not header.file_meta.TransferSyntaxUID.is_compressed:
            return _unpacked(header, number)
        found: NDArray[Any] = needed("pydicom.pixels").pixel_array(header, index=number if count > 1 else 0)
        return found


def _unpacked(header: FileDataset, number: int) -> NDArray[np.uint8]:
    """(rows, columns) of a frame of bits, which need not begin with a byte: pydicom 3.0 loses some of those."""
    rows, columns = int(header.Rows), int(header.Columns)
    first = number * rows * columns
    held = np.frombuffer(header.PixelData, dtype=np.uint8)[first // 8 : -(-(first + rows * columns) // 8)]
    bits = np.unpackbits(held, bitorder="little")[first % 8 :][: rows * columns]
    return bits.reshape(rows, columns)


def _segment_numbers(header: Dataset, where: str) -> list[int]:
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    numbers = []
    for own in header.get("PerFrameFunctionalGroupsSequence") or []:
        found = own.get("SegmentIdentificationSequence") or (
            None if shared is None else shared.get("SegmentIdentificationSequence")
        )
        if not found:
            raise DataError(f"{where} has a frame that does not say of which segment it is; export it again.")
        numbers.append(int(found[0].ReferencedSegmentNumber))
    return numbers


def _slice_of_scan(frame: Frame, stack: Stack) -> int | None:
    """The slice of a scan on which a frame lies; None where it lies on none.

    Slices may lie off the line of the others by a part of a pixel, by which headers round, and frames with them.
    """
    place, off = _offset(frame, stack.geometry)
    if off < _OFF and stack.geometry.shape[:2] == frame.shape:
        return place
    own = stack.frames[place] if 0 <= place < len(stack.frames) else None
    if own is None or not frame.parallel_to(own):
        return None
    apart_mm = float(np.abs(frame.position_mm - own.position_mm).max())
    return place if apart_mm < _OFF * min(own.pixel_mm) else None


def _offset(frame: Frame, grid: Geometry) -> tuple[int, float]:
    """The slice of the grid that is nearest to a frame, and how far off it lies (voxels, at the farthest corner)."""
    inverse = np.linalg.inv(Geometry.from_world(grid.shape, grid.affine, "LPS").affine)
    edges = frame.directions * np.array(frame.pixel_mm)[:, None] * (np.array(frame.shape) - 1)[:, None]
    corners = frame.position_mm + np.array([0 * edges[0], edges[0], edges[1], edges[0] + edges[1]])
    indices = corners @ inverse[:3, :3].T + inverse[:3, 3]
    place = int(np.rint(indices[:, 2].mean()))
    far = np.array(frame.shape) - 1
    expected = np.array([(0, 0, place), (far[0], 0, place), (0, far[1], place), (far[0], far[1], place)])
    off = float(np.abs(indices - expected).max())
    return place, off if 0 <= place < grid.shape[2] else np.inf


def _slice_of(frame: Frame, grid: Geometry, where: str) -> int:
    place, off = _offset(frame, grid)
    if off >= _OFF:
        raise DataError(
            f"{where} has frames that lie on no common grid ({plural(1, 'frame')} is {off:.2g} voxels off); "
            "export it on the grid of its scan."
        )
    return place


def _colour(segment: Dataset) -> str:
    """'#rrggbb' of the recommended CIELab value (PS3.3 C.10.7.1.1), by highdicom's conversion."""
    value = segment.get("RecommendedDisplayCIELabValue")
    if not value:
        return ""
    red, green, blue = needed("highdicom.color").CIELabColor.from_dicom_value(tuple(value)).to_rgb()
    return f"#{red:02x}{green:02x}{blue:02x}"
