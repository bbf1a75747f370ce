"""Whole-volume prediction by windows: positions, Gaussian blending, batches, mirroring, as a stream of finished rows.

Shapes: image (C, *S), logits (K, *S). For a 2D network S is (slices, A, B), and every slice is predicted on
its own; for a 3D network S is (X, Y, Z).

Windows are visited in the order of one axis of S. What no later window touches is finished and handed on, so that
the logits in memory are as deep as one window, however long the volume is; under a limit of memory (--max-ram) that has
no room for them they lie on the disk, and are handed on a few rows at a time. The weights are divided by their sum
beforehand: on an even grid of windows that sum is a product of one factor an axis, as each weight is.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal import memory_limit
from vesal.errors import DataError
from vesal.infer.arrays.arrays import Array, Arrays, arrays_of
from vesal.infer.imported_windows.monai_windows import Mode, monai_starts, monai_weight
from vesal.infer.imported_windows.nnunet_windows import nnunet_weight
from vesal.infer.window_overlap import OVERLAP
from vesal.parallel import Progress

#: (N, C, *patch) -> logits (N, K, *patch), each time in memory that no later call uses again. Arrays are numpy's or
#: torch's, as the image is.
Network = Callable[[Array], Array]


@dataclass(frozen=True)
class Windows:
    """How a volume is cut for prediction.

    Attributes:
        patch: window size along the network's axes (2 or 3).
        overlap: share of a window that its neighbour covers again, 0 to under 1.
        batch: windows in one forward pass.
        mirror_axes: network axes to mirror; the mean over all subsets of them is taken.
        nnunet: a window weighs most at voxel size // 2, and weighted logits are added up in 16 bits, as nnU-Net does.
        networks: by nnU-Net's way, how many networks' outputs lie one behind the other; at last their mean is taken.
        monai: windows lie and weigh as those of MONAI's sliding window inferer in this mode; None for the others' way.
    """

    patch: tuple[int, ...]
    overlap: float = OVERLAP
    batch: int = 1
    mirror_axes: tuple[int, ...] = ()
    nnunet: bool = False
    networks: int = 1
    monai: Mode | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.overlap < 1.0:
            raise ValueError(f"overlap is a share from 0 to under 1, not {self.overlap}")

    def stream_axis(self, shape: Sequence[int]) -> int:
        """The axis of a volume *S along which its rows are finished first: the one that a window fills least.

        >>> Windows((16, 16, 16)).stream_axis((20, 90, 40)), Windows((16, 16)).stream_axis((1, 90, 40))
        (1, 0)
        """
        if len(shape) > len(self.patch) or self.nnunet:  # there the order decides how sums are rounded
            return 0
        return min(range(len(shape)), key=lambda axis: self.patch[axis] / max(shape[axis], self.patch[axis]))


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """First voxels of the windows along one axis, evenly spread from border to border.

    The step is at most window * (1 - overlap), as in nnU-Net's compute_steps_for_sliding_window.

    >>> window_starts(100, 40, 0.5)
    [0, 20, 40, 60]
    >>> window_starts(30, 40, 0.5)
    [0]
    """
    if size <= window:
        return [0]
    step = max(1.0, window * (1.0 - overlap))
    count = int(np.ceil((size - window) / step)) + 1
    return [round(start) for start in np.linspace(0, size - window, count).tolist()]


def window_weights(size: int, window: int, starts: Sequence[int]) -> list[NDArray[np.float32]]:
    """What each window of one axis weighs at its voxels, (window,) float32 each.

    A Gaussian around the window's centre with sigma = window / 8, as in nnU-Net (which puts it on a voxel),
    divided by the sum of all windows' Gaussians there: the weights of a voxel sum to 1. The product over the axes is
    a window's weight.

    >>> window_weights(4, 4, [0])[0].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    gaussian = np.exp(-0.5 * ((np.arange(window) - (window - 1) / 2.0) / (window / 8.0)) ** 2)
    total = np.zeros(max(size, window))
    for start in starts:
        total[start : start + window] += gaussian
    return [(gaussian / total[start : start + window]).astype(np.float32) for start in starts]


@contextlib.contextmanager
def watched(progress: Progress) -> Iterator[None]:
    """Within the block, `progress` is called with (done, all) windows of whatever volume is being predicted."""
    _WATCHING.append(progress)
    try:
        yield
    finally:
        _WATCHING.remove(progress)


