"""Features of a label map by itself: size, components, surface and position of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesal import memory_limit
from vesal.data.labels import LabelSet
from vesal.data.value_tables import value_counts
from vesal.infer.components import component_sizes, label_components
from vesal.volume.geometry import Geometry

#: That a voxel of the box around a class takes: its mask, numbered components, and their centre in 64 bits.
_BYTES = 32


def volumes_ml(contiguous: NDArray[np.uint8], geometry: Geometry, labels: LabelSet) -> dict[str, float]:
    """Class -> its volume (ml) in a label map (*S) on `geometry`; nothing of a picture, which has areas."""
    if geometry.ndim != 3:
        return {}
    ml = geometry.voxel_volume_mm3 / 1000.0
    # Counted once, in slabs: a large map may lie on the disk.
    counts = value_counts(contiguous)
    members = [np.flatnonzero(labels.members(number)).tolist() for number in range(len(labels.classes))]
    voxels = [sum(counts.get(value, 0) for value in values) for values in members]
    return {name: round(count * ml, 4) for name, count in zip(labels.classes, voxels, strict=True)}


def mask_features(contiguous: NDArray[np.uint8], geometry: Geometry, labels: LabelSet) -> dict[str, float]:
    """Numbers by name, for each class, of a label map (*S) on `geometry`.

    - volume: log of 0.01 + millilitres;
    - components: log of their number (26 neighbours), 0 for none or one;
    - largest: share of the class in its largest component, 1 for none;
    - surface: log of surface voxels over volume to the power of 2/3 (of 1/2 in 2D), in voxels;
    - centre: where it lies in the scan, along each RAS axis, -1 to 1; 0 for none;
    - offset: from the centre of the first class along each RAS axis, in cube roots of both volumes.
    """
    found: dict[str, float] = {}
    turn = geometry.turn_to_ras()
    turned = turn.apply(contiguous)
    boxes = labels.boxes(turned)
    spacing = np.array([geometry.spacing_mm[axis] for axis in turn.order])
    first: tuple[NDArray[np.float64], int] | None = None
    for index, (name, box) in enumerate(zip(labels.classes, boxes, strict=True)):
        inside = None if box is None else labels.mask(index, turned[box])
        voxels = 0 if inside is None else int(inside.sum())
        volume_ml = voxels * geometry.voxel_volume_mm3 / 1000
        found[f"{name} volume"] = float(np.log(0.01 + volume_ml))
        centre = np.zeros(turned.ndim)
        components, largest, surface = 0.0, 1.0, 0.0
        if box is not None and inside is not None:
            small = np.pad(inside, 1)
            memory_limit.require(
                _BYTES * small.size, "To estimate the quality of the result", "leave it out (--no-quality)"
            )
            numbered, count = label_components(small)
            components = float(np.log(count))
            largest = float(component_sizes(numbered, count)[1:].max() / voxels)
            surface = float(np.log(max(_border(small), 1) / voxels ** ((turned.ndim - 1) / turned.ndim)))
            centre = _centre(small) + [part.start - 1.0 for part in box]
        found |= {f"{name} components": components, f"{name} largest": largest, f"{name} surface": surface}
        for axis in range(turned.ndim):
            share = (2 * centre[axis] + 1) / turned.shape[axis] - 1 if voxels else 0.0
            found[f"{name} centre {axis}"] = float(share)
        if first is None:
            first = centre, voxels
            continue
        size_mm = (first[1] + voxels) ** (1 / turned.ndim) * float(np.prod(spacing)) ** (1 / turned.ndim)
        away = (centre - first[0]) * spacing / max(size_mm, 1e-6) * bool(first[1] and voxels)
        found |= {f"{name} offset {axis}": float(value) for axis, value in enumerate(away)}
    return found


def _centre(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean place of a mask's voxels along each axis."""
    axes = range(mask.ndim)
    lines = (np.count_nonzero(mask, axis=tuple(other for other in axes if other != axis)) for axis in axes)
    return np.array([np.average(np.arange(len(line)), weights=line) for line in lines])


def _border(mask: NDArray[np.bool_]) -> int:
    """Voxels of a mask with an empty rim of which a neighbour that shares a face is outside."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        along, of = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        of[1:] &= along[:-1]
        of[:-1] &= along[1:]
    return int(np.count_nonzero(mask)) - int(np.count_nonzero(inner))
