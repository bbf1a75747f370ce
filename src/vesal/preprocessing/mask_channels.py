"""The label map of a cascade's first stage as channels of its second, as nnU-Net makes them.

nnU-Net 2.8.1, `preprocessing/preprocessors/default_preprocessor.py` and `utilities/label_handling/label_handling.py`,
with `resize_segmentation` of batchgenerators 0.25.5:

- in the box of the scan, background outside the mask of its non-zero voxels is a value of its own (-1), so that it
  takes no part in what the background inside has of a voxel;
- each value is interpolated linearly and the largest share wins; of equal shares it is the value of the nearest voxel,
  where that is among them, else the lowest;
- the axis of thick slices is resampled apart, by its nearest slices;
- each label is a channel of 0 and 1, in the order of their values.

Labels of the training (`vesal.volume.resample.resize_label`) know no value outside, and equal shares go to the lowest.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vesal.preprocessing.nnunet_rules import nearest_voxels
from vesal.volume.interpolation import same_view

#: Bytes a voxel, of the scan's box or of the network's grid, that `mask_channels` takes beside its channels.
MASK_BYTES = 8
#: Background outside the non-zero voxels.
_OUTSIDE = -1
#: Voxels of the new grid that are worked on at once.
_SLAB_VOXELS = 1 << 20

Values = NDArray[np.int16]


def mask_channels(
    contiguous: NDArray[np.uint8],
    nonzero: NDArray[np.bool_],
    labels: int,
    shape: Sequence[int],
    apart: int | None,
) -> NDArray[np.float32]:
    """One channel a label (labels, *shape), 1 where it is, else 0.

    Args:
        contiguous: (*S) of the first stage, three axes.
        nonzero: (*S) where the scan is not zero, holes filled.
        labels: how many there are.
        shape: of the network's grid, over the same field of view.
        apart: the axis along which the nearest voxel is taken; None for linear shares along all three.
    """
    values = contiguous.astype(np.int16)
    values[(values == 0) & ~nonzero] = _OUTSIDE
    values = resize_values(values, shape, apart)
    channels = np.empty((labels, *shape), dtype=np.float32)
    for number, channel in enumerate(channels, start=1):
        np.equal(values, number, out=channel)
    return channels


def resize_values(values: Values, shape: Sequence[int], apart: int | None) -> Values:
    """Another number of voxels over the same field of view, by the largest linear share.

    >>> resize_values(np.array([[[0, 0, 2, 2]]], dtype=np.int16), (1, 1, 8), None).tolist()
    [[[0, 0, 0, 0, 2, 2, 2, 2]]]
    >>> resize_values(np.array([[[0, 0, 2, 2]]], dtype=np.int16), (1, 1, 3), 2).tolist()
    [[[0, 2, 2]]]
    """
    if values.shape == tuple(shape):
        return values
    where = [same_view(old, new) for old, new in zip(values.shape, shape, strict=True)]
    if apart is not None:
        where[apart] = nearest_voxels(values.shape[apart], shape[apart]).astype(float)
    axes = [_Axis(places, size) for places, size in zip(where, values.shape, strict=True)]
    out = np.empty(tuple(shape), dtype=np.int16)
    rows = max(1, _SLAB_VOXELS * shape[0] // max(1, out.size))
    for first in range(0, shape[0], rows):
        part = slice(first, first + rows)
        out[part] = _largest_share(values, [axes[0].part(part), *axes[1:]])
    return out


class _Axis:
    """Between which two voxels of an axis each place lies, how far from the first, and which is nearest."""

    def __init__(self, where: NDArray[np.float64], size: int) -> None:
        where = np.clip(where, 0, size - 1)
        lower = np.floor(where).astype(np.intp)
        self.ends = (lower, np.minimum(lower + 1, size - 1))
        self.weights = (1 - (where - lower), where - lower)
        self.nearest = np.minimum(np.floor(where + 0.5).astype(np.intp), size - 1)

    def part(self, part: slice) -> _Axis:
        found = object.__new__(_Axis)
        found.ends = (self.ends[0][part], self.ends[1][part])
        found.weights = (self.weights[0][part], self.weights[1][part])
        found.nearest = self.nearest[part]
        return found


def _largest_share(values: Values, axes: Sequence[_Axis]) -> Values:
    """Sums run over the corners in the order in which scipy takes them: equal shares are equal to the last bit."""
    sides = list(itertools.product((0, 1), repeat=len(axes)))
    corners = [
        values[np.ix_(*(axis.ends[side] for axis, side in zip(axes, of, strict=True)))] for of in sides
    ]
    out = corners[0].copy()
    differ = np.zeros(out.shape, dtype=bool)
    for corner in corners[1:]:
        differ |= corner != out
    # Elsewhere a voxel lies within one value.
    places = np.nonzero(differ)
    around = np.stack([corner[places] for corner in corners])
    weights = np.ones(around.shape)
    for number, of in enumerate(sides):
        for axis, side, place in zip(axes, of, places, strict=True):
            weights[number] *= axis.weights[side][place]
    nearest = values[tuple(axis.nearest[place] for axis, place in zip(axes, places, strict=True))]
    best, of_nearest = np.zeros(nearest.shape), np.zeros(nearest.shape)
    winner = nearest.copy()
    for value in np.unique(around):
        share = np.zeros(nearest.shape)
        for corner, weight in zip(around, weights, strict=True):
            share += np.where(corner == value, weight, 0.0)
        winner[share > best] = value
        np.maximum(best, share, out=best)
        np.copyto(of_nearest, share, where=nearest == value)
    out[places] = np.where(of_nearest == best, nearest, winner)
    return out
