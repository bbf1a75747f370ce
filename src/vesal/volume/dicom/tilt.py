"""Slices of a tilted gantry: sheared as the scanner took them, and straight as everything else looks at them."""

from __future__ import annotations

import numpy as np

from vesal.volume.geometry import Geometry
from vesal.volume.resample import resample_label, resample_volume
from vesal.volume.volume import LabelMap, Volume

#: What CT shows outside the body (HU), where the straight grid reaches beyond the slices; of other scans the darkest.
_AIR = -1024.0

#: Columns at right angles part by less than this (the cosine).
_SQUARE = 1e-4


def straight(geometry: Geometry) -> Geometry:
    """The smallest grid with the same slices' distance and pixels that holds a sheared one, at right angles.

    The first two axes stay; the third goes along their normal. The planes of the slices are the same, so that only the
    place within each changes. A grid that is not sheared is itself.

    Args:
        geometry: (columns, rows, slices), sheared along the slices only.
    """
    columns = geometry.affine[:3, :3]
    unit = columns / np.linalg.norm(columns, axis=0)
    if abs(unit[:, 0] @ unit[:, 2]) < _SQUARE and abs(unit[:, 1] @ unit[:, 2]) < _SQUARE:
        return geometry
    normal = np.cross(unit[:, 0], unit[:, 1])
    normal *= np.sign(normal @ columns[:, 2])
    # By how many pixels the last slice lies off the first, along columns and rows.
    shear = [columns[:, 2] @ unit[:, axis] / np.linalg.norm(columns[:, axis]) for axis in (0, 1)]
    ends = [sorted((0.0, float(np.round(per * (geometry.shape[2] - 1), 6)))) for per in shear]
    first = [int(np.floor(low)) for low, _ in ends]
    shape = [geometry.shape[axis] + int(np.ceil(ends[axis][1])) - first[axis] for axis in (0, 1)]
    affine = geometry.affine.copy()
    affine[:3, 2] = normal * (normal @ columns[:, 2])
    affine[:3, 3] += columns[:, 0] * first[0] + columns[:, 1] * first[1]
    return Geometry((*shape, geometry.shape[2]), affine)


def straightened(volume: Volume, *, modality: str) -> Volume:
    """A scan on the straight grid, by linear interpolation within each slice; as it is where it is straight."""
    grid = straight(volume.geometry)
    if grid is volume.geometry:
        return volume
    darkest = float(volume.array.min())
    outside = max(darkest, _AIR) if modality == "CT" else darkest
    return resample_volume(volume, grid, fill=outside)


def tilted_back(label: LabelMap, geometry: Geometry) -> LabelMap:
    """A label map of the straight grid on the slices as they were taken."""
    return resample_label(label, geometry)
