"""A file of a series stands for the whole of it, as where people choose scans: its folder holds the other slices.

So paths remain all that a data set or a prediction needs to know of a scan. Where a series has several phases, the file
stands for its own. A segmentation or structure set is read on the grid of the series that it refers to, which lies in
its folder or in one beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vesal.errors import DataError
from vesal.text import listed
from vesal.volume.dicom.annotations.segmentation import segment_masks, segments_of
from vesal.volume.dicom.annotations.structure_set import masks, rois
from vesal.volume.dicom.dicom_scan import DicomScan, scans
from vesal.volume.dicom.header import decoding, read_header, read_object
from vesal.volume.dicom.series import SEGMENTATIONS, STRUCTURE_SET, Study, read_study, referenced_series
from vesal.volume.dicom.source import is_dicom_file, open_source
from vesal.volume.dicom.tilt import straight, straightened
from vesal.volume.geometry import Array, Geometry
from vesal.volume.resample import resample_label
from vesal.volume.segments import Segment, is_named, join_layers, join_named
from vesal.volume.volume import LabelMap, Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Folders whose headers are kept in memory.
_KEPT = 4

#: A series is looked for in so many folders above that of what refers to it, and in those below each.
_ABOVE, _MOST_FOLDERS = 2, 2000


def scan_of(path: Path, *, fill: bool = False) -> DicomScan:
    """The scan to which a file of slices belongs.

    Args:
        path: of one of its files.
        fill: see `vesal.volume.dicom.stack.stacks`.

    Raises:
        DataError: the file is no slice of a scan, or the slices make no volume.
    """
    study = _study(path.parent)
    series = next((one for one in study.series if any(f.file == path.name for f in one.frames)), None)
    if series is None:
        what = next(
            (what for what, files in study.left_out.items() if path.name in files), "no slice of a scan"
        )
        raise DataError(f"{path} is {what}; name the series of a scan.")
    found = [
        scan
        for scan in scans(study, series, fill=fill)
        if any(frame is not None and frame.file == path.name for frame in scan.stack.frames)
    ]
    if len(found) > 1:
        phases = listed([scan.stack.phase for scan in found])
        raise DataError(f"{path} holds {len(found)} phases ({phases}); export the one that is meant.")
    return found[0]


def read(path: Path, _: bytes = b"") -> Volume:
    """A scan, straightened where the gantry was tilted, (1, columns, rows, slices); or the layers of a segmentation or
    structure set, see `read_layers`.

    Raises:
        DataError: the file or another of its series is damaged, or the slices make no volume.
    """
    if _annotates(_header(path)):
        layers, geometry, _segments = read_layers(path)
        return Volume(layers, geometry)
    scan = scan_of(path)
    return straightened(scan.read(), modality=scan.series.modality)


def read_filled(path: Path) -> Volume:
    """A scan as `read` gives it, with slices that are missing filled in from their neighbours."""
    scan = scan_of(path, fill=True)
    return straightened(scan.read(), modality=scan.series.modality)


def read_geometry(path: Path) -> Geometry:
    """The grid of what `read` gives; of a scan from the headers alone."""
    if _annotates(_header(path)):
        return read(path).geometry
    return straight(scan_of(path).stack.geometry)


def read_named(path: Path, values: Mapping[str, int] | None) -> LabelMap:
    """A segmentation or structure set as a label map.

    Args:
        path: of it.
        values: name of a segment -> value, see `join_named`: people draw much on a scan that is no label of theirs.
            None takes all, see `join_layers`.

    Raises:
        DataError: the file is damaged, is a scan, or has none of the names.
    """
    if not _annotates(_header(path)):
        raise DataError(f"{path} is of a scan where a segmentation or structure set was expected; name that.")
    layers, geometry, segments = read_layers(path, values)
    if values is None:
        return LabelMap(join_layers(layers, segments, path, None), geometry)
    joined, overlaps = join_named(layers, segments, path, values)
    return LabelMap(joined, geometry, overlaps=overlaps)


def read_layers(
    path: Path, values: Mapping[str, int] | None = None
) -> tuple[Array, Geometry, tuple[Segment, ...]]:
    """The segments of an annotation, in as few layers as keep those apart that share voxels.

    Args:
        path: of it.
        values: only segments that it names, alone or joined to others, are read; None reads all.

    Returns:
        (L, columns, rows, slices), on the grid of the scan where that is found; that grid; and what lies where.

    Raises:
        DataError: the file is damaged, has none of the names, or its scan is not found and is needed.
    """
    header = read_object(open_source(path), path.name)
    with decoding(path):
        scan = _referenced(path, header)
        there = _names(path, header)
        wanted = [name for name in there if values is None or is_named(name, values)]
        if not wanted:
            what = (
                "holds no segment"
                if values is None
                else f"holds none of the labels {listed(list(values), 4)}"
            )
            raise DataError(f"{path} {what}; it holds {listed(there, 8) or 'nothing'}.")
        found: Iterator[tuple[str, str, NDArray[np.bool_]]]
        if _kind(header) == STRUCTURE_SET:
            if scan is None:
                raise DataError(
                    f"{path} was drawn on a series that lies neither in its folder nor beside it; put the scan there."
                )
            grid = scan.stack.geometry
            drawn = [roi for roi in rois(header, str(path)) if roi.name in wanted]
            found = ((name, "", mask) for name, mask, _ in masks(drawn, grid))
        else:
            grid, parts = segment_masks(header, str(path), None if scan is None else scan.stack, wanted)
            found = ((segment.name, segment.colour, mask) for segment, mask in parts)
        return _packed(found, grid)


def files(path: Path) -> tuple[Path, ...]:
    """All files of the scan to which a file belongs, that one first; of an annotation itself."""
    if _annotates(_header(path)):
        return (path,)
    # Whether a slice is missing is for those to say who read them.
    scan = scan_of(path, fill=True)
    others = {frame.file for frame in scan.stack.frames if frame is not None} - {path.name}
    return (path, *(path.parent / name for name in sorted(others)))


def names(path: Path) -> list[str]:
    """What an annotation calls its segments or regions, from its header alone."""
    header = _header(path)
    with decoding(path):
        return _names(path, header)


def _names(path: Path, header: Dataset) -> list[str]:
    if _kind(header) == STRUCTURE_SET:
        return [roi.name for roi in rois(header, str(path))]
    return [segment.name for segment in segments_of(header)]


def _kind(header: Dataset) -> str:
    return str(header.get("SOPClassUID", ""))


def _annotates(header: Dataset) -> bool:
    return _kind(header) in (*SEGMENTATIONS, STRUCTURE_SET)


def _header(path: Path) -> Dataset:
    header = read_header(open_source(path), path.name)
    if header is None:
        raise DataError(f"{path} is no DICOM object; name a file of a series.")
    with decoding(path):
        _kind(header)  # what everything else is asked by
    return header


def _study(folder: Path) -> Study:
    state = folder.stat()
    return _read_study(folder, state.st_mtime_ns)


@lru_cache(maxsize=_KEPT)
def _read_study(folder: Path, _changed: int) -> Study:
    return read_study(open_source(folder, below=False))


def _packed(
    found: Iterator[tuple[str, str, NDArray[np.bool_]]], grid: Geometry
) -> tuple[Array, Geometry, tuple[Segment, ...]]:
    """Masks in as few layers as keep those apart that share voxels, on the straight grid."""
    target = straight(grid)
    layers: list[NDArray[np.uint8]] = []
    segments: list[Segment] = []
    for name, colour, mask in found:
        drawn = mask
        if target is not grid:
            drawn = resample_label(LabelMap(mask.astype(np.uint8), grid), target).array != 0
        layer = next((n for n, one in enumerate(layers) if not one[drawn].any()), None)
        if layer is None:
            layers.append(np.zeros(target.shape, dtype=np.uint8, order="F"))
            layer = len(layers) - 1
        value = 1 + sum(one.layer == layer for one in segments)
        layers[layer][drawn] = value
        segments.append(Segment(name, value, layer, colour))
    return np.stack(layers), target, tuple(segments)


def _referenced(path: Path, header: Dataset) -> DicomScan | None:
    """The scan that an annotation was drawn on; None where it is not found."""
    wanted = referenced_series(header)
    space = str(header.get("FrameOfReferenceUID", ""))
    for series in _study(path.parent).series:
        # What names no series was drawn on one of its own space.
        if series.frames and (
            series.uid in wanted or (not wanted and space and series.frame_of_reference == space)
        ):
            return scan_of(path.parent / series.frames[0].file)
    for folder in _near(path.parent) if wanted else ():
        if (first := _first_of(folder, wanted)) is not None:
            return scan_of(first)
    return None


def _near(folder: Path) -> Iterator[Path]:
    """The folders beside it and below these, then those one level further up."""
    seen = {folder}
    top = folder
    for _ in range(_ABOVE):
        top = top.parent
        for path in itertools.islice(sorted(top.rglob("*/")), _MOST_FOLDERS):
            if path.is_dir() and path not in seen:
                seen.add(path)
                yield path


def _first_of(folder: Path, wanted: Sequence[str]) -> Path | None:
    """The folder's first file where it is of one of the series: exports keep series apart."""
    first = next((path for path in sorted(folder.iterdir()) if is_dicom_file(path)), None)
    if first is None or str(_header(first).get("SeriesInstanceUID", "")) not in wanted:
        return None
    return first
