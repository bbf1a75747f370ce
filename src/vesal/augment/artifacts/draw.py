"""Which artefacts of the acquisition strike, and how hard: chances and ranges become records.

With a chance of 1 and ranges of one value (`motion_degrees=(10, 10)`) it is an artefact of a chosen severity; so
vesal.augment.artifacts.benchmark makes its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vesal.augment.artifacts.ct import HuShift, Streaks
from vesal.augment.artifacts.field_of_view import Cropped, Flipped, WrapAround
from vesal.augment.artifacts.kspace import Ghosting, Motion, Spikes
from vesal.augment.artifacts.severity import between, fitted, learnable
from vesal.augment.artifacts.signal import (
    ARTIFACTS,
    BiasField,
    LogGamma,
    Saturation,
    ScannerNoise,
    SignalScale,
    SliceDropout,
)
from vesal.augment.config import ArtifactConfig
from vesal.augment.intensity import Blur, Intensity, LowResolution
from vesal.augment.random_parameters import directions, happens, log_uniform, uniform, whole

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
        hu: in CT, the Hounsfield units of one unit of intensity; None in a scan of another kind.
    """

    channels: int
    spacing_mm: tuple[float, ...]
    plane: tuple[int, ...]
    hu: float | None = None

    @property
    def modality(self) -> str:
        """CT, or MR for all else: a key of vesal.augment.artifacts.severity.BATTERIES."""
        return "MR" if self.hu is None else "CT"

    @property
    def step_mm(self) -> float:
        """The mean spacing within the plane."""
        return sum(self.spacing_mm[axis] for axis in self.plane) / len(self.plane)

    @property
    def through(self) -> int | None:
        """The axis through the slices: the coarsest of three, the last of several; None in a 2D picture."""
        if len(self.spacing_mm) < 3:
            return None
        return max(range(3), key=lambda axis: (self.spacing_mm[axis], axis))


@dataclass(frozen=True)
class _Draw:
    """What an artefact is drawn for: n patches of a shape, and its chance or the samples that it strikes."""

    config: ArtifactConfig
    frame: Frame
    n: int
    shape: tuple[int, ...]
    chance: float
    channel_chance: float
    samples: Tensor | None = None

    def struck(self, generator: torch.Generator) -> Tensor:
        """(N,) bool: which samples it strikes."""
        drawn = happens((self.n, 1), self.chance, generator)[:, 0]
        return drawn if self.samples is None else self.samples

    def chosen(self, generator: torch.Generator) -> Tensor:
        """(N, C) bool: which channels of which samples it strikes."""
        within = 1.0 if self.frame.channels == 1 else self.channel_chance
        samples = self.struck(generator)[:, None]
        return samples & happens((self.n, self.frame.channels), within, generator)

    def axis(self, generator: torch.Generator) -> Tensor:
        """(N,) int64: one of the plane's axes a sample."""
        return torch.tensor(self.frame.plane)[whole((self.n,), (0, len(self.frame.plane) - 1), generator)]

    @property
    def within(self) -> Tensor:
        """(D,) bool: the axes of the plane."""
        return torch.tensor([axis in self.frame.plane for axis in range(len(self.shape))])

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
    """Records by name, in the order in which they act, for `n` patches of `shape`; none for an artefact of chance 0.

    Each artefact has a generator of its own, so no setting of one changes what another draws, and the given
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
    turn = torch.Generator().manual_seed(int(torch.randint(0, 2**31, (), generator=generator)))
    if config.share > 0:
        spans = fitted(between(config.severity), frame.step_mm, _slices(frame, shape))
        struck = _one_each(min(1.0, config.share * strength), frame, n, turn)
    records: dict[str, Intensity] = {}
    for kind, seed in zip(ARTIFACTS, seeds, strict=True):
        own = torch.Generator().manual_seed(seed)
        if config.share > 0:
            if kind in struck:
                draw = _Draw(spans, frame, n, shape, 1.0, channel_chance, struck[kind])
                records[kind] = _DRAWS[kind](draw, own)
            continue
        chance = min(1.0, config.chance_of(kind) * strength)
        if chance == 0 or not _possible(kind, frame):
            continue
        draw = _Draw(config, frame, n, shape, chance, channel_chance)
        records[kind] = _DRAWS[kind](draw, own)
    return records


def _possible(kind: str, frame: Frame) -> bool:
    """Slices fail in volumes alone, and Hounsfield units are CT's."""
    if kind == "slice":
        return frame.through is not None
    return frame.hu is not None or kind not in ("hu_shift", "streaks")


def _slices(frame: Frame, shape: tuple[int, ...]) -> int:
    return 1 if frame.through is None else shape[frame.through]


