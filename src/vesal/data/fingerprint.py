"""What a data set is like: one record a case, from one read of each file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ChannelStatistics(BaseModel):
    """Intensities of one channel of one case, in file units; `foreground_*` over labelled voxels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum: float
    maximum: float
    mean: float
    std: float
    percentiles: tuple[float, float, float]  # 0.5, 50, 99.5
    foreground_samples: tuple[float, ...] = ()


class CaseRecord(BaseModel):
    """What one read of a case's files tells.

    Attributes:
        id, patient: of the case.
        shape, spacing_mm: in the file's own axis order.
        axis_codes: such as 'LPS'; '' in 2D.
        affine: of the image.
        ras_shape, ras_spacing_mm: after the turn to the axes nearest RAS+.
        crop_shape: of the box of non-zero voxels, in RAS axes.
        label_shape: None without a label.
        label_distance_mm: how far the label's grid lies from the image's at the farthest corner.
        voxels: label name -> count.
        undeclared: values in the label file that the label set does not know.
        nan_voxels: not finite, in the image.
        image_digest: of the decoded voxels alone, whatever the header says.
        voxel_volume_mm3: of the image.
        channels: statistics of each channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    patient: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    axis_codes: str
    affine: tuple[tuple[float, ...], ...]
    ras_shape: tuple[int, ...]
    ras_spacing_mm: tuple[float, ...]
    crop_shape: tuple[int, ...]
    label_shape: tuple[int, ...] | None
    label_distance_mm: float | None
    voxels: dict[str, int]
    undeclared: tuple[int, ...]
    nan_voxels: int
    image_digest: str
    voxel_volume_mm3: float
    channels: tuple[ChannelStatistics, ...]


class Failure(BaseModel):
    """A case that could not be read, and the sentence that says why and how to mend it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    message: str


class Fingerprint(BaseModel):
    """Records of all readable cases, in the data set's order, and the failures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    channels: tuple[str, ...]
    cases: tuple[CaseRecord, ...]
    failures: tuple[Failure, ...] = ()
