"""A folder of masks, one a label, read as the one label map that they make: how TotalSegmentator's data come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from vesal.errors import DataError
from vesal.text import listed, times
from vesal.volume.volume import LabelMap

#: Names of a label and of the one that took voxels from it, in `LabelMap.overlaps`.
AND = " and "


def join_masks(
    folder: Path, files: Mapping[str, Path], values: Mapping[str, int], read: Callable[[Path], LabelMap]
) -> LabelMap:
    """One label map of the masks whose names have a value; where masks overlap the later value wins.

    So do TotalSegmentator's own scripts (resources/train_nnunet.md, "later labels overwrite"). How many voxels each
    mask lost to which is in `overlaps`.

    Args:
        folder: for messages.
        files: name of a label -> its mask, in which every voxel but 0 is of the label.
        values: name of a label -> value in the label map; masks without one are left out.
        read: gives the mask of a file.

    Raises:
        DataError: no name has a value, a mask holds several values, or lies on another grid than the first.
    """
    wanted = sorted((value, name) for name, value in values.items() if name in files and value)
    if not wanted:
        raise DataError(
            f"{folder} has no mask of {listed(list(values), 4)}; it holds {listed(list(files), 4)}."
        )
    highest = max(values.values())
    first = read(files[wanted[0][1]])
    joined = np.zeros(first.geometry.shape, dtype=np.min_scalar_type(highest), order="F")
    overlaps: dict[str, int] = {}
    names = dict(wanted)
    for value, name in wanted:
        mask = first if value == wanted[0][0] else read(files[name])
        _same_grid(first, files[wanted[0][1]], mask, files[name])
        drawn = mask.array != 0
        held = mask.array[drawn]
        if held.size and held.min() != held.max():
            raise DataError(
                f"{files[name]} holds the values {held.min()} and {held.max()} where the mask of one label has one; "
                "it may be a label map, which belongs beside the image."
            )
        before = np.bincount(joined[drawn], minlength=1)
        before[0] = 0
        overlaps |= {
            f"{names[lost]}{AND}{name}": int(before[lost]) for lost in np.flatnonzero(before).tolist()
        }
        joined[drawn] = value
    return replace(first, array=joined, overlaps=overlaps)


def _same_grid(first: LabelMap, first_path: Path, mask: LabelMap, path: Path) -> None:
    one, other = first.geometry, mask.geometry
    if one.shape != other.shape:
        gap = f"{times(one.shape)} and {times(other.shape)} voxels"
    elif (distance := other.distance_mm(one)) > max(one.rounding_mm, 0.01 * min(one.spacing_mm)):
        gap = f"{distance:.3g} mm apart at the farthest corner"
    else:
        return
    raise DataError(
        f"The masks {first_path} and {path} lie on different grids ({gap}); resample one onto the other."
    )
