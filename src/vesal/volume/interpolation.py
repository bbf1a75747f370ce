"""Interpolation on grids that are parallel: axis by axis, of a whole image or of some of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vesal.volume.geometry import Array
from vesal.volume.memory_order import c_ordered

#: How far an edge is continued before the spline prefilter: its memory fades as 0.268^n (scipy pads as much).
SPLINE_PAD = 12
#: Voxels that a cubic spline is made of on either side, where not the whole axis is there: what lies beyond weighs
#: 0.268^14 = 1e-8, less than the rounding of float32.
_SPLINE_REACH = 14


class Taps(NamedTuple):
    """Linear interpolation along an axis: lower * (1 - weight) + upper * weight, each (new size,)."""

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    weight: NDArray[np.float32]

    def sliced(self, part: slice) -> Taps:
        return Taps(self.lower[part], self.upper[part], self.weight[part])

    def shifted(self, by: int) -> Taps:
        return Taps(self.lower + by, self.upper + by, self.weight)

    def apply(self, array: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """The result lies in memory as `array` does, first or last axis fastest: turning it takes longer than this."""
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            return self.apply(array.T, array.ndim - 1 - axis).T
        weight = self.weight.reshape(-1, *(1,) * (array.ndim - 1 - axis))
        result = array.take(self.lower, axis)
        step = array.take(self.upper, axis)
        np.subtract(step, result, out=step)
        np.multiply(step, weight, out=step)
        return np.add(result, step, out=result)


def same_view(old: int, new: int) -> Array:
    """Coordinates on the old axis of the new axis' voxel centres."""
    return (np.arange(new) + 0.5) * (old / new) - 0.5


def separable(array: Array, coordinates: Sequence[Array], order: int) -> Array:
    """Interpolate `array` (*S) at the outer product of `coordinates`, those beyond its edges clamped."""
    if order == 0:
        return nearest(array, coordinates)
    along = [_weights(where, size, order) for where, size in zip(coordinates, array.shape, strict=True)]
    return interpolated(array, along, array.shape, [len(where) for where in coordinates])


#: Interpolation along an axis: taps, or a matrix (new size, old size); None where nothing changes.
Weights = Taps | NDArray[np.float32] | None


def _weights(where: Array, size: int, order: int) -> Weights:
    if len(where) == size and np.array_equal(where, np.arange(size)):
        return None
    return linear_taps(where, size) if order == 1 or size == 1 else _cubic_matrix(where, size)


def interpolated(array: Array, weights: Sequence[Weights], old: Sequence[int], new: Sequence[int]) -> Array:
    """Along all axes of `array`, an image of shape `old` that becomes one of shape `new`, or some rows of it."""
    array = np.asarray(array, dtype=np.float32)
    # The axes that shrink most come first: the later ones then have less to do.
    ratio = [count / size for count, size in zip(new, old, strict=True)]
    for axis in np.argsort(ratio, kind="stable").tolist():
        along = weights[axis]
        if isinstance(along, Taps):
            array = along.apply(array, axis)
        elif along is not None:
            array = _product(array, along, axis)
    return array


def nearest(array: Array, coordinates: Sequence[Array]) -> Array:
    """The voxels nearest to the outer product of `coordinates`; half way goes up, as in ITK."""
    for axis, where in enumerate(coordinates):
        index = np.clip(np.floor(where + 0.5).astype(np.intp), 0, array.shape[axis] - 1)
        if not (len(index) == array.shape[axis] and np.array_equal(index, np.arange(len(index)))):
            array = array.take(index, axis)
    return array


def linear_taps(where: Array, size: int) -> Taps:
    where = np.clip(where, 0, size - 1)
    lower = np.floor(where).astype(np.intp)
    upper = np.minimum(lower + 1, size - 1)
    return Taps(lower, upper, (where - lower).astype(np.float32))


