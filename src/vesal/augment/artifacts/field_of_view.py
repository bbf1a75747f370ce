"""Artefacts of what a scan covers: wrap-around, a cropped field of view, a patient who lies the other way round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import ArtifactSettings, Number, Patches
from vesal.augment.artifacts.signal import minimum
from vesal.augment.intensity import copy_where
from vesal.augment.random_parameters import happens, uniform
from vesal.augment.ranges import Shares


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
        image, places = copy_where(image, self.share > 0)
        for sample, channel in places:
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


class WrapSettings(ArtifactSettings):
    """Wrap-around: a body beyond the field of view is folded to its other side."""

    acts = 32
    severities: ClassVar = {"share": (0.05, 0.1, 0.2, 0.3, 0.45)}
    modalities = ("MR",)

    share: Shares = (0.1, 0.3)
    """Range of the share of the side that is overlaid at each end."""

    def draw(self, patches: Patches, generator: torch.Generator) -> WrapAround:
        return WrapAround(patches.amount(self.share, generator), patches.axis(generator))


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
        image, places = copy_where(image, ((self.low > 0) | (self.high > 0)).any(dim=1))
        for (row,) in places:
            scan = image[row]
            dark = minimum(scan).expand_as(scan).clone()
            inside = (slice(None), *self.limits(tuple(scan.shape[1:]), row))
            dark[inside] = scan[inside]
            image[row] = dark
        return image


class CropSettings(ArtifactSettings):
    """A field of view that ends too early, on one side of each axis (within the slice where slices are thick).

    Not learned: the label of a cropped scan shows what cannot be seen.
    """

    acts = 70
    severities: ClassVar = {"share": (0.05, 0.1, 0.15, 0.2, 0.3)}
    learned = False

    share: Shares = (0.05, 0.2)
    """Range of the share of each side that is cut off."""

    def draw(self, patches: Patches, generator: torch.Generator) -> Cropped:
        """A share an axis, at its beginning or at its end; all channels lose the same."""
        each = (patches.n, len(patches.shape))
        share = uniform(each, self.share, generator)
        share = share * patches.chosen_samples(generator)[:, None] * patches.within
        at_beginning = happens(each, 0.5, generator)
        return Cropped(share * at_beginning, share * ~at_beginning)


@dataclass(frozen=True, eq=False)
class Flipped:
    """The patient lies the other way round and the header does not say so; flips (N, D) bool, along which axes."""

    flips: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """The mirror image; its own inverse."""
        image, places = copy_where(image, self.flips.any(dim=1))
        for (row,) in places:
            image[row] = image[row].flip([1 + axis for axis in self.flips[row].nonzero().flatten().tolist()])
        return image


class FlipSettings(ArtifactSettings):
    """A scan that lies the other way round. Not learned: mirroring has its own switch."""

    acts = 0
    # No order of strength: one axis after the other, then two, then all.
    severities: ClassVar = {"axes": ((0,), (1,), (2,), (0, 1), (0, 1, 2))}
    learned = False

    axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] = (0,)
    """Along which axes; those that a scan does not have are left out."""

    def text(self) -> str:
        """The axes."""
        return ",".join(map(str, self.axes))

    @classmethod
    def from_numbers(cls, numbers: list[Number]) -> dict[str, Any] | None:
        """Each number is an axis."""
        if any(unit or low != high for low, high, unit in numbers):
            return None
        return {"axes": tuple(low for low, *_ in numbers)}

    def draw(self, patches: Patches, generator: torch.Generator) -> Flipped:
        along = torch.tensor([axis in self.axes for axis in range(len(patches.shape))])
        return Flipped(patches.chosen_samples(generator)[:, None] & along)
