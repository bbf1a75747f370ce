"""A case's files -> its image and label map, each file read once; and how many cases fit into memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.data.dataset import Case
from vesal.data.labels import Threshold
from vesal.errors import DataError
from vesal.files import content_hash, file_digest
from vesal.memory_limit import array as memory_array
from vesal.memory_limit import breathe, limit, require, rows_at_once
from vesal.parallel import workers_within
from vesal.text import times
from vesal.volume.dicom.series_file import read_filled
from vesal.volume.formats.raw_bytes import read_bytes
from vesal.volume.geometry import Array, Geometry
from vesal.volume.io import data_files, open_volume, read_geometry, read_label, read_stored_label, read_volume
from vesal.volume.volume import LabelMap, Volume

#: Channels whose grids part by less than this share of a voxel at the farthest corner are on one grid.
_CHANNEL_TOLERANCE_VOXELS = 0.01

#: Of each file: what a compressed header may need before its bytes come out.
_HEAD_BYTES = 1 << 14

#: Peak bytes a voxel and channel, with the label's: 12 were measured in fingerprints, 22 in preparation (voxels
#: of the finer grid), 17 in scoring.
VOXEL_BYTES = 24

#: So many of the largest files are looked into: files are packed more or less tightly.
_LOOKED_INTO = 16


@dataclass(frozen=True, eq=False)
class RawCase:
    """A case as its files hold it.

    Attributes:
        image: all channels, (C, *spatial), floating.
        label: in its own grid, with the file's own values; None without a label file.
        digest: of the bytes of all files, those that headers name included.
        heads: the first bytes of the first image's file and of the label's (b'' without one).
    """

    image: Volume
    label: LabelMap | None
    digest: str
    heads: tuple[bytes, bytes] = (b"", b"")


def read_case(case: Case) -> RawCase:
    """Read image and label of a case, each file once. The label's grid is not compared with the image's.

    Raises:
        DataError: a file is absent or damaged, or the channels lie on different grids; the message names the
            case and the files.
    """
    image, parts = _read_channels(case)
    label, heads = None, (parts[0][:_HEAD_BYTES], b"")
    if case.label is not None:
        try:
            if case.label.is_dir():
                label = read_case_label(case, image)
                for mask in data_files(case.label):
                    parts += [mask.name.encode(), read_bytes(mask)]
            else:
                data = read_bytes(case.label)
                heads = (heads[0], data[:_HEAD_BYTES])
                label = read_case_label(case, image, data)
                parts += [data, *_detached(case.label, data)]
        except DataError as error:
            raise DataError(f"Case {case.id}: {error}") from error
    return RawCase(image, label, content_hash(*parts), heads)


def read_case_label(case: Case, image: Volume | None = None, data: bytes | None = None) -> LabelMap:
    """Read the label of a case that has one, where its image lies if the file does not say where.

    Args:
        case: with a label.
        image: of the case, if it was read.
        data: the label file's bytes, if they were read.

    Raises:
        DataError: as `read_label`.
    """
    assert case.label is not None
    if case.threshold is None:
        label = read_label(case.label, data, case.segment_values)
    else:
        label = read_soft_label(case.label, case.threshold, data)
    if image is not None:
        return label.beside(image)
    return replace(label, geometry=_grid(label, case))


def read_soft_label(path: Path, threshold: Threshold, data: bytes | None = None) -> LabelMap:
    """The label map of a soft mask.

    Raises:
        DataError: as `read_stored_label`.
    """
    stored = read_stored_label(path, data)
    # NaN is not at or above anything.
    drawn = stored.array[0] >= threshold.at
    value = np.min_scalar_type(threshold.value).type(threshold.value)
    array = np.where(drawn, value, value.dtype.type(0))
    return LabelMap(array, stored.geometry, stored.placed, not np.array_equal(array, stored.array[0]))


def read_image(case: Case, *, floating: bool = True) -> Volume:
    """Read all channels of a case, (C, *spatial), floating or, if not so wanted, in a type that keeps the files'.

    Raises:
        DataError: as in `read_case`.
    """
    return _read_channels(case, floating=floating)[0]


def read_image_and_digest(case: Case) -> tuple[Volume, str]:
    """`read_image`, and the digest of the bytes of its files: the same scan gives the same, wherever it lies.

    Raises:
        DataError: as in `read_case`.
    """
    if limit() is not None:
        return _opened(case), image_digest(case)
    volume, parts = _read_channels(case)
    return volume, content_hash(*parts)


def image_digest(case: Case) -> str:
    """The digest of `read_image_and_digest`, of a scan that need not be read for it.

    Raises:
        DataError: a file is absent or damaged.
        OSError: a file cannot be read.
    """
    return file_digest(*(file for path in case.images for file in data_files(path)))


def _opened(case: Case) -> Volume:
    """The channels as the files hold them, which may lie on the disk."""
    volumes = []
    for path in case.images:
        try:
            filled = read_filled(path) if case.fill_slices else None
            volumes.append(_as_agreed(open_volume(path) if filled is None else filled, case))
        except DataError as error:
            raise DataError(f"Case {case.id}: {error}") from error
    _same_grid(case, [volume.geometry for volume in volumes])
    if len(volumes) == 1:
        return volumes[0]
    return Volume(_one_array(volumes), volumes[0].geometry)


def _read_channels(case: Case, *, floating: bool = True) -> tuple[Volume, list[bytes]]:
    parts, volumes = [], []
    for path in case.images:
        try:
            data = read_bytes(path)
            filled = read_filled(path) if case.fill_slices else None
            volume = _as_agreed(read_volume(path, data) if filled is None else filled, case)
            if floating and volume.array.dtype.kind != "f":
                volume = replace(volume, array=volume.array.astype(np.float32))
            volumes.append(volume)
            parts += [data, *_detached(path, data)]
        except DataError as error:
            raise DataError(f"Case {case.id}: {error}") from error
    _same_grid(case, [volume.geometry for volume in volumes])
    if len(volumes) == 1:
        return volumes[0], parts
    return Volume(_one_array(volumes), volumes[0].geometry), parts


def _as_agreed(volume: Volume, case: Case) -> Volume:
    """A picture with the channels and the size of a pixel that the data set agrees on."""
    array = volume.array if case.channels is None else grey_or_colour(volume.array, case.channels)
    return Volume(array, _grid(volume, case), volume.placed)


def grey_or_colour(array: Array, channels: int) -> Array:
    """A picture (C, X, Y) in grey (1) as three equal channels, or three equal channels as grey; else as it is."""
    if channels == 3 and len(array) == 1:
        return np.repeat(array, 3, axis=0)
    equal = channels == 1 and len(array) == 3 and all(np.array_equal(array[0], one) for one in array[1:])
    return array[:1] if equal else array


def _grid(image: Volume | LabelMap, case: Case) -> Geometry:
    if image.placed or case.pixel_mm is None:
        return image.geometry
    shape = image.geometry.shape
    return Geometry.from_spacing(shape, (*case.pixel_mm, 1.0)[: len(shape)])


def files_of(case: Case) -> tuple[Path, ...]:
    """All files of a case, those that headers name included.

    Raises:
        DataError: a header is absent or damaged, or names a file elsewhere.
    """
    return tuple(file for path in case.files for file in data_files(path))


def scan_workers(
    scans: Sequence[Path], *, channels: int = 1, spacing_mm: Sequence[float] | None = None
) -> int:
    """Threads for work on scans that the CPUs (at most 16) and the memory are enough for, at least 1.

    The largest scan's header decides; files without a readable header are left out.

    Args:
        scans: one file of each.
        channels: of each scan.
        spacing_mm: of the axes that are resampled, if they are.

    Raises:
        DataError: a limit of memory has no room for the largest scan alone.
    """
    voxels, largest = 0.0, None
    for path in sorted(scans, key=_size, reverse=True)[:_LOOKED_INTO]:
        try:
            grid = read_geometry(path)
        except (DataError, OSError):
            continue
        # How many times more voxels the finer of both grids has, at most: whatever axis the slices are along.
        growth = 1.0
        if spacing_mm is not None:
            coarsest = sorted(grid.spacing_mm)[-len(spacing_mm) :]
            growth = max(1.0, math.prod(coarsest) / math.prod(spacing_mm))
        if (own := math.prod(grid.shape) * growth) > voxels:
            voxels, largest = own, path
    needed = int(voxels * channels * VOXEL_BYTES)
    require(needed, f"Work on {largest}", "leave this scan out")
    return workers_within(needed)


def _detached(path: Path, data: bytes) -> list[bytes]:
    # A header's voxels are read once more here: they are in the system's memory, and such files are rare.
    return [read_bytes(file) for file in data_files(path, data)[1:]]


def _one_array(volumes: Sequence[Volume]) -> NDArray[Any]:
    """All channels in one array, each a whole stretch of memory with the first axis fastest, as files hold it."""
    arrays = [volume.array for volume in volumes]
    shape = (sum(len(array) for array in arrays), *arrays[0].shape[:0:-1])
    made = memory_array(shape, np.result_type(*arrays))
    joined = made.transpose(0, *range(made.ndim - 1, 0, -1))
    for channel, target in zip((one for array in arrays for one in array), joined, strict=True):
        rows = rows_at_once(channel.shape[-1], 2 * channel[..., 0].nbytes)
        for first in range(0, channel.shape[-1], rows):
            target[..., first : first + rows] = channel[..., first : first + rows]
            breathe()
    return joined


def _same_grid(case: Case, grids: Sequence[Geometry]) -> None:
    for path, grid in zip(case.images[1:], grids[1:], strict=True):
        if grid.shape != grids[0].shape:
            gap = f"{times(grids[0].shape)} and {times(grid.shape)} voxels"
        elif (distance := grid.distance_mm(grids[0])) > grid_tolerance_mm(grids[0]):
            gap = f"{distance:.3g} mm apart at the farthest corner"
        else:
            continue
        raise DataError(
            f"Case {case.id}: the channels {case.images[0]} and {path} lie on different grids ({gap}); "
            "resample one onto the other."
        )


def grid_tolerance_mm(grid: Geometry) -> float:
    """How far apart (mm, at the farthest corner) two files of one scan may lie and count as on one grid."""
    return max(grid.rounding_mm, _CHANNEL_TOLERANCE_VOXELS * min(grid.spacing_mm))


def _size(path: Path) -> int:
    try:
        return sum(file.stat().st_size for file in data_files(path))
    except (DataError, OSError):
        return 0