def _product(array: NDArray[np.float32], matrix: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Cubic B-spline interpolation along one axis, the edge voxels continued outwards.

    Prefilter and taps are one linear map, so they are a matrix: a matrix product runs several times faster than the
    recursive filter.
    """
    if not array.flags.c_contiguous:
        array = c_ordered(array, np.float32)
    if axis == array.ndim - 1:
        return array @ matrix.T
    rest = array.shape[axis + 1 :]
    product = np.matmul(matrix, array.reshape(*array.shape[: axis + 1], -1))
    return product.reshape(*array.shape[:axis], len(matrix), *rest)


def _cubic_matrix(where: Array, size: int) -> NDArray[np.float32]:
    """(len(where), size): what each of the voxels weighs at each coordinate; the rows sum to 1."""
    spline = _spline_coefficients(np.pad(np.eye(size), ((SPLINE_PAD, SPLINE_PAD), (0, 0)), mode="edge"))
    where = np.clip(where, -1.0, size) + SPLINE_PAD
    first = np.floor(where).astype(np.intp) - 1
    part = (where - first - 1)[:, None]
    weights = (
        (1 - part) ** 3 / 6,
        (4 - 6 * part**2 + 3 * part**3) / 6,
        (1 + 3 * part + 3 * part**2 - 3 * part**3) / 6,
        part**3 / 6,
    )
    matrix = sum(weight * spline[first + tap] for tap, weight in enumerate(weights))
    return np.asarray(matrix, dtype=np.float32)


def _spline_coefficients(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of the cubic B-splines through the columns of (n, m), mirrored at both ends; n at least 2.

    The recursive filter of Unser, "Splines: a perfect fit for signal and image processing", 1999, box 2, as in
    scipy.ndimage.spline_filter1d.
    """
    pole = np.sqrt(3.0) - 2.0
    found = values * (1.0 - pole) * (1.0 - 1.0 / pole)
    last = len(found) - 1
    powers = pole ** np.arange(1, last)[:, None]
    found[0] += pole**last * found[last] + (
        powers * (found[1:last] + pole**last * found[last - 1 : 0 : -1])
    ).sum(0)
    found[0] /= 1.0 - pole ** (2 * last)
    for row in range(1, last + 1):
        found[row] += pole * found[row - 1]
    found[last] = (pole * found[last - 1] + found[last]) * pole / (pole * pole - 1.0)
    for row in range(last - 1, -1, -1):
        found[row] = pole * (found[row + 1] - found[row])
    return found


@dataclass(frozen=True)
class RowsOfResize:
    """`vesal.volume.resample.resize` of an image of which a few rows along one axis are in memory at a time.

    Of order 0 and 1 the result is the same to the bit; of order 3 up to the rounding of float32.

    Attributes:
        old, new: spatial shapes.
        order: of the interpolation.
        axis: along which rows come.
    """

    old: tuple[int, ...]
    new: tuple[int, ...]
    order: int
    axis: int

    @cached_property
    def _where(self) -> list[Array]:
        return [same_view(old, new) for old, new in zip(self.old, self.new, strict=True)]

    @cached_property
    def _along(self) -> list[Weights]:
        axes = zip(self._where, self.old, strict=True)
        return [_weights(where, size, self.order) for where, size in axes]

    @staticmethod
    def reach(order: int) -> int:
        """Rows of the old image that are needed beside those between which new rows lie."""
        return 2 * _SPLINE_REACH + 2 if order == 3 else 2

    def needed(self, rows: slice) -> slice:
        """The rows of the old image that some rows of the new one are made of."""
        size = self.old[self.axis]
        if size == self.new[self.axis]:
            return rows
        where = self._where[self.axis][[rows.start, rows.stop - 1]] + (0.5 if self.order == 0 else 0.0)
        low, high = np.clip(np.floor(where), 0, size - 1).astype(int).tolist()
        reach = _SPLINE_REACH if self.order == 3 else 0
        return slice(max(0, low - reach), min(size, high + 2 + reach))

    def resized(self, array: Array, rows: slice) -> Array:
        """(*S), the old image's rows that are `needed` -> float32 (order 0: of its own type), the new one's `rows`."""
        first = self.needed(rows).start
        if self.order == 0:
            where = list(self._where)
            where[self.axis] = where[self.axis][rows] - first
            return nearest(array, where)
        along = list(self._along)
        own = along[self.axis]
        if isinstance(own, Taps):
            along[self.axis] = own.sliced(rows).shifted(-first)
        elif own is not None:
            along[self.axis] = np.ascontiguousarray(own[rows, first : first + array.shape[self.axis]])
        return interpolated(array, along, self.old, self.new)
