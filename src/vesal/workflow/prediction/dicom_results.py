"""A result as DICOM objects of the scan's study: segmentation, structure set, measurement report, picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.files import content_hash, write_bytes
from vesal.report.figures.colours import class_colours, rgb
from vesal.report.figures.overlay import overlay_png
from vesal.version import __version__
from vesal.volume.dicom.annotations.codes import short_names
from vesal.volume.dicom.annotations.made_by import MadeBy, completed, making, object_bytes
from vesal.volume.dicom.annotations.preview_writer import preview
from vesal.volume.dicom.annotations.report_writer import Measured, Uncertainty, measurement_report
from vesal.volume.dicom.annotations.segmentation_writer import SegmentLabel, segmentation
from vesal.volume.dicom.annotations.structure_set_writer import RoiMask, structure_set
from vesal.volume.dicom.dicom_scan import DicomScan, SourceSlice
from vesal.volume.dicom.extra import needed
from vesal.volume.dicom.series_file import scan_of
from vesal.volume.dicom.tilt import tilted_back
from vesal.volume.geometry import Geometry
from vesal.volume.resample import resample_volume
from vesal.volume.volume import LabelMap, Volume

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

#: A key of DICOM_FORMATS -> the number of its series, above those of scanners, and what it is called.
_KINDS = {
    "dicom-seg": (9100, "segmentation"),
    "dicom-labelmap": (9110, "label map"),
    "dicom-fractional": (9120, "probabilities"),
    "rtstruct": (9200, "structure set"),
    "sr": (9300, "measurements"),
    "preview": (9400, "preview"),
}


@dataclass(frozen=True, eq=False)
class DicomResult:
    """What becomes DICOM objects.

    Attributes:
        case: whose image is a DICOM series.
        label: the result on the scan's straight grid, with the files' values.
        labels: what its values mean.
        model: digest of the model.
        expected_dice: class -> the quality estimate, where there is one.
        volume_uncertainty: class -> what its volume may be off by, where that was measured.
        concern: why it is to be reviewed; '' where nothing says so.
        probabilities: of each class, on the grid of the label; where they are asked for.
        volume: the scan, where a picture is asked for.
    """

    case: Case
    label: LabelMap
    labels: LabelSet
    model: str
    expected_dice: Mapping[str, float] = field(default_factory=dict)
    volume_uncertainty: Mapping[str, Uncertainty] = field(default_factory=dict)
    concern: str = ""
    probabilities: Sequence[NDArray[np.float32]] | None = None
    volume: Volume | None = None


def write_dicom(files: Mapping[str, Path], result: DicomResult) -> None:
    """Write the objects that are asked for.

    The identifiers follow from model, series and result: the same made again is the same object, which an archive keeps
    once, and another threshold makes another.

    Args:
        files: of `vesal.workflow.requests.predict_options.DICOM_FORMATS`, where each goes.
        result: what they hold.

    Raises:
        DataError: the scan is gone, changed or cannot be referred to, or overlapping regions are to be a label map.
        UsageError: the extra `dicom` is not installed.
    """
    with making(str(result.case.images[0])):
        objects = _Objects.of(result)
        for kind in files:
            objects.make(kind)  # all of them before the first is written
        for kind, path in files.items():
            write_bytes(path, object_bytes(objects.make(kind)))


@dataclass(frozen=True, eq=False)
class _Objects:
    """Makes the objects of a result.

    Attributes:
        geometry: of the slices, as they were taken.
        masks: (classes, columns, rows, slices): of regions each with all its labels.
    """

    result: DicomResult
    scan: DicomScan
    slices: list[SourceSlice | None]
    geometry: Geometry
    masks: NDArray[np.bool_]
    colours: list[tuple[int, int, int]]
    made: dict[str, FileDataset] = field(default_factory=dict)

    @classmethod
    def of(cls, result: DicomResult) -> _Objects:
        scan = scan_of(result.case.images[0], fill=result.case.fill_slices)
        geometry = scan.stack.geometry
        contiguous = result.labels.encode(tilted_back(result.label, geometry).array)
        masks = np.stack([row[np.minimum(contiguous, len(row) - 1)] for row in result.labels.class_table])
        colours = [
            tuple(np.rint(255 * rgb(colour)).astype(int).tolist()) for colour in class_colours(result.labels)
        ]
        slices = scan.slices()
        # Many slices may be frames of one object.
        for header in {id(one.header): one.header for one in slices if one is not None}.values():
            completed(header, str(result.case.images[0]))
        return cls(result, scan, slices, geometry, masks, colours)

    def make(self, kind: str) -> FileDataset:
        """An object of a kind, made once: a report refers to the segmentation."""
        if kind not in self.made:
            self.made[kind] = self._made(kind)
        return self.made[kind]

    def _made(self, kind: str) -> FileDataset:
        made_by = self._made_by(kind)
        if kind == "rtstruct":
            regions = [RoiMask(*one) for one in zip(self._names, self.colours, self.masks, strict=True)]
            return structure_set(self.slices, self.geometry, regions, made_by)
        if kind == "sr":
            segments = self.make("dicom-seg")
            return measurement_report(self.slices, segments, self._measured(), made_by, self.result.concern)
        if kind == "preview":
            source = next(one.header for one in self.slices if one is not None)
            return preview(source, self._picture(), made_by)
        described = [SegmentLabel(*one) for one in zip(self._names, self.colours, strict=True)]
        which, array = {
            "dicom-seg": ("binary", lambda: self.masks),
            "dicom-labelmap": ("labelmap", self._label_map),
            "dicom-fractional": ("fractional", self._probabilities),
        }[kind]
        return segmentation(self.slices, self.geometry, described, array(), made_by, which)

    @property
    def _classes(self) -> tuple[str, ...]:
        return self.result.labels.classes

    @property
    def _names(self) -> list[str]:
        return short_names(self._classes)

    def _made_by(self, kind: str) -> MadeBy:
        uid = needed("pydicom.uid").generate_uid
        number, title = _KINDS[kind]
        content = (one.tobytes() for one in (self.masks, *(self.result.probabilities or ())))
        estimates = [
            sorted(self.result.expected_dice.items()),
            sorted(self.result.volume_uncertainty.items()),
        ]
        words = [self._classes, estimates, self.result.concern, __version__]
        found = content_hash(*content, repr(words).encode())
        own = [self.result.model, self.scan.series.uid, self.scan.stack.phase, kind, found]
        return MadeBy(
            title=f"Vesal {title} {self.result.model[:12]}",
            digest=self.result.model,
            series_uid=uid(entropy_srcs=[*own, "series"]),
            instance_uid=uid(entropy_srcs=[*own, "instance"]),
            series_number=number,
        )

    def _measured(self) -> list[Measured]:
        millilitres = self.geometry.voxel_volume_mm3 / 1000.0
        return [
            Measured(
                name,
                number,
                float(mask.sum()) * millilitres,
                self.result.expected_dice.get(own),
                self.result.volume_uncertainty.get(own),
            )
            for number, (name, own, mask) in enumerate(
                zip(self._names, self._classes, self.masks, strict=True), start=1
            )
        ]

    def _label_map(self) -> NDArray[np.uint8]:
        if (self.masks.sum(axis=0) > 1).any():
            raise DataError(
                "Regions that overlap are no label map; write dicom-seg in place of dicom-labelmap."
            )
        numbers = np.arange(1, len(self.masks) + 1, dtype=np.uint8)
        return (self.masks * numbers[:, None, None, None]).sum(axis=0, dtype=np.uint8)

    def _probabilities(self) -> NDArray[np.float32]:
        assert self.result.probabilities is not None
        whole = Volume(np.stack(self.result.probabilities), self.result.label.geometry)
        found: NDArray[np.float32] = resample_volume(whole, self.geometry).array
        return found.clip(0.0, 1.0)

    def _picture(self) -> NDArray[np.uint8]:
        from PIL import Image

        assert self.result.volume is not None
        png = overlay_png(self.result.volume, self.result.label, self.result.labels)
        return np.asarray(Image.open(BytesIO(png)).convert("RGB"))