_WATCHING: list[Progress] = []


def stream_logits(
    network: Network,
    image: Array,
    windows: Windows,
    *,
    outputs: int,
    device: Any = "cpu",
) -> Iterator[Array]:
    """Logits of a prepared image, some finished rows after the other.

    Args:
        network: maps (N, C, *patch) to logits (N, outputs, *patch), on `device`.
        image: (C, *S) float32, numpy's or torch's; a volume smaller than the window is padded around with zeros, as in
            training.
        windows: how to cut.
        outputs: K, the network's channels.
        device: where torch computes.

    Yields:
        (K, *S) float32 of successive rows along `windows.stream_axis(S)`. A view of memory that is used again: it
        is valid until the next one is requested. On `device` if there is room for it, else on the CPU.

    Raises:
        DataError: sums in 16 bits are infinite.
    """
    arrays = arrays_of(image, device)
    grid = _Grid(tuple(image.shape[1:]), windows)
    return arrays.without_gradients(_stream)(network, image, grid, outputs, arrays)


def _stream(network: Network, image: Array, grid: _Grid, outputs: int, arrays: Arrays) -> Iterator[Array]:
    padded = _padded(image, grid, arrays)
    sums = _RollingSums(outputs, grid, arrays)
    copies = 2 ** len(grid.windows.mirror_axes)
    for place, logits in _predicted(network, padded, grid, arrays):
        yield from sums.finished(grid.corner(place)[grid.axis])
        sums.add(place, logits, 1.0 / copies)
        # Gone before the network makes the next.
        del logits
    yield from sums.finished(grid.padded[grid.axis])


def predict_logits(
    network: Network,
    image: Array,
    windows: Windows,
    *,
    outputs: int,
    device: Any = "cpu",
) -> Array:
    """Logits (K, *S) float32 of a whole prepared image on the CPU; arguments as of `stream_logits`."""
    arrays = arrays_of(image, device)

    def all_rows() -> Array:
        axis = windows.stream_axis(image.shape[1:]) + 1
        whole = arrays.empty((outputs, *image.shape[1:]), axis)
        first = 0
        for rows in stream_logits(network, image, windows, outputs=outputs, device=device):
            last = first + rows.shape[axis]
            whole[_along(axis, first, last)] = rows
            first = last
            memory_limit.breathe()
        return whole

    return arrays.without_gradients(all_rows)()


