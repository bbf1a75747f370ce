"""Convolutions with fewer multiplications, for a CPU: Winograd's F(4, 3) (Lavin and Gray, CVPR 2016).

A convolution with kernels of 3 takes 3 products an output and axis. From windows of 6 voxels, 4 outputs take 6
products in place of 12, after sums over the window. Here that is done along all axes but the last, which stays as
it is in memory: a 3D convolution becomes 36 along the rows, each three products of matrices, with 1/4 of the
multiplications in all (2D: 1/2).

One thread of AVX2, torch 2.13, beside oneDNN's kernels on channels-last tensors, forward and both gradients:

- 1 x 32 -> 32, 64 -> 32 of 40x56x40: 1.6 and 2.2 times as fast; 64 -> 64 of 20x28x20: 1.9; 2 x 128 -> 128 of
  10x14x10: 1.5. Sizes that are far from multiples of 4, or few voxels, or under 16 channels: no gain.
- 2 x 32 -> 32, 64 -> 64 of 256x256, 128x128: the gradients 2.4 and 2.8 times as fast; forward 0.8 and 1.0.

The points of interpolation 0, +-3/4, +-3/2 and infinity keep the largest error at 1e-5 of the outputs' standard
deviation in float32, ten times that of a sum of products; with the usual 0, +-1, +-2 it is 1e-4.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Outputs of a tile, and voxels of the window that they are computed from.
_TILE, _WINDOW = 4, 6

# Where the polynomials are evaluated, beside infinity.
_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)

# Rows of a matrix product: enough to make good use of the weights, few enough to stay in the cache.
_ROWS = 1200

# A tile's place: sample, first tile along H, tile along D.
Slot = tuple[int, int, int]


def rows(shape: Sequence[int], taps: Sequence[int]) -> tuple[int, float]:
    """What there is to compute on: rows of the matrices in all, and the share of the tiles inside the volume.

    Args:
        shape: of an input (N, C, *spatial).
        taps: of the kernel, (3, 3), (3, 3, 3) or (1, 3, 3).
    """
    tiled = [size for size, tap in zip(shape[2:-1], taps[:-1], strict=True) if tap == 3]
    filled = math.prod(size / (_TILE * _over(size, _TILE)) for size in tiled)
    voxels = shape[0] * math.prod(shape[2:])
    return round(voxels / filled / _TILE ** len(tiled)), filled


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """As `conv3d(x, weight, padding="same")` or `conv2d`, up to rounding, without autograd.

    Args:
        x: (N, C, *spatial); copied unless its channels are last in memory.
        weight: (K, C, 3, 3), (K, C, 3, 3, 3) or (K, C, 1, 3, 3).

    Returns:
        (N, K, *spatial), channels last in memory.
    """
    volume, weight = _channels_inside(x), _without_ones(weight)
    k, c = weight.shape[:2]
    tiles = _Tiles.of(volume, depth=weight.ndim == 5)
    windows, sums = _Spread(tiles, volume, c, _windows), _Gather(tiles, volume, k)
    points = _points(weight).transpose(-1, -2)
    out = volume.new_empty(*volume.shape[:-1], k)
    for chunk in tiles.chunks():
        windows.fold(volume, chunk)
        for point in range(tiles.planes):
            windows.spread(point)
            sums.multiply(windows.matrix, points[point], len(chunk))
            sums.gather(point)
        sums.unfold(out, chunk)
    return _channels_second(out, x.ndim)


def gradients(x: Tensor, weight: Tensor, dy: Tensor, *, of_input: bool) -> tuple[Tensor | None, Tensor]:
    """Those of `convolve`, of its input, if wanted, and of its weight.

    Args:
        x, weight: what `convolve` was given.
        dy: (N, K, *spatial), the gradient of what it put out.
    """
    volume, dy, kernel = _channels_inside(x), _channels_inside(dy), _without_ones(weight)
    k, c = kernel.shape[:2]
    tiles = _Tiles.of(volume, depth=kernel.ndim == 5)
    windows, blocks = _Spread(tiles, volume, k, _windows), _Spread(tiles, volume, c, _blocks)
    dx = torch.empty_like(volume) if of_input else None
    if dx is not None:
        # The convolution of dy with the mirrored weights.
        sums, points = _Gather(tiles, volume, c), _points(kernel, mirrored=True).flip(1)
    products = volume.new_zeros(tiles.planes, 3, _WINDOW, k, c)
    for chunk in tiles.chunks():
        windows.fold(dy, chunk)
        blocks.fold(volume, chunk)
        count = len(chunk) * tiles.rows
        left = windows.matrix[:, 1 : count + 1].transpose(1, 2)
        for point in range(tiles.planes):
            windows.spread(point)
            if dx is not None:
                sums.multiply(windows.matrix, points[point], len(chunk))
                sums.gather(point)
            blocks.spread(point)
            for tap, product in enumerate(products[point]):
                torch.baddbmm(product, left, blocks.matrix[:, tap : tap + count], out=product)
        if dx is not None:
            sums.unfold(dx, chunk)
    dw = _kernel(products, kernel).view(weight.shape)
    return None if dx is None else _channels_second(dx, x.ndim), dw


@dataclass(frozen=True)
class _Tiles:
    """How a volume (N, D, H, W, C) is cut.

    A slot is one tile along D by `height` tiles along H, or, without depth, `height` tiles along H of one slice.
    In memory each of its rows has a column of zeros before it, which is the border of the row above too.

    Attributes:
        shape: N, D, H, W.
        depth: D is an axis of the kernel.
        height: tiles of a slot along H.
        slots: of a chunk at most, the part that is computed at once.
    """

    shape: tuple[int, int, int, int]
    depth: bool
    height: int
    slots: int

    @classmethod
    def of(cls, volume: Tensor, *, depth: bool) -> _Tiles:
        n, d, h, w = volume.shape[:4]
        high = _over(h, _TILE)
        height = _over(high, _over(high, max(1, _ROWS // (w + 1))))
        slots = n * _over(high, height) * (_over(d, _TILE) if depth else d)
        return cls((n, d, h, w), depth, height, min(slots, max(1, round(_ROWS / (height * (w + 1))))))

    @property
    def rows(self) -> int:
        """Rows of the matrices that a slot takes."""
        return self.height * (self.shape[3] + 1)

    @property
    def planes(self) -> int:
        """Points along D."""
        return _WINDOW if self.depth else 1

    @property
    def step(self) -> int:
        """Voxels of a slot along D."""
        return _TILE if self.depth else 1

    def chunks(self) -> list[list[Slot]]:
        n, d, h, _ = self.shape
        slots = list(
            itertools.product(range(n), range(0, _over(h, _TILE), self.height), range(_over(d, self.step)))
        )
        return [slots[first : first + self.slots] for first in range(0, len(slots), self.slots)]


class _Spread:
    """Turns slots of a volume into one matrix (rows, channels) a point; two rows of zeros follow.

    Args:
        transform: (6, 6) of windows that overlap, or (6, 4) of blocks that do not.
    """

    def __init__(self, tiles: _Tiles, like: Tensor, channels: int, transform: np.ndarray) -> None:
        self.tiles, self.transform = tiles, _table(transform, like)
        self.size = transform.shape[1]
        self.border = (self.size - _TILE) // 2
        row = (tiles.shape[3] + 1) * channels
        deep = _TILE * _over(tiles.shape[1], _TILE) + 2 * self.border if tiles.depth else tiles.shape[1]
        # All that lies above and under a slot, along D.
        self.slab = like.new_zeros(deep, _TILE * tiles.height + 2 * self.border, tiles.shape[3] + 1, channels)
        self.slab_of: tuple[int, int] | None = None
        self.slices = self.slab.flatten(1)
        self.folded = like.new_empty(tiles.slots, tiles.planes, self.slices.shape[1])
        self.matrix = like.new_empty(_WINDOW, tiles.slots * tiles.rows + 2, channels)
        self.matrix[:, -2:] = 0
        self.sources = [
            [plane.as_strided((tiles.height, self.size, row), (_TILE * row, row, 1)) for plane in planes]
            for planes in self.folded
        ]
        self.targets = _slots(self.matrix, tiles)
        self.transforms = self.transform.expand(tiles.height, -1, -1)

    def fold(self, volume: Tensor, chunk: Sequence[Slot]) -> None:
        """Along D."""
        for folded, (n, h, d) in zip(self.folded, chunk, strict=False):
            if self.slab_of != (n, h):
                self._fill(volume[n], h)
                self.slab_of = n, h
            if self.tiles.depth:
                torch.mm(self.transform, self.slices[_TILE * d : _TILE * d + self.size], out=folded)
            else:
                folded[0].copy_(self.slices[d])

    def spread(self, point: int) -> None:
        """Along H, of one point along D."""
        for sources, target in zip(self.sources, self.targets, strict=True):
            torch.bmm(self.transforms, sources[point], out=target)

    def _fill(self, image: Tensor, h: int) -> None:
        """The slab from tile h on, zeros where the image (D, H, W, C) ends."""
        first = _TILE * h - self.border
        begin, end = max(0, -first), min(self.slab.shape[1], image.shape[1] - first)
        self.slab[:, :begin] = 0
        self.slab[:, end:] = 0
        front = self.border if self.tiles.depth else 0
        inner = self.slab[front : front + image.shape[0], begin:end, 1:]
        inner.copy_(image[:, first + begin : first + end])


class _Gather:
    """Multiplies the matrices of a `_Spread` and turns the products back into slots of a volume."""

    def __init__(self, tiles: _Tiles, like: Tensor, channels: int) -> None:
        self.tiles, self.transform = tiles, _table(_sums, like)
        high, width = _TILE * tiles.height, tiles.shape[3] + 1
        row = width * channels
        self.matrix = like.new_empty(_WINDOW, tiles.slots * tiles.rows, channels)
        self.sources = _slots(self.matrix, tiles)
        self.folded = like.new_empty(tiles.slots, tiles.planes, high * row)
        self.targets = [[plane.view(tiles.height, _TILE, row) for plane in planes] for planes in self.folded]
        self.transforms = self.transform.expand(tiles.height, -1, -1)
        self.unfolded = like.new_empty(tiles.step, high * row)
        self.image = self.unfolded.view(tiles.step, high, width, channels)

    def multiply(self, spread: Tensor, points: Tensor, slots: int) -> None:
        """points: (3, 6, C, channels), a matrix for each voxel of a row that an output sees."""
        rows = slots * self.tiles.rows
        out = self.matrix[:, :rows]
        torch.bmm(spread[:, :rows], points[0], out=out)
        for tap in (1, 2):
            torch.baddbmm(out, spread[:, tap : tap + rows], points[tap], out=out)

    def gather(self, point: int) -> None:
        """Along H, of one point along D."""
        for source, targets in zip(self.sources, self.targets, strict=True):
            torch.bmm(self.transforms, source, out=targets[point])

    def unfold(self, volume: Tensor, chunk: Sequence[Slot]) -> None:
        """Along D."""
        step = self.tiles.step
        for folded, (n, h, d) in zip(self.folded, chunk, strict=False):
            if self.tiles.depth:
                torch.mm(self.transform, folded, out=self.unfolded)
            else:
                self.unfolded.copy_(folded)
            target = volume[n, step * d : step * (d + 1), _TILE * h : _TILE * (h + self.tiles.height)]
            deep, high, wide, _ = target.shape
            target.copy_(self.image[:deep, :high, :wide])


def _slots(matrix: Tensor, tiles: _Tiles) -> list[Tensor]:
    """The rows of each slot in a matrix a point: (tiles along H, points along H, a row's numbers)."""
    apart, channels = matrix.stride(0), matrix.shape[2]
    row = (tiles.shape[3] + 1) * channels
    size, strides = (tiles.height, _WINDOW, row), (row, apart, 1)
    return [matrix.as_strided(size, strides, slot * tiles.rows * channels) for slot in range(tiles.slots)]


def _points(weight: Tensor, *, mirrored: bool = False) -> Tensor:
    """(points along D, 3, 6, K, C): the kernel at the interpolation points along all axes but the last."""
    taps = weight.movedim((0, 1), (-2, -1)).reshape(3 ** (weight.ndim - 3), -1)
    values = torch.mm(_kernel_table(weight, mirrored=mirrored), taps)
    return values.view(-1, _WINDOW, 3, *weight.shape[:2]).transpose(1, 2)


def _kernel(products: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the weight, of what `_points` of the mirrored weight would have."""
    products = products.transpose(1, 2).flatten(0, 1)
    taps = torch.mm(_kernel_table(weight, mirrored=True).t(), products.flatten(1))
    return taps.view(*weight.shape[2:], *weight.shape[:2]).movedim((-2, -1), (0, 1)).contiguous()


def _kernel_table(weight: Tensor, *, mirrored: bool) -> Tensor:
    values = _values[:, ::-1] if mirrored else _values
    return _table(np.kron(values, values) if weight.ndim == 5 else values, weight)


def _without_ones(weight: Tensor) -> Tensor:
    return weight[:, :, 0] if weight.shape[2:] == (1, 3, 3) else weight


def _table(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.dtype)


def _channels_inside(x: Tensor) -> Tensor:
    """(N, C, *spatial) as a contiguous (N, D, H, W, C); D is 1 in 2D."""
    x = x.movedim(1, -1)
    return (x[:, None] if x.ndim == 4 else x).contiguous()


def _channels_second(volume: Tensor, dimensions: int) -> Tensor:
    return (volume[:, 0] if dimensions == 4 else volume).movedim(-1, 1)


def _over(length: int, size: int) -> int:
    """How many pieces of that size it takes."""
    return -(-length // size)


def _matrices() -> tuple[np.ndarray, ...]:
    """B' (6, 6) of windows, A (6, 4) of blocks, A' (4, 6) of sums, G (6, 3) of kernels: y = A' ((G g) * (B' x))."""
    windows, blocks, values = np.zeros((6, 6)), np.zeros((6, 4)), np.zeros((6, 3))
    for row, point in enumerate(_POINTS):
        others = [other for other in _POINTS if other != point]
        windows[row, :5] = np.poly(others)[::-1]
        blocks[row] = point ** np.arange(4)
        values[row] = point ** np.arange(3) / np.prod([point - other for other in others])
    windows[5] = np.poly(_POINTS)[::-1]
    blocks[5, 3] = values[5, 2] = 1
    return windows, blocks, blocks.T, values


_windows, _blocks, _sums, _values = _matrices()
