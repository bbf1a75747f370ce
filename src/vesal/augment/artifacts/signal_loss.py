"""A signal that is too weak or too strong: in single slices, or in the whole scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import ArtifactSettings, Patches
from vesal.augment.artifacts.signal import SignalChange
from vesal.augment.intensity import copy_where
from vesal.augment.random_parameters import uniform
from vesal.augment.ranges import Counts, Factors, Limits, Shares


@dataclass(frozen=True, eq=False)
class SliceDropout:
    """Slices whose signal is weaker or stronger than their neighbours', as when a pulse fails or crosses another.

    Attributes:
        axis: the spatial axis that runs through the slices.
        slices: (N, K) int64, which slices; each at most once.
        factor: (N, C, K) on the slice's signal; 1 for none, 0 blanks it.
    """

    axis: int
    slices: Tensor
    factor: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """Signal times factor in the named slices; all others stay as they are, bit for bit."""
        image, places = copy_where(image, (self.factor != 1).any(dim=2))
        for sample, channel in places:
            scan = image[sample, channel]
            low = scan.min()
            for place, factor in zip(
                self.slices[sample].tolist(), self.factor[sample, channel].tolist(), strict=True
            ):
                if factor != 1:
                    one = scan.select(self.axis, place)
                    one.copy_((one - low) * factor + low)
        return image


class SliceSettings(ArtifactSettings):
    """Slices that are darker or brighter than the others; in 3D only, along the coarsest axis."""

    acts = 50
    severities: ClassVar = {"share": (0.1, 0.15, 0.2, 0.3, 0.4), "factor": (0.6, 0.4, 0.25, 0.1, 0.0)}
    written = ("count", "factor")
    min_dimension = 3
    loses_signal = True

    count: Counts = (1, 5)
    """Range of the number of such slices."""
    share: Shares | None = None
    """Range of the share of the slices, in place of their number; null for the number."""
    factor: Limits = (0.8, 1.2)
    """Range of the factor on such a slice's signal; 0 blanks it."""

    def draw(self, patches: Patches, generator: torch.Generator) -> SliceDropout:
        """Which slices, the same in all channels, and a factor each."""
        axis = patches.frame.through
        assert axis is not None
        slices = patches.shape[axis]
        low, high = self.count if self.share is None else (max(1, round(of * slices)) for of in self.share)
        chosen = patches.chosen(generator)
        there = patches.first((low, high), generator)
        factor = uniform((patches.n, there.shape[1]), self.factor, generator)
        factor = torch.where(there, factor, torch.ones(()))[:, :slices]
        which = torch.rand((patches.n, slices), generator=generator).argsort(dim=1)[:, : factor.shape[1]]
        return SliceDropout(axis, which, torch.where(chosen[..., None], factor[:, None], torch.ones(())))


class SignalScale(SignalChange):
    """A signal that is stronger or weaker all over, by the amount."""

    def change(self, channel: Tensor, amount: float) -> Tensor:
        return channel * amount


class ScaleSettings(ArtifactSettings):
    """A signal that is weaker or stronger in the whole scan."""

    acts = 60
    severities: ClassVar = {"factor": (1.25, 1.5, 2.0, 4.0, 10.0)}
    loses_signal = True

    factor: Factors = (0.5, 2.0)
    """Range of that factor, uniform in its logarithm."""

    def opposite(self) -> Self:
        """The inverse factors."""
        low, high = self.factor
        return self.model_copy(update={"factor": (1 / high, 1 / low)})

    @classmethod
    def spanning(cls, severity: tuple[int, int]) -> Self:
        """As for all artefacts; down to the weakest slice of these severities that has any signal.

        A slice that lost its signal is, in 2D, an image that did.
        """
        settings = super().spanning(severity)
        weakest_slice = max(0.1, SliceSettings.spanning(severity).factor[0])
        factor = (min(settings.factor[0], weakest_slice), settings.factor[1])
        return settings.model_copy(update={"factor": factor})

    def draw(self, patches: Patches, generator: torch.Generator) -> SignalScale:
        return SignalScale(patches.factor(self.factor, generator))
