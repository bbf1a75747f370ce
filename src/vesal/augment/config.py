"""How training patches are varied: probabilities and ranges; the docstring of a field is also its help."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from vesal.augment.artifacts.registry import ArtifactConfig
from vesal.augment.ranges import Counts, Factors, Limits, Probability, Shares, SignedLimits, Stretch


class AugmentConfig(BaseModel):
    """How training patches are varied; the defaults are nnU-Net's. Probabilities are per sample (patch).

    >>> AugmentConfig(rotation_degrees=15).rotation_probability
    0.2
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    enabled: bool = True
    """Whether patches are varied at all."""
    strength: Annotated[float, Field(ge=0.0)] = 1.0
    """Multiplies every probability but that of mirroring (none exceeds 1); 0 leaves only mirroring."""

    rotation_probability: Probability = 0.2
    """Probability of a rotation; about all axes, or within the slice where slices are thick."""
    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 30.0
    """Largest rotation about each axis, in degrees, either way."""
    scale_probability: Probability = 0.2
    """Probability of scaling, alike along all axes (within the slice where slices are thick)."""
    scale_range: Factors = (0.7, 1.4)
    """Range of the magnification; above 1 enlarges. Uniform in its logarithm."""
    elastic_probability: Probability = 0.0
    """Probability of a smooth random deformation."""
    elastic_range: Limits = (0.05, 0.25)
    """Largest displacement as a share of the distance between control points; it cannot fold below 0.4."""
    elastic_intervals: Annotated[int, Field(ge=1, le=16)] = 4
    """Intervals between control points along the patch's longest side; more makes finer waves."""
    translate_probability: Probability = 0.0
    """Probability that the patch is shifted; within the slice where slices are thick."""
    translate_range: Shares = (0.0, 0.1)
    """Range of the shift along each axis, as a share of the patch's side, either way."""
    shear_probability: Probability = 0.0
    """Probability of shearing; within the slice where slices are thick."""
    shear_degrees: Annotated[float, Field(ge=0.0, le=60.0)] = 10.0
    """Largest angle of the shear, in degrees, either way."""
    grid_probability: Probability = 0.0
    """Probability of grid distortion: the intervals of a lattice are stretched and shrunk, each axis by itself."""
    grid_range: Stretch = (0.1, 0.3)
    """Range of the largest change of an interval, as a share of its width."""
    grid_intervals: Annotated[int, Field(ge=2, le=16)] = 5
    """Intervals of the lattice along each axis."""
    rotate90_probability: Probability = 0.0
    """Probability of turns by 90, 180 or 270 degrees, in the plane of thick slices or of the first two axes; where the
    patch is not square there, or its voxels are not, by 180 degrees only. None where labels name left or right in this
    plane and it is mirrored, too."""
    mirror_probability: Probability = 0.5
    """Probability of a mirror image along each of the plan's mirror axes; left and right labels change places."""
    mirror_only_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] | None = None
    """Axes of the patch, counted from 0, to which mirroring is confined; null for all of the plan's."""
    mirror_from_passes: Annotated[float, Field(ge=0)] = 0.0
    """The plan mirrors in runs that show every case at least so many times; shorter ones learn faster without."""

    noise_probability: Probability = 0.1
    """Probability of Gaussian noise."""
    noise_range: Limits = (0.0, 0.1)
    """Range of the noise's standard deviation, as a share of the channel's own in the patch."""
    blur_probability: Probability = 0.2
    """Probability of a Gaussian blur."""
    blur_range: Limits = (0.5, 1.0)
    """Range of the blur's sigma along each axis, in voxels."""
    brightness_probability: Probability = 0.15
    """Probability that a channel's intensities are multiplied by a factor."""
    brightness_range: Factors = (0.75, 1.25)
    """Range of that factor."""
    contrast_probability: Probability = 0.15
    """Probability that a channel's intensities are stretched about their mean, within their range."""
    contrast_range: Factors = (0.75, 1.25)
    """Range of the stretching's factor."""
    low_resolution_probability: Probability = 0.25
    """Probability that a scan on a coarser grid is imitated (not along the axis of thick slices)."""
    low_resolution_range: Shares = (0.5, 1.0)
    """Range of the share of voxels that is kept along each axis."""
    gamma_probability: Probability = 0.3
    """Probability of a power law on the intensities, mean and spread kept."""
    gamma_of_inverse_probability: Probability = 0.1
    """Probability of the same on the negative image."""
    gamma_range: Factors = (0.7, 1.5)
    """Range of the exponent, for both. Uniform in its logarithm."""
    drop_channels: Probability = 0.0
    """Probability that a channel of a scan of several is absent, so that the model predicts without it (vesal predict
    --missing); one is always left, and the strength does not count."""
    channel_probability: Probability = 0.5
    """In scans of several channels, probability that a channel takes part in its sample's blur, low resolution or
    artefact."""
    shift_probability: Probability = 0.0
    """Probability that a number is added to a channel's intensities."""
    shift_range: SignedLimits = (-0.1, 0.1)
    """Range of that number, as a share of the channel's standard deviation in the patch."""
    dropout_probability: Probability = 0.0
    """Probability that boxes of the image are blanked; the label keeps what was there."""
    dropout_holes: Counts = (1, 8)
    """Range of the number of boxes."""
    dropout_size: Shares = (0.05, 0.15)
    """Range of a box's side along each axis, as a share of the patch's."""
    dropout_fill: Literal["mean", "zero"] = "mean"
    """What a box is filled with: the channel's mean in the patch, or 0."""
    artifacts: ArtifactConfig = ArtifactConfig()
    """Artefacts of acquisition, such as motion and spikes; a number is the share of the samples that have one."""
