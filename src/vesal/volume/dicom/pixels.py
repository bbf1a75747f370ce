"""The values of slices: decoded, rescaled to the unit of the modality, and laid on the grid of their stack."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vesal.errors import DataError
from vesal.parallel import Progress
from vesal.text import times
from vesal.volume.dicom.extra import needed
from vesal.volume.dicom.frame import Frame
from vesal.volume.dicom.header import decoding, read_object
from vesal.volume.dicom.source import Source
from vesal.volume.dicom.stack import Stack
from vesal.volume.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

#: Pixels for each byte of the files: JPEG 2000 packs slices of one value to a thousandth, headers not counted.
_MOST_RATIO = 5000


def read_stack(source: Source, stack: Stack, progress: Progress | None = None) -> Volume:
    """The volume of a stack: (1, columns, rows, slices), in the modality's unit (HU in CT).

    Integers stay integers where slopes and intercepts are whole. A slice that is missing is the mean of its
    neighbours, weighted by their distance.

    Raises:
        DataError: an object cannot be decoded, or holds other pixels than its header says.
        UsageError: the library for its compression is not installed.
    """
    _not_more_than_there_is(source, stack)
    array = np.empty((1, *stack.geometry.shape), dtype=_type(stack), order="F")
    place = {id(frame): index for index, frame in enumerate(stack.frames) if frame is not None}
    frames = [frame for frame in stack.frames if frame is not None]
    # All frames of a file while it is open.
    frames.sort(key=lambda frame: (frame.file, frame.number))
    done = 0
    for name, group in groupby(frames, key=lambda frame: frame.file):
        for frame, pixels in _decoded(source, name, list(group)):
            array[0, :, :, place[id(frame)]] = _rescaled(pixels, frame, array.dtype).T
            done += 1
            if progress is not None:
                progress(done, len(frames))
    _fill(array[0], [frame is None for frame in stack.frames])
    return Volume(array, stack.geometry)


def _not_more_than_there_is(source: Source, stack: Stack) -> None:
    """A hostile header may promise terabytes; nothing is allocated for what so few bytes cannot hold.

    Raises:
        DataError: it does, or a file is gone.
    """
    names = {frame.file for frame in stack.frames if frame is not None}
    try:
        there = sum(source.file(name).stat().st_size for name in names)
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror or error}); copy or send the study again."
        ) from error
    if math.prod(stack.geometry.shape) > _MOST_RATIO * there:
        raise DataError(
            f"The headers in {source.path} promise {times(stack.geometry.shape)} pixels in {there:,} bytes; send the "
            "series again."
        )


def _decoded(source: Source, name: str, frames: list[Frame]) -> Iterator[tuple[Frame, NDArray[Any]]]:
    """Each frame's stored values (rows, columns)."""
    pixels = needed("pydicom.pixels")
    header = read_object(source, name)
    where = str(source.file(name))
    with decoding(where):
        if "TransferSyntaxUID" not in header.file_meta:
            header.file_meta.TransferSyntaxUID = _assumed_syntax(header)
        if "PixelData" not in header:
            raise DataError(f"{where} has no pixels; send the object again.")
        for frame in frames:
            array = pixels.pixel_array(header, index=frame.number if _many(header) else 0)
            if array.shape != frame.shape[::-1]:
                raise DataError(f"{where} holds other pixels than its header says; send the object again.")
            yield frame, array


def _many(header: FileDataset) -> bool:
    return int(header.get("NumberOfFrames") or 1) > 1


def _assumed_syntax(header: FileDataset) -> str:
    """Of a data set without the file's own header: what pydicom found out while it read."""
    implicit, little = header.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"


def _type(stack: Stack) -> np.dtype[Any]:
    """The smallest of the types that hold rescaled values: integers where nothing makes them fractions."""
    frames = [frame for frame in stack.frames if frame is not None]
    whole = all(float(frame.slope).is_integer() and float(frame.intercept).is_integer() for frame in frames)
    # Of 16 bits a slice's values have at most.
    fits = all(abs(frame.slope) * 65536 + abs(frame.intercept) < 2**31 for frame in frames)
    return np.dtype(np.int32 if whole and fits else np.float32)


def _rescaled(pixels: NDArray[Any], frame: Frame, dtype: np.dtype[Any]) -> NDArray[Any]:
    if frame.slope == 1.0 and frame.intercept == 0.0:
        return pixels.astype(dtype)
    if dtype.kind == "i":
        return pixels.astype(dtype) * int(frame.slope) + int(frame.intercept)
    return (pixels * np.float64(frame.slope) + frame.intercept).astype(dtype)


def _fill(array: NDArray[Any], missing: list[bool]) -> None:
    """Missing slices, which lie between others, from the nearest on both sides."""
    known = [index for index, gone in enumerate(missing) if not gone]
    for index in (index for index, gone in enumerate(missing) if gone):
        below = max(place for place in known if place < index)
        above = min(place for place in known if place > index)
        share = (index - below) / (above - below)
        mixed = array[:, :, below] * (1.0 - share) + array[:, :, above] * share
        array[:, :, index] = np.rint(mixed) if array.dtype.kind == "i" else mixed
