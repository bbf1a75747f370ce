"""Whole-volume prediction by windows: positions, Gaussian blending, batches, mirroring, as a stream of finished rows.

Shapes: image (C, *S), logits (K, *S). For a 2D network S is (slices, A, B), and every slice is predicted on
its own; for a 3D network S is (X, Y, Z).

Windows are visited in the order of one axis of S. What no later window touches is finished and handed on, so that
the logits in memory are as deep as one window, however long the volume is. The weights are divided by their sum
beforehand: on an even grid of windows that sum is a product of one factor an axis, as each weight is.

Most windows of a scan hold only background. With `Windows.skip` those that cover the volume with as little overlap as
there can be are computed first, and of the others only those in which these see foreground anywhere, be it with a
probability of 1 %, and then those in which these do. Logits are blended of what was computed.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from vesal.infer.window_grid import Grid, Place, Windows, padded

#: (N, C, *patch) -> logits (N, K, *patch), each time in memory that no later call uses again.
Network = Callable[[Tensor], Tensor]

#: Logits (K, *patch) -> (*patch) bool, where there may be foreground.
Foreground = Callable[[Tensor], Tensor]


@torch.inference_mode()
def stream_logits(
    network: Network,
    image: Tensor,
    windows: Windows,
    *,
    outputs: int,
    device: torch.device | str = "cpu",
    foreground: Foreground | None = None,
) -> Iterator[Tensor]:
    """Logits of a prepared image, some finished rows after the other.

    Args:
        network: maps (N, C, *patch) to logits (N, outputs, *patch), on `device`.
        image: (C, *S) float32; a volume smaller than the window is padded around with zeros, as in training.
        windows: how to cut.
        outputs: K, the network's channels.
        foreground: where there may be some, for windows that are to be skipped; without it all are computed.

    Yields:
        (K, *S) float32 of successive rows along `windows.stream_axis(S)`. A view of memory that is used again: it
        is valid until the next one is requested. On `device` if there is room for it, else on the CPU.
    """
    grid = Grid(tuple(image.shape[1:]), windows)
    whole = padded(image, grid)
    device = torch.device(device)
    if foreground is not None and grid.may_skip:
        yield from _stream_needed(
            network, whole, grid, _RollingSums(outputs, grid, device, skips=True), foreground
        )
        return
    sums = _RollingSums(outputs, grid, device)
    for place, logits in _predicted(network, whole, grid, device, grid.places()):
        yield from sums.finished(grid.corner(place)[grid.axis])
        sums.add(place, logits)
        # Gone before the network makes the next.
        del logits
    yield from sums.finished(grid.padded[grid.axis])


def _stream_needed(
    network: Network, image: Tensor, grid: Grid, sums: _RollingSums, foreground: Foreground
) -> Iterator[Tensor]:
    """`stream_logits` of windows that cover the volume, and of those others that may hold foreground."""
    seen = torch.zeros(grid.padded, dtype=torch.bool)
    starts, layers = grid.starts[grid.axis], grid.coarse[grid.axis]
    coarse = set(itertools.product(*grid.coarse))
    waiting = [place for place in grid.places() if place not in coarse]

    def compute(places: Sequence[Place]) -> None:
        for place, logits in _predicted(network, image, grid, sums.device, places):
            mean = logits if grid.copies == 1 else logits / grid.copies
            seen[grid.box(place)] |= foreground(mean).reshape(grid.patch).cpu()
            sums.add(place, logits)
            del logits

    for number, layer in enumerate(layers):
        compute([place for place in grid.places() if place in coarse and place[grid.axis] == layer])
        # Of a layer all windows that reach into it are known now; of the newest one not before the next.
        stop = layer if number < len(layers) - 1 else len(starts)
        while needed := [
            place for place in waiting if place[grid.axis] < stop and bool(seen[grid.box(place)].any())
        ]:
            compute(needed)
            waiting = [place for place in waiting if place not in set(needed)]
        waiting = [place for place in waiting if place[grid.axis] >= stop]
        yield from sums.finished(starts[layer] if stop == layer else grid.padded[grid.axis])


@torch.inference_mode()
def predict_logits(
    network: Network,
    image: Tensor,
    windows: Windows,
    *,
    outputs: int,
    device: torch.device | str = "cpu",
    foreground: Foreground | None = None,
) -> Tensor:
    """Logits (K, *S) float32 of a whole prepared image on the CPU; arguments as of `stream_logits`."""
    whole = torch.empty((outputs, *image.shape[1:]), dtype=torch.float32)
    axis = windows.stream_axis(image.shape[1:]) + 1
    first = 0
    for rows in stream_logits(network, image, windows, outputs=outputs, device=device, foreground=foreground):
        whole.narrow(axis, first, rows.shape[axis]).copy_(rows)
        first += rows.shape[axis]
    return whole


# --- logits of the windows ------------------------------------------------------------------------


def _predicted(
    network: Network, image: Tensor, grid: Grid, device: torch.device, places: Sequence[Place]
) -> Iterator[tuple[Place, Tensor]]:
    """Yield each of these windows in order with its logits (K, *patch), summed over its mirrored copies.

    Windows in which every channel has one value throughout, as around a body, are the same input where the values
    are: the network computes them once.
    """
    constant = [_constant(grid.cut(image, place)) for place in places]
    left = Counter(values for values in constant if values is not None)
    constant = [values if values is not None and left[values] > 1 else None for values in constant]
    known: dict[tuple[float, ...], Tensor] = {}
    batch = grid.windows.batch
    for first in range(0, len(places), batch):
        numbers = range(first, min(first + batch, len(places)))
        inputs: dict[int | tuple[float, ...], Tensor] = {}
        for number in numbers:
            values = constant[number]
            if values is None or values not in known:
                inputs.setdefault(number if values is None else values, grid.cut(image, places[number]))
        logits = dict(zip(inputs, _sum_of(network, list(inputs.values()), grid, device), strict=True))
        for values in [key for key in logits if isinstance(key, tuple)]:
            # A copy, not a view that keeps the logits of the whole batch.
            known[values] = logits.pop(values).clone()
        for number in numbers:
            values = constant[number]
            if values is None:
                yield places[number], logits.pop(number)
                continue
            yield places[number], known[values]
            left[values] -= 1
            if not left[values]:
                del known[values]


def _constant(window: Tensor) -> tuple[float, ...] | None:
    """The one value of each channel of (C, *patch); None where a channel has several."""
    first = window[(slice(None), *(slice(0, 1) for _ in window.shape[1:]))]
    # A few voxels are enough for nearly every window.
    few = window[(slice(None), *(slice(None, None, max(1, size // 3)) for size in window.shape[1:]))]
    if not bool((few == first).all()) or not bool((window == first).all()):
        return None
    return tuple(first.flatten().tolist())


def _sum_of(network: Network, windows: list[Tensor], grid: Grid, device: torch.device) -> Tensor:
    """Logits (N, K, *patch) of windows, summed over all subsets of the mirrored axes."""
    if not windows:
        return torch.empty(0)
    batch = (windows[0][None] if len(windows) == 1 else torch.stack(windows)).to(device)
    total = network(batch)
    axes = grid.windows.mirror_axes
    for count in range(1, len(axes) + 1):
        for subset in itertools.combinations(axes, count):
            flips = [axis + 2 for axis in subset]
            # Not in place: what a network returns may be its input.
            total = total + network(batch.flip(flips)).flip(flips)
    return total


class _RollingSums:
    """Weighted sums of logits, a window deep along one axis: row i of the volume lies at i modulo that depth.

    Where windows are skipped, it is two windows deep, and their weights are summed up behind the logits.
    """

    def __init__(self, outputs: int, grid: Grid, device: torch.device, *, skips: bool = False) -> None:
        self._grid, self._skips = grid, skips
        self._depth = grid.patch[grid.axis]
        if skips:
            self._depth = min(2 * self._depth, grid.padded[grid.axis])
            outputs += 1
        shape = list(grid.padded)
        shape[grid.axis] = self._depth
        size = (outputs, *shape)
        self._device = device
        if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] <= 8 * int(np.prod(size)):
            # They would take more than half of its free memory.
            device = torch.device("cpu")
        self._sums = torch.zeros(size, dtype=torch.float32, device=device)
        self._first = 0

    @property
    def device(self) -> torch.device:
        """That computes."""
        return self._device

    def add(self, place: Place, logits: Tensor) -> None:
        """A window's logits (K, *patch), which are sums over its mirrored copies, times its weight."""
        grid, sums = self._grid, self._sums
        share = 1.0 / grid.copies
        logits = logits.to(sums.device, torch.float32)
        logits = logits.reshape(logits.shape[0], *grid.patch)
        weight = grid.weight(place, sums.device)
        for axis, (start, window) in enumerate(zip(grid.corner(place), grid.patch, strict=True)):
            if axis != grid.axis:
                sums = sums.narrow(axis + 1, start, window)
        start, done = grid.corner(place)[grid.axis], 0
        for at, count in self._pieces(start, start + grid.patch[grid.axis]):
            rows, of = sums.narrow(grid.axis + 1, at, count), weight.narrow(grid.axis, done, count)
            rows[: len(logits)].addcmul_(logits.narrow(grid.axis + 1, done, count), of, value=share)
            if self._skips:
                rows[-1] += of
            done += count

    def finished(self, stop: int) -> Iterator[Tensor]:
        """Yield the rows before `stop`, without the padding, and make room for others."""
        grid = self._grid
        first, last = grid.before[grid.axis], grid.before[grid.axis] + grid.shape[grid.axis]
        rows = self._sums
        for axis, (before, size) in enumerate(zip(grid.before, grid.shape, strict=True)):
            if axis != grid.axis:
                rows = rows.narrow(axis + 1, before, size)
        for at, count in self._pieces(max(self._first, first), min(stop, last)):
            found = rows.narrow(grid.axis + 1, at, count)
            yield found[:-1].div_(found[-1:]) if self._skips else found
        for at, count in self._pieces(self._first, stop):
            self._sums.narrow(grid.axis + 1, at, count).zero_()
        self._first = max(self._first, stop)

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """(first, count) in the memory of the rows from `start` to `stop`, at most a depth of them."""
        while start < stop:
            at = start % self._depth
            count = min(stop - start, self._depth - at)
            yield at, count
            start += count
