"""Artefacts of the intensity curve: a power law, and a contrast that saturates."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import ArtifactSettings, Patches
from vesal.augment.artifacts.signal import SignalChange, usual_range
from vesal.augment.ranges import Factors, SignedLimits


class LogGamma(SignalChange):
    """A power law on the channel's range, which it keeps: ((x - min) / (max - min)) ** exp(amount)."""

    nothing = 0.0

    def change(self, channel: Tensor, amount: float) -> Tensor:
        high = channel.max()
        exponent = float(torch.tensor(amount, dtype=torch.float64).exp())
        return (channel / high.clamp_min(1e-12)).pow(exponent) * high


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


class Saturation(SignalChange):
    """A contrast that is too hard: stretched by the amount, above 1, about the middle of the range (`usual_range`),
    and cut off at its ends."""

    def change(self, channel: Tensor, amount: float) -> Tensor:
        low, high = usual_range(channel)
        middle = (low + high) / 2
        return torch.minimum(torch.maximum((channel - middle) * amount + middle, low), high)


class ContrastSettings(ArtifactSettings):
    """A contrast that is too strong and saturates."""

    acts = 61
    severities: ClassVar = {"factor": (1.15, 1.35, 1.6, 2.0, 3.0)}

    factor: Factors = (1.25, 2.0)
    """Range of the factor by which intensities are stretched before they are cut off."""

    def draw(self, patches: Patches, generator: torch.Generator) -> Saturation:
        return Saturation(patches.factor(self.factor, generator))
