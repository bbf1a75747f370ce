"""Artefacts of what a scan covers: wrap-around, a cropped field of view, a patient the other way round.

Shapes and the signal x - min(x) as in vesal.augment.artifacts.signal; one record an artefact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class WrapAround:
    """Aliasing: the body reaches beyond the field of view, and what lies there is folded to the other side.

    What lies beyond is not known; it is taken to go on as the mirror image of what is next to the border.

    Attributes:
        share: (N, C) of the side that is overlaid at each end, 0 to 1; 0 for none.
        axis: (N,) int64, the axis of phase encoding.
    """

    share: Tensor
    axis: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """Signal plus, at each end, the signal from beyond the other end."""
        chosen = self.share > 0
        if not chosen.any():
            return image
        image = image.clone()
        for sample, channel in chosen.nonzero().tolist():
            scan, axis = image[sample, channel], int(self.axis[sample])
            signal = scan - scan.min()
            size = signal.shape[axis]
            width = min(size, round(size * float(self.share[sample, channel])))
            # Place size + j lies beyond the far end, looks like size - 1 - j and is folded to j; and so mirrored.
            folded = torch.zeros_like(signal)
            beyond = signal.flip(axis)
            folded.narrow(axis, 0, width).add_(beyond.narrow(axis, 0, width))
            folded.narrow(axis, size - width, width).add_(beyond.narrow(axis, size - width, width))
            image[sample, channel] = scan + folded
        return image


@dataclass(frozen=True, eq=False)
class Cropped:
    """A field of view that ends too early: beyond it the scan has no signal.

    Attributes:
        low, high: (N, D), shares of each side that are cut off at its beginning and end; 0 for none.
    """

    low: Tensor
    high: Tensor

    def limits(self, shape: tuple[int, ...], sample: int) -> tuple[slice, ...]:
        """What remains of a volume of `shape`; at least a voxel of each side."""
        found = []
        for axis, size in enumerate(shape):
            first = min(round(size * float(self.low[sample, axis])), size - 1)
            last = max(first + 1, size - round(size * float(self.high[sample, axis])))
            found.append(slice(first, last))
        return tuple(found)

    def apply(self, image: Tensor) -> Tensor:
        """The minimum of the channel in place of what is cut off."""
        rows = ((self.low > 0) | (self.high > 0)).any(dim=1).nonzero().flatten().tolist()
        if not rows:
            return image
        image = image.clone()
        for row in rows:
            scan = image[row]
            dark = scan.flatten(1).amin(dim=1).reshape(-1, *[1] * (scan.ndim - 1)).expand_as(scan).clone()
            inside = (slice(None), *self.limits(tuple(scan.shape[1:]), row))
            dark[inside] = scan[inside]
            image[row] = dark
        return image


@dataclass(frozen=True, eq=False)
class Flipped:
    """The patient lies the other way round and the header does not say so; flips (N, D) bool, along which axes."""

    flips: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """The mirror image; its own inverse."""
        rows = self.flips.any(dim=1).nonzero().flatten().tolist()
        if not rows:
            return image
        image = image.clone()
        for row in rows:
            image[row] = image[row].flip([1 + axis for axis in self.flips[row].nonzero().flatten().tolist()])
        return image
