"""Images and label maps onto another grid: axis by axis where the grids are parallel, in general where not.

Interpolation of order 0 takes the nearest voxel, order 1 is linear, order 3 the cubic B-spline that passes
through the voxels (Unser 1999, as scipy.ndimage: prefilter, then four taps). Edge voxels continue outwards.
There is no smoothing before an image is made coarser, as in nnU-Net's resampling.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vesal.volume.geometry import Array, Geometry
from vesal.volume.interpolation import SPLINE_PAD, Taps, linear_taps, nearest, same_view, separable
from vesal.volume.label_boxes import label_boxes
from vesal.volume.volume import LabelMap, Volume

_ORDERS = (0, 1, 3)
#: Voxels that are worked on at once, so that temporary arrays stay small beside the image itself.
_SLAB_VOXELS = 1 << 23
#: Less than this (voxels) is rounding of an affine in single precision: grids that turn by less are parallel,
#: coordinates this near to a whole voxel are on it, so that whole shifts and flips copy the values exactly.
_SNAP = 1e-4


def resize(array: Array, shape: Sequence[int], order: int) -> NDArray[np.float32]:
    """Another number of voxels over the same field of view: the outer faces of both grids coincide.

    The alignment of torch's interpolate(align_corners=False) and of skimage.transform.resize: voxel i of m
    looks at (i + 0.5) n / m - 0.5 of n.

    Args:
        array: (C, *S), any real type.
        shape: the new *S.
        order: 0, 1 or 3.

    Returns:
        (C, *shape) float32; `array` itself where it is that already.

    >>> resize(np.array([[0.0, 1.0]]), (4,), 1)
    array([[0.  , 0.25, 0.75, 1.  ]], dtype=float32)
    """
    _check_order(order)
    if len(shape) != array.ndim - 1:
        raise ValueError(
            f"array {array.shape} has {array.ndim - 1} spatial axes, the new shape {tuple(shape)} has not"
        )
    coordinates = [same_view(old, new) for old, new in zip(array.shape[1:], shape, strict=True)]
    unchanged = array.shape[1:] == tuple(shape)
    if unchanged and array.dtype == np.float32:
        return array
    out = np.empty((array.shape[0], *shape), dtype=np.float32)
    for channel, target in zip(array, out, strict=True):
        target[...] = channel if unchanged else separable(channel, coordinates, order)
    return out


def resize_label(label: NDArray[np.uint8], shape: Sequence[int], order: int) -> NDArray[np.uint8]:
    """Another number of voxels over the same field of view, for contiguous labels.

    Order 1 interpolates each class linearly and takes the largest share; equal shares go to the lower value.
    Memory beyond the result is bounded: it works through the map in slabs, class by class, each within the
    class's own box.

    Args:
        label: (*S) uint8.
        shape: the new *S.
        order: 0 (nearest) or 1.

    >>> resize_label(np.array([0, 0, 2, 2], dtype=np.uint8), (8,), 1).tolist()
    [0, 0, 0, 0, 2, 2, 2, 2]
    """
    if order not in (0, 1):
        raise ValueError(f"label maps are resized with order 0 or 1, not {order}")
    if label.shape == tuple(shape):
        return label
    coordinates = [same_view(old, new) for old, new in zip(label.shape, shape, strict=True)]
    if order == 0:
        return nearest(label, coordinates)
    out = np.empty(tuple(shape), dtype=np.uint8)
    taps = [linear_taps(where, size) for where, size in zip(coordinates, label.shape, strict=True)]
    per_row = max(label.size // label.shape[0], out.size // out.shape[0])
    rows = max(1, _SLAB_VOXELS // per_row)
    for start in range(0, out.shape[0], rows):
        slab = slice(start, min(start + rows, out.shape[0]))
        first = taps[0].sliced(slab)
        low, high = int(first.lower.min()), int(first.upper.max()) + 1
        out[slab] = _largest_share(label[low:high], [first.shifted(-low), *taps[1:]])
    return out


def resample_volume(volume: Volume, geometry: Geometry, order: int = 1, fill: float = 0.0) -> Volume:
    """An image on another grid; `fill` where the grid reaches beyond the image's voxel faces.

    Args:
        volume: the image, 2D or 3D.
        geometry: the grid to look from, with as many axes.
        order: 0, 1 or 3.
        fill: the value outside.

    Returns:
        `volume` itself where the grid is its own; its array on `geometry` where the two differ by rounding
        only; else an array of float32, or of the image's own type for order 0.

    Raises:
        ValueError: 2D asked of a 3D image, or the other way; another order.
    """
    _check_order(order)
    if (same := _same_grid(volume.geometry, geometry)) is not None:
        return volume if same else Volume(volume.array, geometry)
    dtype = volume.array.dtype if order == 0 else np.dtype(np.float32)
    out = np.empty((volume.channels, *geometry.shape), dtype=dtype)
    for channel, target in zip(volume.array, out, strict=True):
        _onto(channel, volume.geometry, target, geometry, order, fill)
    return Volume(out, geometry)


def resample_label(label: LabelMap, geometry: Geometry, fill: int = 0) -> LabelMap:
    """A segmentation on another grid by its nearest voxels; `fill` beyond its voxel faces.

    Returns:
        `label` itself where the grid is its own; else a map of the same integer type.

    Raises:
        ValueError: 2D asked of a 3D map, or the other way.
    """
    if (same := _same_grid(label.geometry, geometry)) is not None:
        return label if same else LabelMap(label.array, geometry)
    out = np.empty(geometry.shape, dtype=label.array.dtype)
    _onto(label.array, label.geometry, out, geometry, 0, fill)
    return LabelMap(out, geometry)


# --- labels -------------------------------------------------------------------------------------------


def _largest_share(label: NDArray[np.uint8], taps: Sequence[Taps]) -> NDArray[np.uint8]:
    """For each new voxel the value with the largest linear share, the lowest of equal ones."""
    shape = tuple(len(axis.weight) for axis in taps)
    winner = np.zeros(shape, dtype=np.uint8)
    best = np.zeros(shape, dtype=np.float32)
    background = np.ones(shape, dtype=np.float32)
    for value, box in label_boxes(label).items():
        # Only new voxels between which and the box a tap reaches can hold a share of this class.
        near = []
        for axis, inside in zip(taps, box, strict=True):
            hits = np.flatnonzero((axis.upper >= inside.start) & (axis.lower < inside.stop))
            near.append(slice(int(hits[0]), int(hits[-1]) + 1) if len(hits) else slice(0, 0))
        if any(part.start == part.stop for part in near):
            continue
        reach = [axis.sliced(part) for axis, part in zip(taps, near, strict=True)]
        lows = [int(axis.lower.min()) for axis in reach]
        highs = [int(axis.upper.max()) + 1 for axis in reach]
        crop = tuple(slice(low, high) for low, high in zip(lows, highs, strict=True))
        share = (label[crop] == value).astype(np.float32)
        for number, (axis, low) in enumerate(zip(reach, lows, strict=True)):
            share = axis.shifted(-low).apply(share, number)
        there = tuple(near)
        background[there] -= share
        better = share > best[there]
        winner[there][better] = value
        np.maximum(best[there], share, out=best[there])
    winner[background >= best] = 0
    return winner


# --- onto any grid -------------------------------------------------------------------------------------


def _check_order(order: int) -> None:
    if order not in _ORDERS:
        raise ValueError(f"the order of interpolation is one of {_ORDERS}, not {order}")


def _same_grid(source: Geometry, target: Geometry) -> bool | None:
    """True for the very same grid, False for one that differs by rounding, None for another."""
    if source.ndim != target.ndim:
        raise ValueError(f"an image in {source.ndim}D cannot be resampled onto a grid in {target.ndim}D")
    if source.shape == target.shape and np.array_equal(source.affine, target.affine):
        return True
    return False if source.close_to(target) else None


def _onto(array: Array, source: Geometry, out: Array, target: Geometry, order: int, fill: float) -> None:
    """Fill `out` (on `target`) from `array` (on `source`)."""
    # Target voxel -> source voxel.
    matrix: Array = np.linalg.solve(source.affine, target.affine)
    linear, offset = matrix[:-1, :-1], matrix[:-1, -1]
    order_of_axes = np.abs(linear).argmax(axis=0)
    scale = linear[order_of_axes, np.arange(source.ndim)]
    rest = linear.copy()
    rest[order_of_axes, np.arange(source.ndim)] = 0.0
    reach = np.abs(rest) @ np.asarray(target.shape, dtype=float)
    if len(set(order_of_axes.tolist())) < source.ndim or reach.max() > _SNAP:
        _general(array, linear, offset, out, order, fill)
        return
    turned = array.transpose(order_of_axes)
    coordinates = []
    for axis, size in enumerate(target.shape):
        where = scale[axis] * np.arange(size) + offset[order_of_axes[axis]]
        whole = np.rint(where)
        coordinates.append(np.where(np.abs(where - whole) < _SNAP, whole, where))
    inside = []
    for where, size in zip(coordinates, turned.shape, strict=True):
        hits = np.flatnonzero((where >= -0.5) & (where <= size - 0.5))
        inside.append(slice(int(hits[0]), int(hits[-1]) + 1) if len(hits) else slice(0, 0))
    box = tuple(inside)
    out[...] = fill
    if out[box].size:
        out[box] = separable(
            turned, [where[part] for where, part in zip(coordinates, inside, strict=True)], order
        )


def _general(array: Array, linear: Array, offset: Array, out: Array, order: int, fill: float) -> None:
    """Any affine map of voxels, in slabs of the first axis."""
    from scipy import ndimage

    work = array
    pad = 0
    if order == 3:
        pad = SPLINE_PAD
        padded = np.pad(np.asarray(array, dtype=np.float32), pad, mode="edge")
        work = ndimage.spline_filter(padded, 3, output=np.float32, mode="mirror")
    elif order == 1:
        work = np.asarray(array, dtype=np.float32)
    rows = max(1, _SLAB_VOXELS * out.shape[0] // out.size)
    for start in range(0, out.shape[0], rows):
        slab = out[start : start + rows]
        grid = np.ogrid[tuple(slice(0, size) for size in slab.shape)]
        coordinates: Array = np.empty((array.ndim, *slab.shape))
        outside = np.zeros(slab.shape, dtype=bool)
        for axis, size in enumerate(array.shape):
            place = coordinates[axis]
            place[...] = offset[axis] + linear[axis, 0] * start
            for column, index in zip(linear[axis], grid, strict=True):
                place += column * index
            outside |= (place < -0.5) | (place > size - 0.5)
            if order == 3:
                place += pad
            else:
                np.clip(place, 0, size - 1, out=place)
        if order == 0:
            slab[...] = work[tuple(np.floor(place + 0.5).astype(np.intp) for place in coordinates)]
        else:
            ndimage.map_coordinates(
                work, coordinates, output=slab, order=order, mode="nearest", prefilter=False
            )
        slab[outside] = fill