def _one_each(share: float, frame: Frame, n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Artefact -> (N,) bool: `share` of the samples suffer one that can be learned; artefacts of none are left out."""
    kinds = learnable(frame.modality, len(frame.spacing_mm))
    corrupted = happens((n,), share, generator)
    pick = whole((n,), (0, len(kinds) - 1), generator)
    struck = {kind: corrupted & (pick == number) for number, kind in enumerate(kinds)}
    return {kind: samples for kind, samples in struck.items() if samples.any()}


def _noise(draw: _Draw, generator: torch.Generator) -> Intensity:
    std = uniform((draw.n, draw.frame.channels), draw.config.noise_range, generator) * draw.chosen(generator)
    seed = torch.randint(0, 2**31, (draw.n,), generator=generator)
    return ScannerNoise(std, seed, draw.config.noise_kind == "rician" and draw.frame.hu is None)


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
        phase=draw.axis(generator),
        channels=chosen,
    )


def _ghosting(draw: _Draw, generator: torch.Generator) -> Intensity:
    strength = uniform((draw.n, draw.frame.channels), draw.config.ghosting_range, generator)
    return Ghosting(
        strength=strength * draw.chosen(generator),
        period=whole((draw.n,), draw.config.ghosting_period, generator),
        phase=uniform((draw.n,), (0.0, 2 * math.pi), generator),
        axis=draw.axis(generator),
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
    return Blur(sigma[..., None] * draw.within)


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


def _factor(draw: _Draw, limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    """(N, C), 1 where the artefact does not strike."""
    drawn = log_uniform((draw.n, draw.frame.channels), limits, generator)
    return torch.where(draw.chosen(generator), drawn, torch.ones(()))


def _low_resolution(draw: _Draw, generator: torch.Generator) -> Intensity:
    growth = _factor(draw, draw.config.low_resolution_range, generator)
    return LowResolution(1 / growth, draw.within.expand(draw.n, -1))


def _anisotropy(draw: _Draw, generator: torch.Generator) -> Intensity:
    growth = _factor(draw, draw.config.anisotropy_range, generator)
    return LowResolution(1 / growth, draw.axis(generator)[:, None] == torch.arange(len(draw.shape)))


def _wrap(draw: _Draw, generator: torch.Generator) -> Intensity:
    share = uniform((draw.n, draw.frame.channels), draw.config.wrap_range, generator)
    return WrapAround(share * draw.chosen(generator), draw.axis(generator))


def _contrast(draw: _Draw, generator: torch.Generator) -> Intensity:
    return Saturation(_factor(draw, draw.config.contrast_range, generator))


def _scale(draw: _Draw, generator: torch.Generator) -> Intensity:
    return SignalScale(_factor(draw, draw.config.scale_range, generator))


def _crop(draw: _Draw, generator: torch.Generator) -> Intensity:
    each = (draw.n, len(draw.shape))
    share = uniform(each, draw.config.crop_range, generator) * draw.struck(generator)[:, None] * draw.within
    at_beginning = happens(each, 0.5, generator)
    return Cropped(share * at_beginning, share * ~at_beginning)


def _flip(draw: _Draw, generator: torch.Generator) -> Intensity:
    along = torch.tensor([axis in draw.config.flip_axes for axis in range(len(draw.shape))])
    return Flipped(draw.struck(generator)[:, None] & along)


def _hu_shift(draw: _Draw, generator: torch.Generator) -> Intensity:
    offset = uniform((draw.n, draw.frame.channels), draw.config.hu_shift_range, generator)
    return HuShift(offset * draw.chosen(generator), draw.frame.hu or 1.0)


def _streaks(draw: _Draw, generator: torch.Generator) -> Intensity:
    struck = draw.struck(generator)
    there = draw.first(draw.config.streaks_count, generator)
    sign = torch.where(happens(tuple(there.shape), 0.5, generator), 1.0, -1.0)
    height = uniform(tuple(there.shape), draw.config.streaks_range, generator) * sign
    flat = len(draw.shape) == 2 or len(draw.frame.plane) == 2
    through = draw.frame.through
    first, second = draw.frame.plane if flat else (axis for axis in range(len(draw.shape)) if axis != through)
    return Streaks(
        axes=(first, second),
        centre=uniform((draw.n, len(draw.shape)), (0.3, 0.7), generator),
        reach=uniform((draw.n,), (0.03, 0.15), generator),
        angles=uniform(tuple(there.shape), (0.0, math.pi), generator),
        height=height * there * struck[:, None],
        radius=uniform((draw.n,), (0.005, 0.02), generator),
        unit=draw.frame.hu or 1.0,
    )


_DRAWS: dict[str, Callable[[_Draw, torch.Generator], Intensity]] = {
    "bias": _bias,
    "blur": _blur,
    "motion": _motion,
    "ghosting": _ghosting,
    "spike": _spike,
    "noise": _noise,
    "slice": _slice,
    "gamma": _gamma,
    "low_resolution": _low_resolution,
    "anisotropy": _anisotropy,
    "wrap": _wrap,
    "contrast": _contrast,
    "scale": _scale,
    "crop": _crop,
    "flip": _flip,
    "hu_shift": _hu_shift,
    "streaks": _streaks,
}
