"""What checks compare between cases, taken at the one read of a case's files: small pictures and a few numbers.

All of it is in the axes nearest RAS+ and fits in about 5 kB a case, so that a data set can be judged from its
fingerprint alone.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.data.crop import nonzero_box
from vesal.data.labels import LabelSet
from vesal.data.minhash import minhash
from vesal.files import content_hash
from vesal.record import Record
from vesal.volume.geometry import Turn
from vesal.volume.volume import LabelMap, Volume

#: Blocks of a small picture along each axis, and voxels drawn for each block along each axis.
BLOCKS = 10
_DRAWN = 2

#: The surroundings of a label reach over its box by this share of the box's size on each side.
AROUND = 0.25

#: Voxels along each axis of a slice from which it is first judged to be blank.
_LOOK = 8

#: An organ lies at the same place of every field of view, within this robust standard deviation of its centre (the
#: shared atria, prostates, hippocampi and hearts 0.02 to 0.08); a tumour does not (brains 0.12 and more).
SAME_PLACE = 0.1

#: An axis counts as one of slices from this share of the coarsest spacing on.
_COARSEST = 0.9


class LabelFeatures(Record):
    """Of the labelled voxels of one case, all classes unless stated otherwise; RAS axes.

    Attributes:
        digest: of the label's box in the file's own axes, whatever surrounds it and whatever the header says.
        place: centre of gravity as a share of the image, (ndim,).
        box_mm: sides of the label's box.
        shape_picture: packed, (classes, blocks...): how much of each block of the label's box each class takes.
        surroundings: packed, (channels, blocks...): the image in the box and around it.
        faces: at each end of the box (first, last of each axis), the labelled area there as a share of the largest
            cross-section; 0 where the box ends with the image.
        gaps_mm: between each end of the box (first, last of each axis) and that of the image; () in records that were
            made before it was looked at.
        islands: pieces besides the largest, between which whole planes are empty.
        island_voxels, island_gap_mm: of the piece farthest from the largest; 0 where there is none.
    """

    digest: str
    place: tuple[float, ...]
    box_mm: tuple[float, ...]
    shape_picture: str
    surroundings: str
    faces: tuple[float, ...]
    islands: int
    island_voxels: int
    island_gap_mm: float
    gaps_mm: tuple[float, ...] = ()


class CaseFeatures(Record):
    """Of one case.

    Attributes:
        picture: packed, (channels, blocks...): the whole image.
        minhash: marks of local patterns, packed; two scans share them where one is cut from the other.
        blank_slices: slices of one intensity between others, over the channels.
        saturated: of each channel, the share of voxels at the highest intensity.
        label: of the labelled voxels; None without any, or on a grid of another shape.
    """

    picture: str
    minhash: str
    blank_slices: int
    saturated: tuple[float, ...]
    label: LabelFeatures | None = None


def case_features_of(
    image: Volume, label: LabelMap | None, labels: LabelSet, limits: Sequence[tuple[float, float]], turn: Turn
) -> CaseFeatures:
    """Look at one case.

    Args:
        image: (C, *spatial), as it was read.
        label: its label map, or None.
        labels: what that holds.
        limits: of each channel, the intensities that become black and white in the small pictures.
        turn: of the image's axes to RAS.
    """
    array = turn.apply(image.array)
    spacing = [image.geometry.spacing_mm[axis] for axis in turn.order]
    found = None
    if label is not None and label.geometry.shape == image.geometry.shape:
        found = _label_features(turn.apply(label.array), array, labels, limits, (turn, spacing))
    whole = [(0.0, float(size)) for size in array.shape[1:]]
    return CaseFeatures(
        picture=pack(_picture(array, whole, limits)),
        minhash=minhash(array[0]),
        blank_slices=max(_blank_slices(channel, spacing) for channel in array),
        saturated=tuple(_saturated(channel) for channel in array),
        label=found,
    )


def rounded(value: float, decimals: int) -> float:
    """For JSON: so many decimals, and four digits at least, as the millimetres of a microscope need.

    >>> rounded(12.34567, 3), rounded(0.000232143, 3), rounded(0.0, 3)
    (12.346, 0.0002321, 0.0)
    """
    digits = 3 - math.floor(math.log10(abs(value))) if value else 0
    return round(value, max(decimals, digits))


def place_scatter(places: Sequence[Sequence[float]]) -> float:
    """The largest robust standard deviation of an axis, of centres as shares of the image.

    >>> round(place_scatter([(0.5, 0.2), (0.5, 0.3), (0.5, 0.4)]), 3)
    0.148
    """
    far = np.abs(np.asarray(places) - np.median(places, axis=0))
    return float(np.max(1.4826 * np.median(far, axis=0)))


def pack(picture: NDArray[np.float32]) -> str:
    """Values of 0..1 as text, to 1/255."""
    return base64.b64encode(np.rint(picture * 255).astype(np.uint8).tobytes()).decode()


def unpack(text: str) -> NDArray[np.float32]:
    """The inverse of `pack`, flat.

    >>> unpack(pack(np.array([0.0, 0.2, 1.0], np.float32))).round(2).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    return np.frombuffer(base64.b64decode(text), np.uint8).astype(np.float32) / np.float32(255)


