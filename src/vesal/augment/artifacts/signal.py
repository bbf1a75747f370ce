"""The signal of a channel, on which artefacts act.

Shapes, here and in all artefacts: N samples, C channels, S voxels along each of D axes (2 or 3). Image (N, C, *S)
float32. A record is plain arithmetic: the same record and image give the same result, and where nothing was drawn the
image stays the same to the bit.

A scanner measures no negative signal, but a normalised image has negative values: every artefact acts on the signal
x - min(x) of the channel and adds the minimum again, so that it means the same after z-scoring as before. Each channel
is an acquisition of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vesal.augment.intensity import ChannelChange, change_channels
from vesal.augment.random_parameters import to_device

#: Voxels from which percentiles are taken at most: a sort of all voxels of a volume takes longer than the artefact.
_COUNTED = 16384


def usual_range(channel: Tensor) -> tuple[Tensor, Tensor]:
    """1st and 99th percentile of a channel's intensities, which an outlier does not change.

    Taken from at most 16,384 evenly spaced voxels. Minimum and maximum where nearly all voxels are alike.

    >>> usual_range(torch.arange(101.0))
    (tensor(1.), tensor(99.))
    """
    values = channel.flatten()
    # An odd step, so that it visits all columns of an array whose sides are powers of two.
    values = values[:: -(-values.numel() // _COUNTED) | 1]
    shares = to_device(torch.tensor([0.01, 0.99]), values.device)
    low, high = torch.quantile(values.float(), shares)
    least, most = channel.aminmax()
    # A choice on the device: to look at the numbers would be to wait for them.
    return torch.where(high > low, low, least), torch.where(high > low, high, most)


def minimum(scan: Tensor) -> Tensor:
    """(C, 1, ...): the minimum of each channel of (C, *S)."""
    return scan.flatten(1).amin(dim=1).reshape(-1, *[1] * (scan.ndim - 1))


def change_signal(image: Tensor, chosen: Tensor, change: Callable[[Tensor, int, int], Tensor]) -> Tensor:
    """`image` with low + change(x - low, n, c) where `chosen` (N, C) says so; low is the channel's minimum."""

    def changed(channel: Tensor, sample: int, number: int) -> Tensor:
        low = channel.min()
        return change(channel - low, sample, number) + low

    return change_channels(image, chosen, changed)


class SignalChange(ChannelChange):
    """What one number does to the signal of a channel."""

    def apply(self, image: Tensor) -> Tensor:
        """Every channel's signal changed by its amount."""
        return change_signal(image, self.amount != self.nothing, self._changed)