def _along(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    """A part of an axis and all of those before it."""
    return (*(slice(None),) * axis, slice(start, stop))


# --- where the windows lie -------------------------------------------------------------------------------

#: Number of a window along each axis of S.
_Place = tuple[int, ...]


@dataclass(frozen=True)
class _Grid:
    """The windows of a volume of `shape` *S."""

    shape: tuple[int, ...]
    windows: Windows

    @cached_property
    def patch(self) -> tuple[int, ...]:
        """Of a window along every axis of S: one slice of a stack."""
        return (*(1,) * (len(self.shape) - len(self.windows.patch)), *self.windows.patch)

    @cached_property
    def padded(self) -> tuple[int, ...]:
        return tuple(max(size, window) for size, window in zip(self.shape, self.patch, strict=True))

    @cached_property
    def before(self) -> tuple[int, ...]:
        """Voxels that are padded in front."""
        return tuple((big - size) // 2 for big, size in zip(self.padded, self.shape, strict=True))

    @cached_property
    def axis(self) -> int:
        return self.windows.stream_axis(self.shape)

    @cached_property
    def starts(self) -> list[list[int]]:
        lay = window_starts if self.windows.monai is None else monai_starts
        # Of a stack every slice is a window's, whatever the overlap.
        return [
            list(range(size)) if window == 1 else lay(size, window, self.windows.overlap)
            for size, window in zip(self.padded, self.patch, strict=True)
        ]

    @cached_property
    def weights(self) -> list[list[NDArray[np.float32]]]:
        axes = zip(self.padded, self.patch, self.starts, strict=True)
        return [window_weights(*axis) for axis in axes]

    def places(self) -> list[_Place]:
        """All windows, in the order of the axis along which they are visited."""
        found = itertools.product(*(range(len(starts)) for starts in self.starts))
        return sorted(found, key=lambda place: place[self.axis])

    def corner(self, place: _Place) -> tuple[int, ...]:
        return tuple(starts[index] for starts, index in zip(self.starts, place, strict=True))

    def cut(self, image: Array, place: _Place) -> Array:
        """The network's input (C, *patch): a view of the padded image."""
        corner = self.corner(place)
        box = tuple(slice(start, start + size) for start, size in zip(corner, self.patch, strict=True))
        return image[(slice(None), *box)].reshape(image.shape[0], *self.windows.patch)

    def weight(self, place: _Place) -> NDArray[np.float32]:
        """Of a window at its voxels, (*patch of S); of nnU-Net's not yet over the sum."""
        if self.windows.nnunet:
            return nnunet_weight(self.patch)
        if self.windows.monai is not None:
            return monai_weight(self.patch, self.starts, place, self.windows.monai)
        weight = np.ones((), dtype=np.float32)
        for of_axis, index in zip(self.weights, place, strict=True):
            weight = weight[..., None] * of_axis[index]
        return weight


def _padded(image: Array, grid: _Grid, arrays: Arrays) -> Array:
    """Zeros around the centre up to at least a window; the image itself where it is large enough."""
    if grid.padded == grid.shape:
        return image
    if memory_limit.limit() is None:
        spare = zip(grid.padded, grid.shape, grid.before, strict=True)
        return arrays.pad(image, grid.before, [big - size - before for big, size, before in spare])
    axis = grid.axis + 1
    padded = memory_limit.array((image.shape[0], *grid.padded), np.float32, slow_axis=axis, zeros=True)
    whole = arrays.of(padded)
    box = [slice(before, before + size) for before, size in zip(grid.before, grid.shape, strict=True)]
    inner = whole[(slice(None), *box)]
    for row in range(image.shape[axis]):
        place = _along(axis, row, row + 1)
        inner[place] = image[place]
        memory_limit.breathe()
    return whole


# --- logits of the windows ------------------------------------------------------------------------


def _predicted(network: Network, image: Array, grid: _Grid, arrays: Arrays) -> Iterator[tuple[_Place, Array]]:
    """Yield every window in order with its logits (K, *patch), summed over its mirrored copies.

    Windows in which every channel has one value throughout, as around a body, are the same input where the values
    are: the network computes them once.
    """
    places = grid.places()
    constant = []
    for place in places:
        constant.append(_constant(grid.cut(image, place)))
        memory_limit.breathe()
    left = Counter(values for values in constant if values is not None)
    constant = [values if values is not None and left[values] > 1 else None for values in constant]
    known: dict[tuple[float, ...], Array] = {}
    batch = grid.windows.batch
    for first in range(0, len(places), batch):
        numbers = range(first, min(first + batch, len(places)))
        inputs: dict[int | tuple[float, ...], Array] = {}
        for number in numbers:
            values = constant[number]
            if values is None or values not in known:
                inputs.setdefault(number if values is None else values, grid.cut(image, places[number]))
        # The network's feature maps may take what is left.
        memory_limit.release()
        logits = dict(zip(inputs, _sum_of(network, list(inputs.values()), grid, arrays), strict=True))
        for values in [key for key in logits if isinstance(key, tuple)]:
            # A copy, not a view that keeps the logits of the whole batch.
            known[values] = arrays.copy(logits.pop(values))
        for progress in tuple(_WATCHING):
            progress(numbers.stop, len(places))
        for number in numbers:
            values = constant[number]
            if values is None:
                yield places[number], logits.pop(number)
                continue
            yield places[number], known[values]
            left[values] -= 1
            if not left[values]:
                del known[values]


def _constant(window: Array) -> tuple[float, ...] | None:
    """The one value of each channel of (C, *patch); None where a channel has several."""
    first = window[(slice(None), *(slice(0, 1) for _ in window.shape[1:]))]
    # A few voxels are enough for nearly every window.
    few = window[(slice(None), *(slice(None, None, max(1, size // 3)) for size in window.shape[1:]))]
    if not bool((few == first).all()) or not bool((window == first).all()):
        return None
    return tuple(first.flatten().tolist())


def _sum_of(network: Network, windows: list[Array], grid: _Grid, arrays: Arrays) -> Array:
    """Logits (N, K, *patch) of windows, summed over all subsets of the mirrored axes."""
    if not windows:
        return []
    batch = arrays.batch(windows)
    total = network(batch)
    axes = grid.windows.mirror_axes
    for count in range(1, len(axes) + 1):
        for subset in itertools.combinations(axes, count):
            flips = [axis + 2 for axis in subset]
            # Not in place: what a network returns may be its input.
            total = total + arrays.flip(network(arrays.flip(batch, flips)), flips)
    return total


class _RollingSums:
    """Weighted sums of logits, a window deep along one axis: row i of the volume lies at i modulo that depth.

    By nnU-Net's way the sum of the weights lies behind them, and divides them at last.
    """

    def __init__(self, outputs: int, grid: _Grid, arrays: Arrays) -> None:
        self._grid, self._arrays = grid, arrays
        self._depth = grid.patch[grid.axis]
        shape = list(grid.padded)
        shape[grid.axis] = self._depth
        self._in_16_bits = grid.windows.nnunet
        size = (outputs * grid.windows.networks + self._in_16_bits, *shape)
        self._sums = arrays.zeros(size, grid.axis + 1)
        self._row_bytes = 8 * math.prod(size) // self._depth
        self._first = 0

    def add(self, place: _Place, logits: Array, share: float) -> None:
        """A window's logits (K, *patch) times its weight and `share`."""
        grid, sums = self._grid, self._sums
        logits = self._arrays.beside(logits, sums)
        logits = logits.reshape(logits.shape[0], *grid.patch)
        weight = self._arrays.beside(grid.weight(place), sums)
        corner = grid.corner(place)
        box = [slice(start, start + window) for start, window in zip(corner, grid.patch, strict=True)]
        box[grid.axis] = slice(None)
        sums = sums[(slice(None), *box)]
        start, done = corner[grid.axis], 0
        for at, count in self._pieces(start, start + self._depth):
            part = sums[_along(grid.axis + 1, at, at + count)]
            values = logits[_along(grid.axis + 1, done, done + count)]
            heavy = weight[_along(grid.axis, done, done + count)]
            if self._in_16_bits:
                self._arrays.add_in_16_bits(part[:-1], values, heavy, share)
                self._arrays.add_in_16_bits(part[-1:], heavy[None], 1.0, 1.0)
            else:
                self._arrays.add_weighted(part, values, heavy, share)
            done += count
        memory_limit.breathe()

    def finished(self, stop: int) -> Iterator[Array]:
        """Yield the rows before `stop`, without the padding, and make room for others."""
        grid = self._grid
        first, last = grid.before[grid.axis], grid.before[grid.axis] + grid.shape[grid.axis]
        box = [slice(before, before + size) for before, size in zip(grid.before, grid.shape, strict=True)]
        box[grid.axis] = slice(None)
        rows = self._sums[(slice(None), *box)]
        for at, count in self._pieces(max(self._first, first), min(stop, last)):
            few = memory_limit.rows_at_once(count, self._row_bytes)
            for start in range(at, at + count, few):
                ready = rows[_along(grid.axis + 1, start, min(start + few, at + count))]
                yield self._in_the_mean(ready) if self._in_16_bits else ready
                memory_limit.breathe()
        for at, count in self._pieces(self._first, stop):
            few = memory_limit.rows_at_once(count, self._row_bytes)
            for start in range(at, at + count, few):
                self._sums[_along(grid.axis + 1, start, min(start + few, at + count))] = 0
                memory_limit.breathe()
        self._first = max(self._first, stop)

    def _in_the_mean(self, rows: Array) -> Array:
        arrays, networks = self._arrays, self._grid.windows.networks
        logits = arrays.divided_in_16_bits(rows[:-1], rows[-1:])
        if not float(abs(logits).max()) < math.inf:
            raise DataError(
                "the network's outputs are beyond what the 16 bits hold in which nnU-Net adds windows up, so that "
                "its classes cannot be told apart; check that the scan is of the kind that the model was trained on."
            )
        outputs = len(logits) // networks
        mean = logits[:outputs]
        for first in range(outputs, len(logits), outputs):
            arrays.add_in_16_bits(mean, logits[first : first + outputs], 1.0, 1.0)
        return mean if networks == 1 else arrays.divided_in_16_bits(mean, float(networks))

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """(first, count) in the memory of the rows from `start` to `stop`, at most a depth of them."""
        while start < stop:
            at = start % self._depth
            count = min(stop - start, self._depth - at)
            yield at, count
            start += count
