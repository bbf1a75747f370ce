"""Connected components and holes of label maps, in 2D and 3D, with a few bytes a voxel."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.volume.component_runs import components_of_runs

Mask = NDArray[np.bool_]
Components = NDArray[Any]

#: Voxels that are counted at once.
_SLAB_VOXELS = 1 << 20


def label_components(mask: Mask, *, corners: bool = True) -> tuple[Components, int]:
    """(*spatial) unsigned or int32 numbers from 1, 0 outside the mask; and how many components there are.

    Args:
        mask: (*spatial).
        corners: voxels that touch at an edge or a corner belong together (8 neighbours in 2D, 26 in 3D); else
            only those that share a face (4 and 6). Foreground is taken in the one way and its holes in the
            other, so that no foreground component and no hole pass through each other.

    >>> label_components(np.array([[1, 0], [0, 1]], dtype=bool))[1]
    1
    >>> label_components(np.array([[1, 0], [0, 1]], dtype=bool), corners=False)[1]
    2
    """
    try:
        from scipy.ndimage import generate_binary_structure, label
    except ModuleNotFoundError:  # in the runtime
        return components_of_runs(mask, corners=corners)
    structure = generate_binary_structure(mask.ndim, mask.ndim if corners else 1)
    try:
        # Half the memory, where the numbers fit.
        found, count = label(mask, structure, output=np.uint16)
    except RuntimeError:
        found, count = label(mask, structure)
    return found, int(count)


def component_sizes(components: Components, count: int) -> NDArray[np.int64]:
    """(count + 1,) voxels of each number, those of 0 first.

    >>> component_sizes(np.array([0, 1, 1, 2]), 2).tolist()
    [1, 2, 1]
    """
    sizes = np.zeros(count + 1, dtype=np.int64)
    # In slabs of whole stretches of memory: numpy widens what it counts to 8 bytes a voxel.
    along = np.moveaxis(components, int(np.argmax(np.abs(components.strides))), 0)
    step = max(1, _SLAB_VOXELS * len(along) // max(1, along.size))
    for first in range(0, len(along), step):
        sizes += np.bincount(along[first : first + step].ravel(order="K"), minlength=count + 1)
    return sizes


def largest_component(components: Components, sizes: NDArray[np.int64]) -> int:
    """The number of the largest component; of equal ones that which comes first, by the first axis first.

    Args:
        components, sizes: of `label_components` and `component_sizes`, of at least one component.

    >>> largest_component(np.array([[2, 2, 0, 1, 1]]), np.array([1, 2, 2]))
    2
    """
    tied = sizes == sizes[1:].max()
    tied[0] = False
    if np.count_nonzero(tied) == 1:
        return int(np.argmax(tied))
    # Numbers follow the array's order in memory, which differs between a file and a prediction; places do not.
    for row in components:
        if len(found := row[tied[row]]):
            return int(found.flat[0])
    raise AssertionError("a component has a voxel")


def holes(values: NDArray[np.uint8], members: Mask) -> tuple[Components, Mask]:
    """Background that lies wholly within one class: numbered components of background, and which are holes.

    A hole reaches no border of the array, and all voxels that share a face with it are of the class. Background
    between two classes is no hole of either.

    Args:
        values: (*spatial) contiguous label map, or a box of it that holds the class.
        members: (256,) the values of the class.

    Returns:
        numbers (*spatial) from 1, 0 outside the background; and (numbers + 1,) bool.

    >>> ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=np.uint8)
    >>> holes(ring, np.arange(256) == 1)[1].tolist()
    [False, True]
    >>> ring[0, 1] = 2
    >>> holes(ring, np.arange(256) == 1)[1].tolist()
    [False, False]
    """
    components, count = label_components(values == 0, corners=False)
    inside = np.ones(count + 1, dtype=bool)
    inside[0] = False
    foreign = ~members
    foreign[0] = False
    strange = foreign[values]
    for axis, back in itertools.product(range(values.ndim), (False, True)):
        here, there = np.moveaxis(components, axis, 0), np.moveaxis(strange, axis, 0)
        if back:
            here, there = here[::-1], there[::-1]
        inside[here[0]] = False
        inside[here[:-1][there[1:]]] = False
    return components, inside
