"""What `vesal predict` takes, beside the model and the scans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from vesal.errors import UsageError
from vesal.infer.quality.volumes.interval_level import LEVEL
from vesal.workflow.requests.fields import MaxRam, Mirror, Option

#: What --to takes -> the ending of the files.
FORMATS = {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "png": ".png", "tiff": ".tif"}

#: The same of DICOM objects, for scans that are DICOM themselves: segmentations of three kinds, structure set,
#: measurement report, and a picture as a secondary capture.
DICOM_FORMATS = {
    "dicom-seg": ".seg.dcm",
    "dicom-labelmap": ".labelmap.dcm",
    "dicom-fractional": ".fractional.dcm",
    "rtstruct": ".rtstruct.dcm",
    "sr": ".sr.dcm",
    "preview": ".preview.dcm",
}


@dataclass(frozen=True)
class PredictOptions:
    """How to predict.

    Attributes:
        to: keys of FORMATS and DICOM_FORMATS with commas between, of FORMATS at most one; None writes a result in the
            format of its scan.
        threshold: for regions each one's own; for plain classes that of the likeliest one against the background
            alone, so that 0.5 is the argmax.
        resume: keep results that are there, whole, and made of the same scan by the same model with the same options.
        min_dice: a result with a class whose expected Dice is lower is to be reviewed.
        interval_level: share of new patients whose true volumes the intervals around volumes hold at least.
        quality: estimate the quality of each result, where the model holds a quality model.
        uncertainty: also write a map of the uncertainty at each voxel, 0 to 1.
        missing: names of channels that the scans do not have, or that are not to be looked at.
        max_ram: bytes that this process may take; None for no limit.
    """

    to: Annotated[
        str | None,
        Option(
            "nifti, nrrd, mha, png or tiff, as the scan came when not given; of a DICOM scan also dicom-seg, "
            "dicom-labelmap, dicom-fractional, rtstruct, sr (a report) and preview; several with commas between."
        ),
    ] = None
    threshold: Annotated[
        float,
        Option(
            "Probability from which foreground holds: each region's own; of several classes that of the "
            "likeliest against the background (0.5 takes the likeliest of all)."
        ),
    ] = 0.5
    overlay: Annotated[bool, Option("Also draw the contours on each scan: OUT/overlays.")] = False
    probabilities: Annotated[bool, Option("Also write a map for each class: OUT/probabilities/CLASS.")] = (
        False
    )
    overlap: Annotated[
        float | None, Option("Share of a window that the next one covers; the model's own when not given.")
    ] = None
    resume: Annotated[
        bool, Option("Keep results that are there and whole, of the same scan, model and options.")
    ] = False
    quality: Annotated[
        bool,
        Option(
            "Do not estimate the quality of each result (quality.json): faster.",
            ("--no-quality",),
            inverted=True,
        ),
    ] = True
    min_dice: Annotated[float, Option("Say review, not ok, where the expected Dice of a class is lower.")] = (
        0.5
    )
    interval_level: Annotated[
        float,
        Option(
            "Level of the interval around each volume (quality.json); a higher one takes more held-out patients."
        ),
    ] = LEVEL
    uncertainty: Annotated[
        bool, Option("Also write a map of the uncertainty at each voxel: OUT/uncertainty.")
    ] = False
    mirror: Mirror = False
    missing: Annotated[
        tuple[str, ...],
        Option(
            "Predict without this channel; the model must be trained for it (augment.drop_channels).",
            metavar="CHANNEL",
            many=True,
        ),
    ] = ()
    max_ram: MaxRam = None

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise UsageError(f"The threshold is a probability between 0 and 1, not {self.threshold:g}.")
        if self.overlap is not None and not 0.0 <= self.overlap < 1.0:
            raise UsageError(f"The overlap is a share from 0 to under 1, not {self.overlap:g}.")
        if not 0.0 <= self.min_dice <= 1.0:
            raise UsageError(f"The least Dice is from 0 to 1, not {self.min_dice:g}.")
        if not 0.0 < self.interval_level < 1.0:
            raise UsageError(f"The level of intervals is between 0 and 1, not {self.interval_level:g}.")
        if not self.quality:
            for flag, asked in (
                ("--min-dice", self.min_dice != type(self).min_dice),
                ("--interval-level", self.interval_level != LEVEL),
            ):
                if asked:
                    raise UsageError(f"--no-quality estimates no Dice; leave it or {flag} out.")
        if self.to is not None:
            self._check_formats(self.to.split(","))

    @property
    def volume_format(self) -> str | None:
        """The key of FORMATS that is asked for."""
        return next((name for name in (self.to or "").split(",") if name in FORMATS), None)

    @property
    def dicom_formats(self) -> tuple[str, ...]:
        """The keys of DICOM_FORMATS that are asked for."""
        return tuple(name for name in DICOM_FORMATS if name in (self.to or "").split(","))

    @staticmethod
    def _check_formats(names: list[str]) -> None:
        for name in names:
            if name not in FORMATS and name not in DICOM_FORMATS:
                raise UsageError(f"--to takes {', '.join([*FORMATS, *DICOM_FORMATS])}, not '{name}'.")
        if sum(name in FORMATS for name in names) > 1:
            raise UsageError(f"--to takes one of {', '.join(FORMATS)} at a time, beside DICOM objects.")
