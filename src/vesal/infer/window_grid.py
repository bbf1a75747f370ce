"""Where the windows of a volume lie and what each of them weighs at its voxels.

Shapes: image (C, *S). For a 2D network S is (slices, A, B), and every slice is predicted on its own; for a 3D network S
is (X, Y, Z).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vesal.infer.window_overlap import OVERLAP


@dataclass(frozen=True)
class Windows:
    """How a volume is cut for prediction.

    Attributes:
        patch: window size along the network's axes (2 or 3).
        overlap: share of a window that its neighbour covers again, 0 to under 1.
        batch: windows in one forward pass.
        mirror_axes: network axes to mirror; the mean over all subsets of them is taken.
        skip: leave out windows that hold only background (`vesal.infer.windows`).
    """

    patch: tuple[int, ...]
    overlap: float = OVERLAP
    batch: int = 1
    mirror_axes: tuple[int, ...] = ()
    skip: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.overlap < 1.0:
            raise ValueError(f"overlap is a share from 0 to under 1, not {self.overlap}")

    def stream_axis(self, shape: Sequence[int]) -> int:
        """The axis of a volume *S along which its rows are finished first: the one that a window fills least.

        >>> Windows((16, 16, 16)).stream_axis((20, 90, 40)), Windows((16, 16)).stream_axis((1, 90, 40))
        (1, 0)
        """
        if len(shape) > len(self.patch):
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


def covering(starts: Sequence[int], window: int) -> list[int]:
    """Numbers of as few of the windows along one axis as cover it from the first to the last.

    >>> covering([0, 20, 40, 60], 40), covering([0, 15, 30], 40)
    ([0, 2, 3], [0, 2])
    """
    chosen = [0]
    while chosen[-1] < len(starts) - 1:
        reach = starts[chosen[-1]] + window
        chosen.append(
            max(n for n in range(chosen[-1] + 1, len(starts)) if n == chosen[-1] + 1 or starts[n] <= reach)
        )
    return chosen


def window_weights(size: int, window: int, starts: Sequence[int]) -> list[Tensor]:
    """What each window of one axis weighs at its voxels, (window,) float32 each.

    A Gaussian around the window's centre with sigma = window / 8, as in nnU-Net, divided by the sum of
    all windows' Gaussians there: the weights of a voxel sum to 1. The product over the axes is a window's weight.

    >>> window_weights(4, 4, [0])
    [tensor([1., 1., 1., 1.])]
    """
    distance = torch.arange(window, dtype=torch.float64) - (window - 1) / 2.0
    gaussian = torch.exp(-0.5 * (distance / (window / 8.0)) ** 2)
    total = torch.zeros(max(size, window), dtype=torch.float64)
    for start in starts:
        total[start : start + window] += gaussian
    return [(gaussian / total[start : start + window]).float() for start in starts]


#: Number of a window along each axis of S.
Place = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
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
    def copies(self) -> int:
        """Of a window, mirrored."""
        return int(2 ** len(self.windows.mirror_axes))

    @cached_property
    def axis(self) -> int:
        return self.windows.stream_axis(self.shape)

    @cached_property
    def starts(self) -> list[list[int]]:
        # Of a stack every slice is a window's, whatever the overlap.
        return [
            list(range(size)) if window == 1 else window_starts(size, window, self.windows.overlap)
            for size, window in zip(self.padded, self.patch, strict=True)
        ]

    @cached_property
    def coarse(self) -> list[list[int]]:
        """Along each axis the numbers of windows that already cover it, with as little overlap as there can be."""
        return [covering(starts, window) for starts, window in zip(self.starts, self.patch, strict=True)]

    @property
    def may_skip(self) -> bool:
        """Whether windows may be left out: of a 3D network, where fewer cover the volume."""
        return (
            self.windows.skip
            and len(self.shape) == len(self.windows.patch)
            and any(len(few) < len(starts) for few, starts in zip(self.coarse, self.starts, strict=True))
        )

    @cached_property
    def weights(self) -> list[list[Tensor]]:
        axes = zip(self.padded, self.patch, self.starts, strict=True)
        return [window_weights(size, window, starts) for size, window, starts in axes]

    def places(self) -> list[Place]:
        """All windows, in the order of the axis along which they are visited."""
        found = itertools.product(*(range(len(starts)) for starts in self.starts))
        return sorted(found, key=lambda place: place[self.axis])

    def box(self, place: Place) -> tuple[slice, ...]:
        """Its voxels in the padded volume."""
        corner = self.corner(place)
        return tuple(slice(start, start + size) for start, size in zip(corner, self.patch, strict=True))

    def corner(self, place: Place) -> tuple[int, ...]:
        return tuple(starts[index] for starts, index in zip(self.starts, place, strict=True))

    def cut(self, image: Tensor, place: Place) -> Tensor:
        """The network's input (C, *patch): a view of the padded image."""
        return image[(slice(None), *self.box(place))].flatten(
            1, len(self.shape) - len(self.windows.patch) + 1
        )

    def weight(self, place: Place, device: torch.device) -> Tensor:
        """Of a window at its voxels, (*patch of S)."""
        weight = torch.ones((), device=device)
        for of_axis, index in zip(self.weights, place, strict=True):
            weight = weight.unsqueeze(-1) * of_axis[index].to(device)
        return weight


def padded(image: Tensor, grid: Grid) -> Tensor:
    """Zeros around the centre up to at least a window; the image itself where it is large enough."""
    if grid.padded == grid.shape:
        return image
    pairs: list[int] = []
    for big, size, before in zip(grid.padded, grid.shape, grid.before, strict=True):
        pairs = [before, big - size - before, *pairs]
    return torch.nn.functional.pad(image, pairs)
