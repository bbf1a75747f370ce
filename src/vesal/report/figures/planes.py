"""Flat pictures of a scan: which slice, which way up, how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import IGNORE
from vesal.volume.geometry import Array, Geometry
from vesal.volume.volume import Volume

#: A plane that is fewer voxels across than this is not worth a picture.
_FEWEST_VOXELS = 3

_NAMES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice, ready to be shown with row 0 on top.

    Attributes:
        name: axial, coronal or sagittal; '' in 2D.
        image: (rows, columns) float32, or (rows, columns, 3) in colour, 0..1.
        maps: label maps of the slice, (rows, columns) uint8 contiguous, in the order in which they were given.
        pixel_mm: height and width of a pixel.
        index, count: which slice of how many, from 0, along the RAS axis.
        letters: the patient's directions at the (left, right, top, bottom) edge; '' in 2D.
    """

    name: str
    image: NDArray[np.float32]
    maps: tuple[NDArray[np.uint8], ...]
    pixel_mm: tuple[float, float]
    index: int
    count: int
    letters: tuple[str, str, str, str]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height."""
        return self.image.shape[1] * self.pixel_mm[1], self.image.shape[0] * self.pixel_mm[0]


def richest_slices(contiguous: NDArray[np.uint8]) -> tuple[int, ...]:
    """For each axis the slice that holds most foreground; the middle one of equals, the centre of nothing.

    >>> label = np.zeros((5, 5, 5), dtype=np.uint8)
    >>> label[1:4, 2, 4] = 1
    >>> richest_slices(label)
    (2, 2, 4)
    """
    foreground = (contiguous > 0) & (contiguous != IGNORE)
    chosen = []
    for axis in range(foreground.ndim):
        others = tuple(other for other in range(foreground.ndim) if other != axis)
        counts = foreground.sum(axis=others)
        best = np.flatnonzero(counts == counts.max())
        chosen.append(int(best[len(best) // 2]))
    return tuple(chosen)


def cut_planes(
    volume: Volume,
    maps: Sequence[NDArray[np.uint8]] = (),
    *,
    at: tuple[int, ...] | None = None,
    margin_mm: float | None = None,
) -> list[Plane]:
    """Axial, coronal and sagittal slices of a scan, or the one picture of a 2D image.

    The patient's right is on the left of the page, as radiologists see it. Sagittal slices are seen from the patient's
    left, so that the face looks to the left.

    Args:
        volume: image (C, *spatial) in any orientation, of which the first channel is shown. A 2D image of three 8-bit
            channels is shown in colour.
        maps: contiguous label maps (*spatial) on the image's grid, such as truth and prediction.
        at: index of the slice along each RAS axis; by default the slice richest in labels, of the first map
            that has any.
        margin_mm: show no more than this around what is labelled; None shows all.

    Returns:
        Planes that share one intensity window. A plane only a few voxels across is left out.
    """
    turn = volume.geometry.turn_to_ras()
    image = turn.apply(volume.array)
    turned = [turn.apply(map_) for map_ in maps]
    geometry = volume.geometry.turned(turn)
    guide = next((map_ for map_ in turned if ((map_ > 0) & (map_ != IGNORE)).any()), None)
    box = (slice(None),) * geometry.ndim
    if margin_mm is not None and (labelled := _labelled_box(turned)) is not None:
        margins = [int(np.ceil(margin_mm / spacing)) for spacing in geometry.spacing_mm]
        box = tuple(
            slice(max(0, side.start - margin), min(size, side.stop + margin))
            for side, margin, size in zip(labelled, margins, geometry.shape, strict=True)
        )
    if geometry.ndim == 2:
        return [_flat_picture(image, turned, geometry, box)]
    if at is None:
        at = tuple(size // 2 for size in geometry.shape) if guide is None else richest_slices(guide)
    planes = [_cut(image[0], turned, geometry, axis, at[axis], box) for axis in (2, 1, 0)]
    broad = [plane for plane in planes if min(plane.image.shape) >= _FEWEST_VOXELS] or planes[:1]
    return _windowed(broad)


def context_margin_mm(maps: Sequence[NDArray[np.uint8]], geometry: Geometry) -> float:
    """How much to show around the labels so that they are large and their surroundings are recognised.

    Half of their largest extent, but no less than an eighth of the scan's largest side.
    """
    sizes_mm = np.multiply(geometry.shape, geometry.spacing_mm)
    extents = [0.0]
    if (box := _labelled_box(maps)) is not None:
        sides = zip(box, geometry.spacing_mm, strict=True)
        extents = [(side.stop - side.start) * spacing for side, spacing in sides]
    return float(max(max(extents) / 2, max(sizes_mm) / 8))


def _cut(
    image: Array,
    maps: Sequence[Array],
    geometry: Geometry,
    axis: int,
    index: int,
    box: tuple[slice, ...],
) -> Plane:
    across, up = [other for other in range(3) if other != axis]

    def picture(array: Array) -> Array:
        return np.take(array, index, axis=axis)[box[across], box[up]].T[::-1, ::-1]

    return Plane(
        name=_NAMES[axis],
        image=np.nan_to_num(picture(image).astype(np.float32), posinf=0.0, neginf=0.0),
        maps=tuple(np.ascontiguousarray(picture(map_)) for map_ in maps),
        pixel_mm=(geometry.spacing_mm[up], geometry.spacing_mm[across]),
        index=index,
        count=geometry.shape[axis],
        letters=("RAS"[across], "LPI"[across], "RAS"[up], "LPI"[up]),
    )


def _flat_picture(image: Array, maps: Sequence[Array], geometry: Geometry, box: tuple[slice, ...]) -> Plane:
    """A 2D image as it lies in its file: x to the right, y down."""
    # Three modalities of 0 to 1 would be black.
    colour = image.shape[0] == 3 and image.min() >= 0 and 1 < image.max() <= 255
    shown = image[(slice(None), *box)].T / 255.0 if colour else image[0][box].T
    plane = Plane(
        name="",
        image=np.nan_to_num(np.asarray(shown, dtype=np.float32), posinf=0.0, neginf=0.0),
        maps=tuple(np.ascontiguousarray(map_[box].T) for map_ in maps),
        pixel_mm=(geometry.spacing_mm[1], geometry.spacing_mm[0]),
        index=0,
        count=1,
        letters=("", "", "", ""),
    )
    return plane if colour else _windowed([plane])[0]


def _labelled_box(maps: Sequence[Array]) -> tuple[slice, ...] | None:
    """The box of the foreground of all maps together; None where nothing is labelled."""
    from scipy import ndimage

    anywhere = np.any([(map_ > 0) & (map_ != IGNORE) for map_ in maps], axis=0)
    found = ndimage.find_objects(anywhere.astype(np.uint8)) if anywhere.any() else [None]
    return found[0]


def _windowed(planes: list[Plane]) -> list[Plane]:
    """The same planes with intensities 0..1: from the 0.5th to the 99.7th percentile of what they show.

    Voxels at the lowest value, the air around many scans, are left out of the percentiles.
    """
    values = np.concatenate([plane.image.ravel() for plane in planes])
    inside = values[values > values.min()]
    low, high = np.percentile(inside if inside.size else values, (0.5, 99.7))
    if high <= low:  # One value and air, such as a mask: show it white.
        low, high = float(values.min()), max(float(values.max()), float(values.min()) + 1e-6)
    return [replace(plane, image=np.clip((plane.image - low) / (high - low), 0.0, 1.0)) for plane in planes]
