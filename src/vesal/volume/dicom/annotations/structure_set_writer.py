"""Label maps -> structure sets (RTSTRUCT), whose contours follow the edges of voxels and so lose none.

Module by module as PS3.3 A.19.3 lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vesal.volume.dicom.annotations.contours import outlines
from vesal.volume.dicom.annotations.made_by import MadeBy, derived_object
from vesal.volume.dicom.dicom_scan import SourceSlice
from vesal.volume.dicom.extra import needed
from vesal.volume.geometry import Geometry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"

#: Decimal strings have at most 16 characters (PS3.5 6.2); a thousandth of a micrometre is far below any scanner's.
_DECIMALS = 6

#: Bytes of a contour's coordinates where types are written out; readers other than pydicom take no longer ones, whose
#: type then is unknown (PS3.5 6.2.2): plastimatch leaves such contours out. Without types there is no such limit.
_LONGEST, _IMPLICIT = 65534, "1.2.840.10008.1.2"


@dataclass(frozen=True, eq=False)
class RoiMask:
    """A region to be written.

    Attributes:
        name: of the region.
        colour: (red, green, blue), 0 to 255.
        mask: (columns, rows, slices).
    """

    name: str
    colour: tuple[int, int, int]
    mask: NDArray[np.bool_]


def structure_set(
    slices: Sequence[SourceSlice | None], geometry: Geometry, regions: Sequence[RoiMask], made_by: MadeBy
) -> FileDataset:
    """A structure set on the slices of a series.

    Args:
        slices: in the order of the grid; None where a slice was filled in, whose contours refer to no object.
        geometry: of the slices.
        regions: with their masks; one without voxels has no contour.
        made_by: what made it.
    """
    first = next(one.header for one in slices if one is not None)
    found = derived_object(first, _STRUCTURE_SET, "RTSTRUCT", made_by)
    found.StructureSetLabel = made_by.title[:16]
    found.StructureSetDate, found.StructureSetTime = made_by.date, made_by.time
    found.ReferencedFrameOfReferenceSequence = [_frame_of_reference(first, slices)]
    found.StructureSetROISequence, found.ROIContourSequence, found.RTROIObservationsSequence = [], [], []
    for number, region in enumerate(regions, start=1):
        found.StructureSetROISequence.append(_roi(number, region, first))
        found.ROIContourSequence.append(_contours(number, region, slices, geometry))
        found.RTROIObservationsSequence.append(_observation(number))
    if any(
        _is_long(contour) for roi in found.ROIContourSequence for contour in roi.get("ContourSequence", ())
    ):
        found.file_meta.TransferSyntaxUID = _IMPLICIT
    return found


def _new(**elements: Any) -> Dataset:
    item = needed("pydicom").Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _frame_of_reference(first: Dataset, slices: Sequence[SourceSlice | None]) -> Dataset:
    images = {str(one.header.SOPInstanceUID): one.header for one in slices if one is not None}
    series = _new(
        SeriesInstanceUID=first.SeriesInstanceUID,
        ContourImageSequence=[_image(header) for header in images.values()],
    )
    study = _new(
        # The study itself, by the class that stands for it in this place (PS3.3 C.8.8.5.1).
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _new(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _image(header: Dataset, frame: int | None = None) -> Dataset:
    item = _new(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item


def _roi(number: int, region: RoiMask, first: Dataset) -> Dataset:
    return _new(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=first.FrameOfReferenceUID,
        ROIName=region.name[:64],
        ROIGenerationAlgorithm="AUTOMATIC",
    )


def _observation(number: int) -> Dataset:
    return _new(
        ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="", ROIInterpreter=""
    )


def _contours(
    number: int, region: RoiMask, slices: Sequence[SourceSlice | None], geometry: Geometry
) -> Dataset:
    to_mm = Geometry.from_world(geometry.shape, geometry.affine, "LPS").affine
    contours: list[Dataset] = []
    for index in np.flatnonzero(region.mask.any(axis=(0, 1))).tolist():
        source = slices[index]
        origin = to_mm[:3, 3] + index * to_mm[:3, 2] if source is None else source.position_mm
        for polygon in outlines(region.mask[:, :, index]):
            points = np.round(polygon @ to_mm[:3, :2].T + origin, _DECIMALS)
            item = _new(
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourNumber=len(contours) + 1,
                ContourData=[_decimal(value) for value in points.ravel().tolist()],
            )
            if source is not None:
                item.ContourImageSequence = [_image(source.header, source.frame)]
            contours.append(item)
    item = _new(ReferencedROINumber=number, ROIDisplayColor=list(region.colour))
    if contours:
        item.ContourSequence = contours
    return item


def _is_long(contour: Dataset) -> bool:
    return sum(len(str(value)) + 1 for value in contour.ContourData) > _LONGEST


def _decimal(value: float) -> str:
    """At most 16 characters."""
    text = f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text[:16]
