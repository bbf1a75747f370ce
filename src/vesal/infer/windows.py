"""Whole-volume prediction by windows: positions, Gaussian blending, batches, mirroring.

Shapes: image (C, *S), logits (K, *S). For a 2D network S is (slices, A, B), and every slice is predicted on
its own; for a 3D network S is (X, Y, Z).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Windows:
    """How a volume is cut for prediction.

    Attributes:
        patch: window size along the network's axes (2 or 3).
        overlap: share of a window that its neighbour covers again, 0 to under 1.
        batch: windows in one forward pass.
        mirror_axes: network axes to mirror; the mean over all subsets of them is taken.
    """

    patch: tuple[int, ...]
    overlap: float = 0.5
    batch: int = 1
    mirror_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.overlap < 1.0:
            raise ValueError(f"overlap is a share from 0 to under 1, not {self.overlap}")


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


def gaussian_weight(patch: Sequence[int], sigma_share: float = 1.0 / 8.0) -> Tensor:
    """A separable Gaussian over a window, 1 at its centre, sigma = patch * sigma_share, float32.

    Its smallest value is kept above 1e-4, so that a corner that a single window covers keeps its digits.
    """
    weight = torch.ones((), dtype=torch.float32)
    for size in patch:
        distance = torch.arange(size, dtype=torch.float32) - (size - 1) / 2.0
        axis = torch.exp(-0.5 * (distance / (size * sigma_share)) ** 2)
        weight = weight.unsqueeze(-1) * axis
    return (weight / weight.max()).clamp_min(1e-4)


@torch.inference_mode()
def predict_logits(
    network: Network, image: Tensor, windows: Windows, *, outputs: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Logits of a whole prepared image.

    Args:
        network: maps (N, C, *patch) to logits (N, outputs, *patch), on `device`.
        image: (C, *S) float32; a volume smaller than the window is padded around with zeros, as in training.
        windows: how to cut.
        outputs: K, the network's channels.

    Returns:
        (K, *S) float32 on the CPU.
    """
    stack = image.ndim - 1 > len(windows.patch)
    padded, inner = _pad_to(image, windows.patch)
    starts = [
        window_starts(size, window, windows.overlap)
        for size, window in zip(padded.shape[-len(windows.patch) :], windows.patch, strict=True)
    ]
    slices = range(padded.shape[1]) if stack else [None]
    places = [(index, corner) for index in slices for corner in itertools.product(*starts)]
    total = torch.zeros((outputs, *padded.shape[1:]), dtype=torch.float32)
    single = all(len(axis) == 1 for axis in starts)
    weight = torch.ones(()) if single else gaussian_weight(windows.patch)
    for first in range(0, len(places), windows.batch):
        chosen = [
            _region(index, corner, windows.patch) for index, corner in places[first : first + windows.batch]
        ]
        batch = torch.stack([padded[region] for region in chosen]).to(device)
        logits = _mirrored_mean(network, batch, windows.mirror_axes).float().cpu()
        for region, result in zip(chosen, logits, strict=True):
            total[region] += result * weight
    if not single:
        total /= _coverage(starts, padded.shape[-len(windows.patch) :], windows.patch, weight)
    return total[inner]


def _mirrored_mean(network: Network, batch: Tensor, axes: Sequence[int]) -> Tensor:
    logits = network(batch)
    subsets = [
        [axis + 2 for axis in subset]
        for count in range(1, len(axes) + 1)
        for subset in itertools.combinations(axes, count)
    ]
    for flips in subsets:
        logits = logits + network(batch.flip(flips)).flip(flips)
    return logits / (len(subsets) + 1)


def _region(index: int | None, corner: Sequence[int], patch: Sequence[int]) -> tuple[slice | int, ...]:
    spatial = tuple(slice(start, start + size) for start, size in zip(corner, patch, strict=True))
    return (slice(None), *spatial) if index is None else (slice(None), index, *spatial)


def _pad_to(image: Tensor, patch: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad the network's axes around the centre to at least `patch`; also the region of the original."""
    sizes = image.shape[-len(patch) :]
    before = [max(0, window - size) // 2 for size, window in zip(sizes, patch, strict=True)]
    after = [max(0, window - size) - first for size, window, first in zip(sizes, patch, before, strict=True)]
    inner = tuple(slice(first, first + size) for first, size in zip(before, sizes, strict=True))
    lead = tuple(slice(None) for _ in range(image.ndim - len(patch)))
    if not any(before) and not any(after):
        return image, (*lead, *inner)
    pairs = [
        value
        for first, last in zip(reversed(before), reversed(after), strict=True)
        for value in (first, last)
    ]
    return torch.nn.functional.pad(image, pairs), (*lead, *inner)


def _coverage(
    starts: Sequence[Sequence[int]], shape: Sequence[int], patch: Sequence[int], weight: Tensor
) -> Tensor:
    """Sum of the windows' weights at every voxel, (*S)."""
    coverage = torch.zeros(tuple(shape), dtype=torch.float32)
    for corner in itertools.product(*starts):
        coverage[tuple(slice(start, start + size) for start, size in zip(corner, patch, strict=True))] += (
            weight
        )
    return coverage
