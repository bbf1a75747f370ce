"""Label maps and probabilities -> DICOM segmentations (SEG), by highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vesal.version import __version__
from vesal.volume.dicom.annotations.codes import meaning_of
from vesal.volume.dicom.annotations.made_by import MANUFACTURER, MadeBy
from vesal.volume.dicom.dicom_scan import SourceSlice
from vesal.volume.dicom.extra import needed
from vesal.volume.geometry import Geometry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

#: Kinds that can be asked for -> DICOM's word.
KINDS = {"binary": "BINARY", "fractional": "FRACTIONAL", "labelmap": "LABELMAP"}


@dataclass(frozen=True)
class SegmentLabel:
    """A segment to be written.

    Attributes:
        name: of the label.
        colour: (red, green, blue), 0 to 255.
    """

    name: str
    colour: tuple[int, int, int]


def segmentation(
    slices: Sequence[SourceSlice | None],
    geometry: Geometry,
    segments: Sequence[SegmentLabel],
    array: NDArray[Any],
    made_by: MadeBy,
    kind: str = "binary",
) -> FileDataset:
    """A segmentation on the slices of a series, which it refers to.

    Args:
        slices: in the order of the grid; a slice that was filled in, None, has no place in it.
        geometry: of the slices.
        segments: in the order of the array's first axis, or of a label map's values from 1.
        array: (segments, columns, rows, slices) bool, or probabilities 0 to 1 of a fractional one; of a label map
            (columns, rows, slices) whole numbers.
        made_by: what made it.
        kind: a key of KINDS.
    """
    seg, content = needed("highdicom.seg"), needed("highdicom.content")
    kept = [index for index, one in enumerate(slices) if one is not None]
    sources = [one for one in slices if one is not None]
    headers = {str(one.header.SOPInstanceUID): one.header for one in sources}
    affine = Geometry.from_world(geometry.shape, geometry.affine, "LPS").affine
    columns, rows, between = geometry.spacing_mm
    directions = affine[:3, :2] / (columns, rows)
    pixels = np.moveaxis(array[..., kept], (-1, -2, -3), (0, 1, 2))
    return seg.Segmentation(
        source_images=[_with_thickness(header, between) for header in headers.values()],
        pixel_array=np.ascontiguousarray(pixels),
        segmentation_type=KINDS[kind],
        segment_descriptions=[
            _description(number, one, made_by) for number, one in enumerate(segments, start=1)
        ],
        series_instance_uid=made_by.series_uid,
        series_number=made_by.series_number,
        sop_instance_uid=made_by.instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=made_by.title[:64],
        software_versions=__version__,
        device_serial_number=made_by.digest[:64],
        pixel_measures=content.PixelMeasuresSequence(
            pixel_spacing=_short([rows, columns]),
            slice_thickness=_short([between])[0],
            spacing_between_slices=_short([between])[0],
        ),
        plane_orientation=content.PlaneOrientationSequence("PATIENT", _short(directions.T.ravel())),
        # Not those of the grid: where a scanner rounds its own, highdicom finds no slice within a micrometre of these,
        # so that frames refer to none, and viewers that match them by place show nothing.
        plane_positions=[
            content.PlanePositionSequence("PATIENT", _short(one.position_mm)) for one in sources
        ],
        content_description=made_by.title[:64],
        content_label="SEGMENTATION",
        series_description=made_by.title[:64],
    )


def _with_thickness(header: Dataset, between: float) -> Dataset:
    """The header with a thickness of the slices, for which highdicom asks and which not every scanner tells."""
    if "PerFrameFunctionalGroupsSequence" in header or header.get("SliceThickness"):
        return header
    found = copy(header)
    found.SliceThickness = _short([between])[0]
    return found


def _short(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """As decimal strings hold them: at most 16 characters."""
    return [float(f"{value:.10f}"[:16]) for value in values]


def _description(number: int, label: SegmentLabel, made_by: MadeBy) -> Dataset:
    seg, coded = needed("highdicom.seg"), needed("highdicom.sr.coding").CodedConcept
    meaning = meaning_of(label.name)
    algorithm = needed("highdicom.content").AlgorithmIdentificationSequence(
        name=f"Vesal, model {made_by.digest[:12]}",
        version=__version__,
        family=coded("123110", "DCM", "Artificial Intelligence"),
        parameters={"model": made_by.digest},
    )
    found = seg.SegmentDescription(
        segment_number=number,
        segment_label=label.name[:64],
        segmented_property_category=coded(*meaning.category),
        segmented_property_type=coded(*meaning.kind),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        display_color=needed("highdicom.color").CIELabColor.from_rgb(*label.colour),
    )
    if meaning.side is not None:
        found.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            coded(*meaning.side)
        ]
    return found
