"""Preparation as nnU-Net does it, where it differs from Vesal's: for models that were trained there.

nnU-Net 2.8.1, `preprocessing/resampling/default_resampling.py` and `preprocessing/cropping/cropping.py`:

- where the voxels of the scan or of the plan are more than three times as long along one axis as along another,
  that axis is resampled apart, by its nearest voxels, and each slice across it by itself;
- splines stay within the range of what they interpolate (scikit-image's `clip`);
- intensities may be normalised within the mask of the voxels that are not zero, holes filled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vesal.planning.axes import ANISOTROPIC
from vesal.volume.component_runs import components_of_runs
from vesal.volume.memory_order import c_ordered
from vesal.volume.resample import resize

Floats = NDArray[np.float32]


def axis_apart(current_mm: Sequence[float], wanted_mm: Sequence[float]) -> int | None:
    """The axis that is resampled apart from the others, or None.

    Args:
        current_mm: spacing of the array, three axes.
        wanted_mm: spacing that it is brought to.

    >>> axis_apart((5.0, 1.0, 1.0), (2.0, 1.0, 1.0)), axis_apart((2.0, 1.0, 1.0), (1.0, 1.0, 4.0))
    (0, 2)
    >>> axis_apart((1.0, 4.0, 4.0), (1.0, 1.0, 1.0)) is None  # two axes are as coarse: none is
    True
    """
    for spacing in (current_mm, wanted_mm):
        if max(spacing) / min(spacing) > ANISOTROPIC:
            coarse = [axis for axis, step in enumerate(spacing) if max(spacing) / step == 1]
            return coarse[0] if len(coarse) == 1 else None
    return None


def resize_apart(image: Floats, shape: Sequence[int], order: int, apart: int | None) -> Floats:
    """Another number of voxels over the same field of view.

    Args:
        image: (C, *S), three axes.
        shape: the new *S.
        order: of the splines, 0, 1 or 3.
        apart: the axis along which the nearest voxel is taken; None for splines along all three.
    """
    if apart is None:
        return np.stack([_within(one, resize(one[None], shape, order)[0], (0, 1, 2)) for one in image])
    # Slices that none of the new ones takes are not resampled.
    used, places = np.unique(nearest_voxels(image.shape[apart + 1], shape[apart]), return_inverse=True)
    across = tuple(size for axis, size in enumerate(shape) if axis != apart)
    out = np.empty((len(image), *shape), dtype=np.float32)
    slices, target = np.moveaxis(image, apart + 1, 1), np.moveaxis(out, apart + 1, 1)
    for channel, into in zip(slices, target, strict=True):
        part = c_ordered(channel[used], np.float32)
        into[...] = _within(part, resize(part[None], (len(used), *across), order)[0], (1, 2))[places]
    return out


def nearest_voxels(size: int, wanted: int) -> NDArray[np.intp]:
    """Of `size` voxels along an axis, which is nearest to each of `wanted` over the same field of view.

    >>> nearest_voxels(3, 6).tolist(), nearest_voxels(4, 2).tolist()
    ([0, 0, 1, 1, 2, 2], [1, 3])
    """
    places = np.floor((np.arange(wanted) + 0.5) * (size / wanted) - 0.5 + 0.5).astype(np.intp)
    return np.clip(places, 0, size - 1)


def nonzero_mask(image: Floats) -> NDArray[np.bool_]:
    """Where any channel of (C, *S) is not 0, with what is enclosed by such voxels."""
    mask = np.any(image != 0, axis=0)
    if mask.all():
        return mask
    try:
        from scipy.ndimage import binary_fill_holes  # takes long to import, and most scans need none of it
    except ModuleNotFoundError:  # in the runtime
        return fill_holes(mask)
    return np.asarray(binary_fill_holes(mask))


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the background that no way through faces of voxels leads to from the array's border.

    >>> fill_holes(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)).all()
    np.True_
    """
    numbers, count = components_of_runs(~mask, corners=False)
    enclosed = np.ones(count + 1, dtype=bool)
    for axis in range(mask.ndim):
        for face in (0, -1):
            enclosed[np.take(numbers, face, axis)] = False
    enclosed[0] = True
    return enclosed[numbers]


def _within(source: Floats, found: Floats, axes: tuple[int, ...]) -> Floats:
    """Clipped to what the source holds along these axes."""
    low, high = (bound(source, axis=axes, keepdims=True) for bound in (np.min, np.max))
    return np.clip(found, low, high)
