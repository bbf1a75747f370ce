"""Windows as MONAI's sliding window inferer lays and weighs them: for models that were trained there.

MONAI 1.6, `monai/data/utils.py` (dense_patch_slices, compute_importance_map) and `monai/inferers/utils.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: Of a Gaussian in shares of the window, and what a voxel weighs at least.
_SIGMA, _LEAST = 0.125, 1e-3

Mode = Literal["gaussian", "constant"]


def monai_starts(size: int, window: int, overlap: float) -> list[int]:
    """First voxels of the windows along one axis: a fixed step apart, the last one moved back to the border.

    >>> monai_starts(100, 40, 0.5), monai_starts(40, 40, 0.5)
    ([0, 20, 40, 60], [0])
    >>> monai_starts(90, 40, 0.5)
    [0, 20, 40, 50]
    """
    if size <= window:
        return [0]
    step = max(1, int(window * (1.0 - overlap)))
    starts = [0]
    while starts[-1] + window < size:
        starts.append(min(starts[-1] + step, size - window))
    return starts


def monai_weight(
    patch: Sequence[int], starts: Sequence[Sequence[int]], place: Sequence[int], mode: Mode
) -> NDArray[np.float32]:
    """What a window weighs at its voxels (*patch) beside those that cover them too: all weights of a voxel sum to 1.

    Args:
        patch: size of the window.
        starts: of all windows, along each axis.
        place: number of this one along each axis.
        mode: constant, or a Gaussian around the middle with sigma = window / 8, no voxel under 0.001.
    """
    own = importance(patch, mode)
    total = np.zeros(patch, dtype=np.float32)
    corner = [along[number] for along, number in zip(starts, place, strict=True)]
    near = [
        [start - first for start in along if abs(start - first) < size]
        for along, first, size in zip(starts, corner, patch, strict=True)
    ]
    for moved in itertools.product(*near):
        here = tuple(slice(max(0, by), min(size, size + by)) for by, size in zip(moved, patch, strict=True))
        there = tuple(slice(max(0, -by), min(size, size - by)) for by, size in zip(moved, patch, strict=True))
        total[here] += own[there]
    return own / total


def importance(patch: Sequence[int], mode: Mode) -> NDArray[np.float32]:
    """MONAI's importance map of a window, (*patch) float32."""
    found = np.ones((), dtype=np.float32)
    for size in patch:
        along = np.ones(size, dtype=np.float32)
        if mode == "gaussian":
            from_middle = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
            along = np.exp(from_middle**2 / np.float32(-2 * (_SIGMA * size) ** 2))
        found = found[..., None] * along
    return np.maximum(found, np.float32(max(float(found.min()), _LEAST)))
