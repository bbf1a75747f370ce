"""Preparation as MONAI does it, where it differs from Vesal's: for models that were trained there.

MONAI 1.6, `Spacingd` (monai/transforms/spatial/array.py, compute_shape_offset in monai/data/utils.py): the centres of
the first voxels of both grids lie on each other, the last one of the new grid lies near that of the old, and what lies
between is linear. Intensities are normalised afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vesal.volume.interpolation import nearest, separable

Floats = NDArray[np.float32]

#: Spacings that differ by less stay as they are (AFFINE_TOL).
_TOLERANCE_MM = 1e-3


def monai_grid(
    shape: Sequence[int], current_mm: Sequence[float], wanted_mm: Sequence[float]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Voxels along each axis at the wanted spacing, and how many of them (a fraction) lie in one of the current.

    >>> monai_grid((5, 5), (2.0, 1.0), (1.0, 1.0005))
    ((9, 5), (2.0, 1.0))
    """
    steps = tuple(
        1.0 if abs(have - want) <= _TOLERANCE_MM else have / want
        for have, want in zip(current_mm, wanted_mm, strict=True)
    )
    return tuple(
        int(np.round((size - 1) * step + 1.0)) for size, step in zip(shape, steps, strict=True)
    ), steps


def resize_from_first(image: Floats, shape: Sequence[int], steps: Sequence[float]) -> Floats:
    """(C, *S) onto another number of voxels, linearly; as of `monai_grid`."""
    return np.stack([separable(channel, _where(shape, steps), 1) for channel in image])


def label_from_first(
    label: NDArray[np.uint8], shape: Sequence[int], steps: Sequence[float]
) -> NDArray[np.uint8]:
    """`resize_from_first` of a label map (*S), by its nearest voxels."""
    return np.asarray(nearest(label, _where(shape, steps)), dtype=np.uint8)


def _where(shape: Sequence[int], steps: Sequence[float]) -> list[NDArray[np.float64]]:
    return [np.arange(size) / step for size, step in zip(shape, steps, strict=True)]
