"""Artefacts of resolution: a blur, and voxels that are too large along all axes or along one."""

from __future__ import annotations

from typing import ClassVar

import torch

from vesal.augment.artifacts.artifact_settings import ArtifactSettings, Patches
from vesal.augment.intensity import Blur, LowResolution
from vesal.augment.ranges import Factors, Limits


class BlurSettings(ArtifactSettings):
    """A Gaussian blur, alike along all axes (within the slice where slices are thick)."""

    acts = 20
    severities: ClassVar = {"sigma": (0.5, 1.0, 1.5, 2.0, 3.0)}
    together = True

    sigma: Limits = (0.5, 1.5)
    """Range of the blur's sigma, in voxels."""

    def draw(self, patches: Patches, generator: torch.Generator) -> Blur:
        return Blur(patches.amount(self.sigma, generator)[..., None] * patches.within)


class LowResolutionSettings(ArtifactSettings):
    """Larger voxels, alike along all axes (within the slice where slices are thick)."""

    acts = 21
    severities: ClassVar = {"factor": (1.5, 2.0, 2.5, 3.0, 4.0)}

    factor: Factors = (1.5, 3.0)
    """Range of the factor by which they grow."""

    def draw(self, patches: Patches, generator: torch.Generator) -> LowResolution:
        return LowResolution(1 / patches.factor(self.factor, generator), patches.within.expand(patches.n, -1))


class AnisotropySettings(ArtifactSettings):
    """Voxels that are larger along one axis (within the slice where slices are thick)."""

    acts = 22
    severities: ClassVar = {"factor": (1.5, 2.0, 3.0, 4.0, 6.0)}

    factor: Factors = (1.5, 4.0)
    """Range of the factor by which they grow."""

    def draw(self, patches: Patches, generator: torch.Generator) -> LowResolution:
        growth = patches.factor(self.factor, generator)
        axes = patches.axis(generator)[:, None] == torch.arange(len(patches.shape))
        return LowResolution(1 / growth, axes)
