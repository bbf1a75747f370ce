"""How training patches are varied: chances and ranges, one docstring a field, which is also its help."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= limits[0] <= limits[1]:
        raise ValueError(f"a range goes from low to high and not below 0, {limits} does not")
    return limits


def _positive(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] <= 0:
        raise ValueError(f"this range has to stay above 0, {limits} does not")
    return limits


def _signed(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] <= limits[1]:
        raise ValueError(f"a range goes from low to high, {limits} does not")
    return limits


def _counted(limits: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= limits[0] <= limits[1]:
        raise ValueError(
            f"a range of counts goes from low to high and begins at 1 or above, {limits} does not"
        )
    return limits


def _unfolded(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[1] >= 1:
        raise ValueError(
            f"an interval cannot shrink by its whole width or more: {limits} has to stay below 1"
        )
    return limits


Chance = Annotated[float, Field(ge=0.0, le=1.0)]
Limits = Annotated[tuple[float, float], AfterValidator(_ordered)]
Factors = Annotated[Limits, AfterValidator(_positive)]
Shares = Annotated[
    tuple[Annotated[float, Field(le=1.0)], Annotated[float, Field(le=1.0)]], AfterValidator(_ordered)
]
Span = Annotated[tuple[float, float], AfterValidator(_signed)]
Stretch = Annotated[Limits, AfterValidator(_unfolded)]
Few = Annotated[int, Field(le=64)]
Counts = Annotated[tuple[Few, Few], AfterValidator(_counted)]
Period = Annotated[int, Field(ge=2)]
Severity = Annotated[int, Field(ge=1, le=5)]
Periods = Annotated[tuple[Period, Period], AfterValidator(_counted)]


class ArtifactConfig(BaseModel):
    """Faults of acquisitions; see vesal.augment.artifacts.signal. All are off unless a chance is given.

    `share` is the one switch: so many samples suffer one fault of the robustness battery, each fault as likely as
    the others. A bare number in place of these settings is the share.

    Chances are per sample (patch); in scans of several channels, each of which is an acquisition of its own,
    AugmentConfig.channel_chance says which channels a sample's artefact falls on.

    >>> ArtifactConfig(chance=0.3).chance_of("motion")
    0.3
    >>> AugmentConfig(artifacts=0.5).artifacts.share
    0.5
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    share: Chance = 0.0
    """Share of the samples that suffer one fault, drawn from those of the robustness battery that can be learned."""
    severity: tuple[Severity, Severity] = (1, 4)
    """The severities of the battery, 1 to 5, between which `share` draws."""

    chance: Chance | None = None
    """When set, the chance of each of noise, motion, bias, spike, gamma and blur, in place of their own."""

    noise_chance: Chance = 0.0
    """Chance of the scanner's noise."""
    noise_range: Limits = (0.01, 0.03)
    """Range of its standard deviation, as a share of the channel's range of intensities (1st to 99th percentile)."""
    noise_kind: Literal["rician", "gaussian"] = "rician"
    """Rician, as in magnitude images, or gaussian."""
    motion_chance: Chance = 0.0
    """Chance that the patient moves during the acquisition; within the slice where slices are thick."""
    motion_degrees: Limits = (5.0, 15.0)
    """Range of each movement's rotation, in degrees, either way."""
    motion_voxels: Limits = (2.0, 8.0)
    """Range of each movement's translation, in voxels, in any direction."""
    motion_count: Counts = (1, 3)
    """Range of the number of movements."""
    ghosting_chance: Chance = 0.0
    """Chance of ghosts: faint copies of the body, moved along the direction of phase encoding."""
    ghosting_period: Periods = (2, 10)
    """Range of the number n of lines after which the modulation recurs: the copies lie 1/n of the side away."""
    ghosting_range: Limits = (0.2, 0.8)
    """Range of the modulation's strength; each of the two copies has half of it."""
    bias_chance: Chance = 0.0
    """Chance of an uneven sensitivity of the coil."""
    bias_range: Limits = (0.1, 0.5)
    """Range of the largest absolute logarithm of the factor by which intensities are multiplied."""
    spike_chance: Chance = 0.0
    """Chance of spikes in k-space, which make stripes (herringbone)."""
    spike_count: Counts = (2, 8)
    """Range of the number of spikes."""
    spike_range: Limits = (0.1, 0.5)
    """Range of a spike's height, as a share of the spectrum's maximum."""
    gamma_chance: Chance = 0.0
    """Chance of a power law on the intensities, their range kept."""
    gamma_range: Span = (-0.3, 0.3)
    """Range of the natural logarithm of the exponent."""
    blur_chance: Chance = 0.0
    """Chance of a Gaussian blur, alike along all axes (within the slice where slices are thick)."""
    blur_range: Limits = (0.5, 1.5)
    """Range of the blur's sigma, in voxels."""
    slice_chance: Chance = 0.0
    """Chance that some slices are darker or brighter than the others; in 3D only, along the coarsest axis."""
    slice_count: Counts = (1, 5)
    """Range of the number of such slices."""
    slice_range: Limits = (0.8, 1.2)
    """Range of the factor on such a slice's signal; 0 blanks it."""
    low_resolution_chance: Chance = 0.0
    """Chance of larger voxels, alike along all axes (within the slice where slices are thick)."""
    low_resolution_range: Factors = (1.5, 3.0)
    """Range of the factor by which they grow."""
    anisotropy_chance: Chance = 0.0
    """Chance of voxels that are larger along one axis (within the slice where slices are thick)."""
    anisotropy_range: Factors = (1.5, 4.0)
    """Range of the factor by which they grow."""
    wrap_chance: Chance = 0.0
    """Chance of wrap-around: a body beyond the field of view is folded to its other side."""
    wrap_range: Shares = (0.1, 0.3)
    """Range of the share of the side that is overlaid at each end."""
    contrast_chance: Chance = 0.0
    """Chance of a contrast that is too hard and saturates."""
    contrast_range: Factors = (1.25, 2.0)
    """Range of the factor by which intensities are stretched before they are cut off."""
    scale_chance: Chance = 0.0
    """Chance of a signal that is weaker or stronger all over."""
    scale_range: Factors = (0.5, 2.0)
    """Range of that factor, uniform in its logarithm."""
    crop_chance: Chance = 0.0
    """Chance of a field of view that ends too early, on one side of each axis (within the slice where thick)."""
    crop_range: Shares = (0.05, 0.2)
    """Range of the share of each side that is cut off."""
    flip_chance: Chance = 0.0
    """Chance that a scan lies the other way round."""
    flip_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] = (0,)
    """Along which axes."""
    hu_shift_chance: Chance = 0.0
    """Chance of a scale of Hounsfield units that is off; in CT only."""
    hu_shift_range: Span = (-50.0, 50.0)
    """Range of the number of HU that is added."""
    streaks_chance: Chance = 0.0
    """Chance of metal-like streaks; in CT only."""
    streaks_count: Counts = (4, 12)
    """Range of the number of rays."""
    streaks_range: Limits = (100.0, 400.0)
    """Range of a ray's height next to the metal, in HU."""

    def chance_of(self, kind: str) -> float:
        """The chance of one kind of artefact, by its name in vesal.augment.artifacts.signal.ARTIFACTS."""
        if self.chance is not None and kind in _TOGETHER:
            return self.chance
        chance: float = getattr(self, f"{kind}_chance")
        return chance


