"""Which faults of the acquisition strike, and how hard: chances and ranges become records.

With a chance of 1 and ranges of one value (`motion_degrees=(10, 10)`) it is a fault of a chosen severity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vesal.augment.artifacts import ARTIFACTS, BiasField, LogGamma, ScannerNoise, SliceDropout
from vesal.augment.chance import directions, happens, uniform, whole
from vesal.augment.config import ArtifactConfig
from vesal.augment.intensity import Blur, Intensity
from vesal.augment.kspace import Ghosting, Motion, Spikes

#: Order of the polynomial that a bias field is the exponential of: a gradient, a bowl and one turn more.
BIAS_ORDER = 3

#: Frequencies of spikes, in cycles a voxel: below, stripes are so wide that they are a bias.
_SPIKE_FREQUENCY = (0.05, 0.5)


@dataclass(frozen=True)
class Frame:
    """How patches lie in the scanner.

    Attributes:
        channels: of the scan.
        spacing_mm: along the patch's axes.
        plane: axes in which the scan was measured: those within thick slices, or all.
    """

    channels: int
    spacing_mm: tuple[float, ...]
    plane: tuple[int, ...]

    @property
    def through(self) -> int | None:
        """The axis through the slices: the coarsest of three, the last of several; None in a 2D picture."""
        if len(self.spacing_mm) < 3:
            return None
        return max(range(3), key=lambda axis: (self.spacing_mm[axis], axis))


@dataclass(frozen=True)
class _Draw:
    """What a fault is drawn for: n patches of a shape, and its chance."""

    config: ArtifactConfig
    frame: Frame
    n: int
    shape: tuple[int, ...]
    chance: float
    channel_chance: float

    def chosen(self, generator: torch.Generator) -> Tensor:
        """(N, C) bool: which channels of which samples it strikes."""
        within = 1.0 if self.frame.channels == 1 else self.channel_chance
        samples = happens((self.n, 1), self.chance, generator)
        return samples & happens((self.n, self.frame.channels), within, generator)

    def first(self, limits: tuple[int, int], generator: torch.Generator) -> Tensor:
        """(N, high) bool: the first few of each row, as many as are drawn."""
        count = whole((self.n, 1), limits, generator)
        return torch.arange(limits[1])[None] < count


def draw_artifacts(
    config: ArtifactConfig,
    frame: Frame,
    n: int,
    shape: tuple[int, ...],
    generator: torch.Generator,
    *,
    strength: float = 1.0,
    channel_chance: float = 1.0,
) -> dict[str, Intensity]:
    """Records by name, in the order in which they act, for `n` patches of `shape`; none for a fault of chance 0.

    Each fault has a generator of its own, so no setting of one changes what another draws, and the given
    generator gives as many numbers whatever the settings.

    Args:
        config: chances and ranges.
        frame: how the patches lie in the scanner.
        n: number of samples.
        shape: of a patch, (*S).
        generator: of the CPU.
        strength: multiplies the chances.
        channel_chance: chance that a channel takes part, in scans of several.
    """
    seeds = torch.randint(0, 2**31, (len(ARTIFACTS),), generator=generator).tolist()
    records: dict[str, Intensity] = {}
    for kind, seed in zip(ARTIFACTS, seeds, strict=True):
        chance = min(1.0, config.chance_of(kind) * strength)
        if chance == 0 or (kind == "slice" and frame.through is None):
            continue
        draw = _Draw(config, frame, n, shape, chance, channel_chance)
        records[kind] = _DRAWS[kind](draw, torch.Generator().manual_seed(seed))
    return records


def _noise(draw: _Draw, generator: torch.Generator) -> Intensity:
    std = uniform((draw.n, draw.frame.channels), draw.config.noise_range, generator) * draw.chosen(generator)
    seed = torch.randint(0, 2**31, (draw.n,), generator=generator)
    return ScannerNoise(std, seed, draw.config.noise_kind == "rician")


def _motion(draw: _Draw, generator: torch.Generator) -> Intensity:
    config, axes = draw.config, draw.frame.plane
    chosen = draw.chosen(generator)
    there = draw.first(config.motion_count, generator)
    poses = there.shape
    turns = 1 if len(axes) == 2 else 3
    angles = uniform((*poses, 1), config.motion_degrees, generator) * directions((*poses, turns), generator)
    shift = uniform((*poses, 1), config.motion_voxels, generator) * directions((*poses, len(axes)), generator)
    moments = uniform(poses, (0.0, 1.0), generator)
    return Motion(
        axes=axes,
        spacing_mm=tuple(draw.frame.spacing_mm[axis] for axis in axes),
        angles=angles,
        shift=shift,
        moments=torch.where(there, moments, torch.ones(())).sort(dim=1).values,
        phase=torch.tensor(axes)[whole((draw.n,), (0, len(axes) - 1), generator)],
        channels=chosen,
    )


def _ghosting(draw: _Draw, generator: torch.Generator) -> Intensity:
    axes = draw.frame.plane
    strength = uniform((draw.n, draw.frame.channels), draw.config.ghosting_range, generator)
    return Ghosting(
        strength=strength * draw.chosen(generator),
        period=whole((draw.n,), draw.config.ghosting_period, generator),
        phase=uniform((draw.n,), (0.0, 2 * math.pi), generator),
        axis=torch.tensor(axes)[whole((draw.n,), (0, len(axes) - 1), generator)],
    )


def _bias(draw: _Draw, generator: torch.Generator) -> Intensity:
    each, axes = (draw.n, draw.frame.channels), len(draw.shape)
    strength = uniform(each, draw.config.bias_range, generator) * draw.chosen(generator)
    coefficients = uniform((*each, *(BIAS_ORDER + 1,) * axes), (-1.0, 1.0), generator)
    orders = torch.stack(torch.meshgrid(*[torch.arange(BIAS_ORDER + 1)] * axes, indexing="ij")).sum(dim=0)
    return BiasField(strength, coefficients * (orders <= BIAS_ORDER))


def _spike(draw: _Draw, generator: torch.Generator) -> Intensity:
    config, axes = draw.config, draw.frame.plane
    chosen = draw.chosen(generator)
    there = draw.first(config.spike_count, generator)
    radius = uniform((*there.shape, 1), _SPIKE_FREQUENCY, generator)
    height = uniform(tuple(there.shape), config.spike_range, generator) * there
    return Spikes(
        axes=axes,
        frequency=radius * directions((*there.shape, len(axes)), generator),
        phase=uniform(tuple(there.shape), (0.0, 2 * math.pi), generator),
        height=height[:, None] * chosen[..., None],
    )


def _gamma(draw: _Draw, generator: torch.Generator) -> Intensity:
    drawn = uniform((draw.n, draw.frame.channels), draw.config.gamma_range, generator)
    return LogGamma(drawn * draw.chosen(generator))


def _blur(draw: _Draw, generator: torch.Generator) -> Intensity:
    sigma = uniform((draw.n, draw.frame.channels), draw.config.blur_range, generator) * draw.chosen(generator)
    within = torch.tensor([axis in draw.frame.plane for axis in range(len(draw.shape))])
    return Blur(sigma[..., None] * within)


def _slice(draw: _Draw, generator: torch.Generator) -> Intensity:
    axis = draw.frame.through
    assert axis is not None
    count = draw.shape[axis]
    chosen = draw.chosen(generator)
    there = draw.first(draw.config.slice_count, generator)
    factor = uniform((draw.n, there.shape[1]), draw.config.slice_range, generator)
    factor = torch.where(there, factor, torch.ones(()))[:, :count]
    slices = torch.rand((draw.n, count), generator=generator).argsort(dim=1)[:, : factor.shape[1]]
    return SliceDropout(axis, slices, torch.where(chosen[..., None], factor[:, None], torch.ones(())))


_DRAWS: dict[str, Callable[[_Draw, torch.Generator], Intensity]] = {
    "bias": _bias,
    "blur": _blur,
    "motion": _motion,
    "ghosting": _ghosting,
    "spike": _spike,
    "noise": _noise,
    "slice": _slice,
    "gamma": _gamma,
}
