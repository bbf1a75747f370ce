"""Features of a label map by itself: size, components, surface and position of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.volume.geometry import Geometry


def volumes_ml(contiguous: NDArray[np.uint8], geometry: Geometry, labels: LabelSet) -> dict[str, float]:
    """Class -> its volume (ml) in a label map (*S) on `geometry`; nothing of a picture, which has areas."""
    if geometry.ndim != 3:
        return {}
    ml = geometry.voxel_volume_mm3 / 1000.0
    return {
        name: round(float(np.count_nonzero(labels.mask(number, contiguous))) * ml, 4)
        for number, name in enumerate(labels.classes)
    }


def mask_features(contiguous: NDArray[np.uint8], geometry: Geometry, labels: LabelSet) -> dict[str, float]:
    """Numbers by name, for each class, of a label map (*S) on `geometry`.

    - volume: log of 0.01 + millilitres;
    - components: log of their number (26 neighbours), 0 for none or one;
    - largest: share of the class in its largest component, 1 for none;
    - surface: log of surface voxels over volume to the power of 2/3 (of 1/2 in 2D), in voxels;
    - centre: where it lies in the scan, along each RAS axis, -1 to 1; 0 for none;
    - offset: from the centre of the first class along each RAS axis, in cube roots of both volumes.
    """
    # Imported here: a prediction without a quality estimate does not need it.
    from scipy import ndimage

    found: dict[str, float] = {}
    turn = geometry.turn_to_ras()
    turned = turn.apply(contiguous)
    spacing = np.array([geometry.spacing_mm[axis] for axis in turn.order])
    first: tuple[NDArray[np.float64], int] | None = None
    for name, values in zip(labels.classes, labels.class_table, strict=True):
        mask = np.isin(turned, np.flatnonzero(values))
        voxels = int(mask.sum())
        volume_ml = voxels * geometry.voxel_volume_mm3 / 1000
        found[f"{name} volume"] = float(np.log(0.01 + volume_ml))
        centre = np.zeros(mask.ndim)
        components, largest, surface = 0.0, 1.0, 0.0
        if voxels:
            box = ndimage.find_objects(mask.astype(np.uint8))[0]
            small = np.pad(mask[box], 1)
            numbered, count = ndimage.label(small, np.ones((3,) * mask.ndim))
            components = float(np.log(count))
            largest = float(np.bincount(numbered.ravel())[1:].max() / voxels)
            border = voxels - int(ndimage.binary_erosion(small).sum())
            surface = float(np.log(max(border, 1) / voxels ** ((mask.ndim - 1) / mask.ndim)))
            centre = np.array(ndimage.center_of_mass(small)) + [part.start - 1 for part in box]
        found |= {f"{name} components": components, f"{name} largest": largest, f"{name} surface": surface}
        for axis in range(mask.ndim):
            share = (2 * centre[axis] + 1) / mask.shape[axis] - 1 if voxels else 0.0
            found[f"{name} centre {axis}"] = float(share)
        if first is None:
            first = centre, voxels
            continue
        size_mm = (first[1] + voxels) ** (1 / mask.ndim) * float(np.prod(spacing)) ** (1 / mask.ndim)
        away = (centre - first[0]) * spacing / max(size_mm, 1e-6) * bool(first[1] and voxels)
        found |= {f"{name} offset {axis}": float(value) for axis, value in enumerate(away)}
    return found