# --- small pictures ----------------------------------------------------------------------------------------


def _places(low: float, high: float, size: int) -> NDArray[np.int64]:
    """Indices evenly spread between two borders of an axis; those beyond the image are its border voxels."""
    count = BLOCKS * _DRAWN
    steps = low + (np.arange(count) + 0.5) * ((high - low) / count)
    return np.clip(np.floor(steps).astype(np.int64), 0, size - 1)


def _drawn(array: NDArray[Any], borders: Sequence[tuple[float, float]]) -> NDArray[Any]:
    """(*spatial) -> voxels drawn on an even grid between the borders."""
    where = [_places(low, high, size) for (low, high), size in zip(borders, array.shape, strict=True)]
    drawn: NDArray[Any] = array[np.ix_(*where)]
    return drawn


def _blocks(drawn: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of blocks."""
    for axis in range(drawn.ndim):
        shape = (*drawn.shape[:axis], BLOCKS, -1, *drawn.shape[axis + 1 :])
        drawn = drawn.reshape(shape).mean(axis=axis + 1)
    return drawn


def _picture(
    array: NDArray[Any], borders: Sequence[tuple[float, float]], limits: Sequence[tuple[float, float]]
) -> NDArray[np.float32]:
    """(C, *spatial) -> (C, blocks...), 0..1."""
    channels = []
    for channel, (low, high) in zip(array, limits, strict=True):
        drawn = _drawn(channel, borders).astype(np.float32)
        drawn = (np.nan_to_num(drawn, posinf=high, neginf=low) - low) / max(high - low, 1e-30)
        channels.append(_blocks(np.clip(drawn, 0, 1)))
    return np.stack(channels)


# --- the image ---------------------------------------------------------------------------------------------


def _blank_slices(channel: NDArray[Any], spacing: Sequence[float]) -> int:
    """Slices of one intensity between others, along the axis that has most of them: one of the coarsest axes."""
    most = 0
    for axis, size in enumerate(channel.shape):
        if channel.ndim < 3 or spacing[axis] < _COARSEST * max(spacing):
            continue
        planes = np.moveaxis(channel, axis, 0)
        seen = planes[:, :: max(1, planes.shape[1] // _LOOK), :: max(1, planes.shape[2] // _LOOK)].reshape(
            size, -1
        )
        filled = seen.max(axis=1) != seen.min(axis=1)
        ends = np.flatnonzero(filled)
        if not ends.size:
            continue
        candidates = np.flatnonzero(~filled[ends[0] : ends[-1]]) + ends[0]
        # What is seen of it is of one intensity: now all of it.
        blank = [np.ptp(np.take(channel, k, axis=axis)) == 0 for k in candidates.tolist()]
        most = max(most, sum(blank))
    return most


def _saturated(channel: NDArray[Any]) -> float:
    seen = channel[tuple(slice(None, None, max(1, size // 64)) for size in channel.shape)]
    return round(float((seen == seen.max()).mean()), 6)


# --- the label ---------------------------------------------------------------------------------------------


def _label_features(
    label: NDArray[Any],
    image: NDArray[Any],
    labels: LabelSet,
    limits: Sequence[tuple[float, float]],
    placed: tuple[Turn, Sequence[float]],
) -> LabelFeatures | None:
    turn, spacing = placed
    mask = label != labels.background
    if labels.ignore is not None:
        mask &= label != labels.ignore
    if not mask.any():
        return None
    start, stop = nonzero_box(mask[None])
    box = tuple(map(slice, start, stop))
    inside, held = mask[box], label[box]
    size = np.array(inside.shape)
    borders = [(float(side.start), float(side.stop)) for side in box]
    around = [(low - AROUND * (high - low), high + AROUND * (high - low)) for low, high in borders]
    drawn = _drawn(label, borders)
    shapes = [_blocks((drawn == each.value).astype(np.float32)) for each in labels.labels]
    sums = [inside.sum(axis=tuple(k for k in range(inside.ndim) if k != axis)) for axis in range(inside.ndim)]
    middle = [float((line * np.arange(line.size)).sum() / line.sum()) for line in sums]
    islands, voxels, gap = _islands(sums, spacing)
    own = turn.undo(held)
    return LabelFeatures(
        digest=content_hash(str(own.shape).encode(), np.asarray(own, np.int32).ravel(order="F").data),
        place=tuple(round(float(p), 5) for p in (np.array(start) + middle + 0.5) / label.shape),
        box_mm=tuple(rounded(float(side), 4) for side in size * spacing),
        shape_picture=pack(np.stack(shapes)),
        surroundings=pack(_picture(image, around, limits)),
        faces=_faces(sums, box, label.shape),
        islands=islands,
        island_voxels=voxels,
        island_gap_mm=gap,
        gaps_mm=tuple(
            rounded(float(voxels * step), 4)
            for side, all_of, step in zip(box, label.shape, spacing, strict=True)
            for voxels in (side.start, all_of - side.stop)
        ),
    )


def _faces(sums: Sequence[NDArray[Any]], box: Sequence[slice], shape: Sequence[int]) -> tuple[float, ...]:
    faces = []
    for line, side, size in zip(sums, box, shape, strict=True):
        most = max(1.0, float(line.max()))
        faces.append(0.0 if side.start == 0 else float(line[0]) / most)
        faces.append(0.0 if side.stop == size else float(line[-1]) / most)
    return tuple(round(face, 4) for face in faces)


def _islands(sums: Sequence[NDArray[Any]], spacing: Sequence[float]) -> tuple[int, int, float]:
    """Pieces between which whole planes are empty: (how many besides the largest, voxels and gap of the farthest)."""
    islands, voxels, gap = 0, 0, 0.0
    for line, step in zip(sums, spacing, strict=True):
        if line.all():
            continue
        empty = np.concatenate([[True], line == 0, [True]])
        starts, stops = np.flatnonzero(empty[:-1] & ~empty[1:]), np.flatnonzero(~empty[:-1] & empty[1:])
        sizes = [int(line[a:b].sum()) for a, b in zip(starts, stops, strict=True)]
        main = int(np.argmax(sizes))
        for index, size in enumerate(sizes):
            if index == main:
                continue
            planes = starts[index] - stops[main] if index > main else starts[main] - stops[index]
            if (planes + 1) * step > gap:
                voxels, gap = size, float((planes + 1) * step)
        islands = max(islands, len(sizes) - 1)
    return islands, voxels, rounded(gap, 3)