def _as_share(value: Any) -> Any:
    """A bare number for the settings of artefacts is their share."""
    return {"share": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


#: What ArtifactConfig.chance sets.
_TOGETHER = ("noise", "motion", "bias", "spike", "gamma", "blur")


class AugmentConfig(BaseModel):
    """How training patches are varied; the defaults are nnU-Net's. Chances are per sample (patch).

    >>> AugmentConfig(rotation_degrees=15).rotation_chance
    0.2
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    enabled: bool = True
    """Whether patches are varied at all."""
    strength: Annotated[float, Field(ge=0.0)] = 1.0
    """Multiplies every chance but that of mirroring (no chance exceeds 1); 0 leaves only mirroring."""

    rotation_chance: Chance = 0.2
    """Chance of a rotation; about all axes, or within the slice where slices are thick."""
    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 30.0
    """Largest rotation about each axis, in degrees, either way."""
    scale_chance: Chance = 0.2
    """Chance of scaling, alike along all axes (within the slice where slices are thick)."""
    scale_range: Factors = (0.7, 1.4)
    """Range of the magnification; above 1 enlarges. Uniform in its logarithm."""
    elastic_chance: Chance = 0.0
    """Chance of a smooth random deformation."""
    elastic_range: Limits = (0.05, 0.25)
    """Largest displacement as a share of the distance between control points; it cannot fold below 0.4."""
    elastic_intervals: Annotated[int, Field(ge=1, le=16)] = 4
    """Intervals between control points along the patch's longest side; more makes finer waves."""
    translate_chance: Chance = 0.0
    """Chance that the patch is shifted; within the slice where slices are thick."""
    translate_range: Shares = (0.0, 0.1)
    """Range of the shift along each axis, as a share of the patch's side, either way."""
    shear_chance: Chance = 0.0
    """Chance of shearing; within the slice where slices are thick."""
    shear_degrees: Annotated[float, Field(ge=0.0, le=60.0)] = 10.0
    """Largest angle of the shear, in degrees, either way."""
    grid_chance: Chance = 0.0
    """Chance of grid distortion: the intervals of a lattice are stretched and shrunk, along each axis by itself."""
    grid_range: Stretch = (0.1, 0.3)
    """Range of the largest change of an interval, as a share of its width."""
    grid_intervals: Annotated[int, Field(ge=2, le=16)] = 5
    """Intervals of the lattice along each axis."""
    rotate90_chance: Chance = 0.0
    """Chance of turns by 90, 180 or 270 degrees, in the plane of thick slices or of the first two axes; where the
    patch is not square there, or its voxels are not, by 180 degrees only."""
    mirror_chance: Chance = 0.5
    """Chance of a mirror image along each of the plan's mirror axes; left and right labels change places."""
    mirror_only_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] | None = None
    """Axes of the patch, counted from 0, to which mirroring is confined; null for all of the plan's."""
    mirror_from_passes: Annotated[float, Field(ge=0)] = 0.0
    """The plan mirrors in runs that show every case at least so many times; shorter ones learn faster without."""

    noise_chance: Chance = 0.1
    """Chance of Gaussian noise."""
    noise_range: Limits = (0.0, 0.1)
    """Range of the noise's standard deviation, as a share of the channel's own in the patch."""
    blur_chance: Chance = 0.2
    """Chance of a Gaussian blur."""
    blur_range: Limits = (0.5, 1.0)
    """Range of the blur's sigma along each axis, in voxels."""
    brightness_chance: Chance = 0.15
    """Chance that a channel's intensities are multiplied by a factor."""
    brightness_range: Factors = (0.75, 1.25)
    """Range of that factor."""
    contrast_chance: Chance = 0.15
    """Chance that a channel's intensities are stretched about their mean, within their range."""
    contrast_range: Factors = (0.75, 1.25)
    """Range of the stretching's factor."""
    low_resolution_chance: Chance = 0.25
    """Chance that a scan on a coarser grid is imitated (not along the axis of thick slices)."""
    low_resolution_range: Shares = (0.5, 1.0)
    """Range of the share of voxels that is kept along each axis."""
    gamma_chance: Chance = 0.3
    """Chance of a power law on the intensities, mean and spread kept."""
    gamma_of_inverse_chance: Chance = 0.1
    """Chance of the same on the negative image."""
    gamma_range: Factors = (0.7, 1.5)
    """Range of the exponent, for both. Uniform in its logarithm."""
    channel_chance: Chance = 0.5
    """In scans of several channels, chance that a channel takes part in its sample's blur, low resolution or
    artefact."""
    shift_chance: Chance = 0.0
    """Chance that a number is added to a channel's intensities."""
    shift_range: Span = (-0.1, 0.1)
    """Range of that number, as a share of the channel's standard deviation in the patch."""
    dropout_chance: Chance = 0.0
    """Chance that boxes of the image are blanked; the label keeps what was there."""
    dropout_holes: Counts = (1, 8)
    """Range of the number of boxes."""
    dropout_size: Shares = (0.05, 0.15)
    """Range of a box's side along each axis, as a share of the patch's."""
    dropout_fill: Literal["mean", "zero"] = "mean"
    """What a box is filled with: the channel's mean in the patch, or 0."""
    artifacts: Annotated[ArtifactConfig, BeforeValidator(_as_share)] = ArtifactConfig()
    """Faults of acquisitions, such as motion and spikes; a number is the share of the samples that suffer one."""

    @classmethod
    def none(cls) -> AugmentConfig:
        """Patches as they are."""
        return cls(enabled=False)
