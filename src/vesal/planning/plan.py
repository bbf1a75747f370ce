"""The plan: everything about network and preparation that follows from data, budget and device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from vesal.data.labels import LabelSet
from vesal.record import Record

PLAN_VERSION = 1

#: Fields that came after plans had been stored, with their defaults: `Plan.identity` leaves them out. Whoever adds a
#: field adds it here.
_ADDED: dict[str, Any] = {
    "rules": "vesal", "axis_order": None, "as_stored": False, "keeps_spacing": False, "overlap": 0.5,
    "blend": "gaussian", "handed_on": "box", "label_gaps_mm": None,
}  # fmt: skip
_ADDED_TO_STAGES: dict[str, Any] = {"decoder": None}

#: What a plan and its locator's have in common, and of their labels.
_LOCATED_ALIKE = ("channels", "pixel_mm", "crop_to_nonzero")
_LABELLED_ALIKE = ("labels", "background", "ignore", "threshold")


class Stage(Record):
    """One resolution of the network.

    Attributes:
        features: channels of the stage's convolutions.
        kernel: kernel size per axis.
        stride: step per axis of the convolution that enters the stage; all 1 in the first.
        convolutions: how many in the encoder (residual blocks, for a residual encoder).
        decoder: how many in the decoder; None for as many as in the encoder.
    """

    features: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    convolutions: int = 2
    decoder: int | None = None

    @property
    def decoder_convolutions(self) -> int:
        """Convolutions of the decoder at this resolution."""
        return self.convolutions if self.decoder is None else self.decoder


def total_stride(stages: Sequence[Stage]) -> tuple[int, ...]:
    """Product of the strides along each axis."""
    return tuple(math.prod(steps) for steps in zip(*(stage.stride for stage in stages), strict=True))


class Normalisation(Record):
    """How a channel's intensities become network input.

    Attributes:
        scheme: zscore (per image), zscore_nonzero (per image, over voxels that are not 0; those that are stay 0),
            zscore_mask (per image, over the voxels at which any channel is not 0, holes filled; the others stay as
            they are: nnU-Net's use_mask_for_norm),
            ct (clip to [lower, upper], then data set mean and std), minmax (per image to 0..1),
            window (clip to [lower, upper], to 0..1), none.
        lower, upper, mean, std: of the data set's foreground (ct) or as chosen (window), in file units.
    """

    scheme: Literal["zscore", "zscore_nonzero", "zscore_mask", "ct", "minmax", "window", "none"]
    lower: float | None = None
    upper: float | None = None
    mean: float | None = None
    std: float | None = None

    @model_validator(mode="after")
    def _complete(self) -> Normalisation:
        needed = {"ct": ("lower", "upper", "mean", "std"), "window": ("lower", "upper")}.get(self.scheme, ())
        if missing := [name for name in needed if getattr(self, name) is None]:
            raise ValueError(f"normalisation '{self.scheme}' needs {', '.join(missing)}")
        if self.scheme == "window" and not (self.lower or 0) < (self.upper or 0):
            raise ValueError(f"the window's lower bound {self.lower:g} is not below its upper {self.upper:g}")
        return self


class Plan(Record):
    """Derived, frozen, JSON. All axes are those of the prepared array.

    Prepared arrays lie in the grid nearest to RAS+, but for `axis_order`. In a 2D plan of volumes the slice axis comes
    first: (C, S, A, B), patches are (C, A, B). For 2D images S is 1 in the prepared array alone.

    Attributes:
        version: of this format.
        dimension: 2 or 3, of the network.
        rules: whose preparation, windows and restoring are followed where they differ: Vesal's, or of a model that was
            imported nnU-Net's (docs/nnunet.md) or MONAI's (docs/monai.md).
        axis_order: which axis of a scan (0 is x) each axis of the prepared array is; None for x, y, z.
        as_stored: a scan's axes are taken as its file stores them, not turned to RAS+.
        slice_axis: for a 2D plan of volumes, which RAS axis (or which of `axis_order`) the slices are taken along; else
            None.
        spacing_mm: of the prepared array along the network's axes; a slice axis keeps its own.
        keeps_spacing: scans keep their own spacing, by MONAI's rules; `spacing_mm` is then a guess of the training's.
        patch: voxels of a training patch and a prediction window along the network's axes.
        batch: patches in a step.
        networks: that are trained one after the other, and vote.
        stages: of the encoder, highest resolution first; the decoder mirrors them.
        heads: how many resolutions get a loss, the highest first; 1 is no deep supervision.
        norm: instance, batch, group or none (vesal.nn.blocks).
        activation: leaky_relu, relu, prelu or gelu.
        pooling: go down by max pooling, in place of strided convolutions.
        bias: convolutions keep a bias though a norm follows, as many published networks do.
        normalisation: one a channel.
        crop_to_nonzero: whether scans are cropped to the box of non-zero voxels first.
        image_order, label_order: spline orders of resampling (label 0 is nearest, 1 is linear per class).
        blocks: in place of it each voxel takes in all that it covers, which suits a very coarse grid.
        mirror_axes: network axes that may be mirrored.
        overlap: share of a window that the next one covers, where a prediction is not told another.
        blend: by MONAI's rules, whether all voxels of a window weigh alike or those around its middle more.
        channels: names of the image's channels.
        pixel_mm: (column, row) size of a pixel of a picture that does not say it; None means 1 mm.
        foreground_channel: the network gets one more channel: 1 where any channel of the scan is not 0, else 0.
        labels: what is predicted.
        median_shape: of the prepared training cases, along the network's axes.
        locator: of a coarse network that sees the whole scan first; None where there is one stage.
        handed_on: what this network gets of it: the box where it shall look, or (nnU-Net's cascade) the label map, one
            channel a label behind those of the scan, 1 where the label is and 0 elsewhere.
        margin_mm: that is added to what it finds on every side.
        label_sizes: mm³ (mm² in a picture) of the smallest and the largest label of the training, all classes
            together; None in one stage.
        label_gaps_mm: that the labels of the training stay away from the border of their scans at least, at the first
            and the last end of each axis of the scan in RAS+; None in one stage, and where it is not known.
        reasons: why, one sentence a decision.
    """

    described: ClassVar[tuple[str, str]] = ("a plan", "make it anew with vesal plan")

    version: int = PLAN_VERSION
    dimension: Literal[2, 3]
    rules: Literal["vesal", "nnunet", "monai"] = "vesal"
    axis_order: tuple[int, ...] | None = None
    as_stored: bool = False
    slice_axis: Literal[0, 1, 2] | None = None
    spacing_mm: tuple[float, ...]
    keeps_spacing: bool = False
    patch: tuple[int, ...]
    batch: int
    networks: int = 1
    stages: tuple[Stage, ...]
    heads: int = 1
    norm: str = "instance"
    activation: str = "leaky_relu"
    pooling: bool = False
    bias: bool = False
    normalisation: tuple[Normalisation, ...]
    crop_to_nonzero: bool = True
    image_order: Literal[0, 1, 3] = 3
    label_order: Literal[0, 1] = 1
    blocks: bool = False
    mirror_axes: tuple[int, ...]
    overlap: float = Field(default=0.5, ge=0, lt=1)  # infer/window_overlap.py, which is read without pydantic
    blend: Literal["gaussian", "constant"] = "gaussian"
    channels: tuple[str, ...]
    pixel_mm: tuple[float, float] | None = None
    foreground_channel: bool = False
    labels: LabelSet
    median_shape: tuple[int, ...]
    locator: Plan | None = None
    handed_on: Literal["box", "mask"] = "box"
    margin_mm: float = 0.0
    label_sizes: tuple[float, float] | None = None
    label_gaps_mm: tuple[float, ...] | None = None
    reasons: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        if self.version != PLAN_VERSION:
            raise ValueError(f"plan version {self.version}; this Vesal reads version {PLAN_VERSION}")
        lengths = {len(self.spacing_mm), len(self.patch), len(self.median_shape)}
        lengths |= {len(axis) for stage in self.stages for axis in (stage.kernel, stage.stride)}
        if lengths != {self.dimension}:
            raise ValueError(f"spacing, patch, kernels and strides need {self.dimension} axes each")
        sizes = [
            *self.patch,
            *self.median_shape,
            *self.spacing_mm,
            self.batch,
            self.networks,
            len(self.stages),
        ]
        for of in self.stages:
            sizes += [*of.kernel, *of.stride, of.features, of.convolutions, of.decoder_convolutions]
        if not all(math.isfinite(size) and size > 0 for size in sizes):
            raise ValueError("sizes, spacings, strides and features must be above zero")
        if self.axis_order is not None and sorted(self.axis_order) != list(range(self.scan_dimension)):
            raise ValueError(
                f"axis order {self.axis_order} does not name the {self.scan_dimension} axes of a scan"
            )
        if len(self.normalisation) != len(self.channels):
            raise ValueError(f"{len(self.channels)} channels but {len(self.normalisation)} normalisations")
        if (coarse := self.locator) is not None:
            same = all(getattr(coarse, name) == getattr(self, name) for name in _LOCATED_ALIKE)
            same &= all(
                getattr(coarse.labels, name) == getattr(self.labels, name) for name in _LABELLED_ALIKE
            )
            if coarse.locator is not None or not same:
                raise ValueError("the locator's plan is of other scans or labels")
        nnunets = self.rules == "nnunet" and self.locator is not None and self.locator.rules == "nnunet"
        if self.handed_on == "mask" and not nnunets:
            raise ValueError("masks are handed on by nnU-Net's cascade alone, from its first stage")
        if not 1 <= self.heads <= max(1, len(self.stages) - 1):
            raise ValueError(f"{self.heads} heads do not fit {len(self.stages)} stages")
        if any(size % step for size, step in zip(self.patch, self.total_stride, strict=True)):
            raise ValueError(f"patch {self.patch} is not a multiple of the strides {self.total_stride}")
        return self

    def identity(self, *fields: str) -> dict[str, Any]:
        """Plain values for digests of all fields or of some: a field that came later is left out at its default.

        So digests of plans that were stored before it stay as they were.
        """
        return _without_added(self.model_dump(mode="json", include=set(fields) or None))

    @property
    def total_stride(self) -> tuple[int, ...]:
        """Product of the strides along each axis: patch sizes are multiples of it."""
        return total_stride(self.stages)

    @property
    def least_convolutions(self) -> int:
        """The network has at least so many, each with a weight of its own."""
        return sum(max(1, stage.convolutions, stage.decoder_convolutions) for stage in self.stages)

    @property
    def scan_dimension(self) -> int:
        """Axes of the scans: 2 for images; 3 for volumes, those that are predicted slice by slice included."""
        return 2 if self.dimension == 2 and self.slice_axis is None else 3

    @property
    def modality(self) -> Literal["MR", "CT"]:
        """CT where a channel is normalised as `ct`, else MR; a `window` may be of any kind of scan."""
        return "CT" if any(how.scheme == "ct" for how in self.normalisation) else "MR"

    @property
    def inputs(self) -> int:
        """Channels of the prepared array, which the network takes."""
        masks = len(self.labels.labels) if self.takes_masks else 0
        return len(self.channels) + self.foreground_channel + masks

    @property
    def takes_masks(self) -> bool:
        """Whether the label map of the first stage is among the channels."""
        return self.handed_on == "mask"

    @property
    def looks_in_box(self) -> bool:
        """Whether a coarse network says where to look; else the network sees the whole scan."""
        return self.locator is not None and self.handed_on == "box"


def _without_added(values: dict[str, Any]) -> dict[str, Any]:
    """A dump of a plan without what came later and is as if it had not."""
    found = {name: value for name, value in values.items() if name not in _ADDED or value != _ADDED[name]}
    if "stages" in found:
        found["stages"] = [
            {
                name: value
                for name, value in stage.items()
                if name not in _ADDED_TO_STAGES or value != _ADDED_TO_STAGES[name]
            }
            for stage in found["stages"]
        ]
    if found.get("locator") is not None:
        found["locator"] = _without_added(found["locator"])
    return found
