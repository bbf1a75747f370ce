"""Artefacts of the intensity curve: a power law, and a contrast that saturates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import ArtifactSettings, Patches
from vesal.augment.artifacts.signal import change_signal, usual_range
from vesal.augment.ranges import Factors, SignedLimits


@dataclass(frozen=True, eq=False)
class LogGamma:
    """A power law on the channel's range, which it keeps; exponent exp(log_exponent), (N, C), 0 for none."""

    log_exponent: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """((x - min) / (max - min)) ** exp(log_exponent), stretched to the old minimum and maximum."""

        def bent(signal: Tensor, sample: int, channel: int) -> Tensor:
            high = signal.max()
            exponent = float(self.log_exponent[sample, channel].double().exp())
            return (signal / high.clamp_min(1e-12)).pow(exponent) * high

        return change_signal(image, self.log_exponent != 0, bent)


class GammaSettings(ArtifactSettings):
    """A power law on the intensities, their range kept."""

    acts = 62
    severities: ClassVar = {"log_exponent": (0.15, 0.3, 0.5, 0.7, 1.0)}
    modalities = ("MR",)
    signed = True
    together = True

    log_exponent: SignedLimits = (-0.3, 0.3)
    """Range of the natural logarithm of the exponent."""

    def draw(self, patches: Patches, generator: torch.Generator) -> LogGamma:
        return LogGamma(patches.amount(self.log_exponent, generator))


@dataclass(frozen=True, eq=False)
class Saturation:
    """A contrast that is too hard: stretched about the middle of the range (`usual_range`), cut off at its ends.

    Attributes:
        factor: (N, C) of the stretching, above 1; 1 for none.
    """

    factor: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """(x - middle) * factor + middle, clipped to the range."""

        def stretched(signal: Tensor, sample: int, channel: int) -> Tensor:
            low, high = usual_range(signal)
            middle = (low + high) / 2
            wide = (signal - middle) * float(self.factor[sample, channel]) + middle
            return torch.minimum(torch.maximum(wide, low), high)

        return change_signal(image, self.factor != 1, stretched)


class ContrastSettings(ArtifactSettings):
    """A contrast that is too strong and saturates."""

    acts = 61
    severities: ClassVar = {"factor": (1.15, 1.35, 1.6, 2.0, 3.0)}

    factor: Factors = (1.25, 2.0)
    """Range of the factor by which intensities are stretched before they are cut off."""

    def draw(self, patches: Patches, generator: torch.Generator) -> Saturation:
        return Saturation(patches.factor(self.factor, generator))
