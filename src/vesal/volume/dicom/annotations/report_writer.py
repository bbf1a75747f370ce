"""Volumes and quality estimates -> a measurement report (PS3.16 TID 1500), by highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vesal.version import __version__
from vesal.volume.dicom.annotations.codes import PRIVATE, meaning_of
from vesal.volume.dicom.annotations.made_by import MANUFACTURER, MadeBy
from vesal.volume.dicom.dicom_scan import SourceSlice
from vesal.volume.dicom.extra import needed

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset


@dataclass(frozen=True)
class Uncertainty:
    """What a volume may be off by.

    Attributes:
        below_ml, above_ml: the interval reaches so far below the volume, and above it.
        level: share of new scans whose true volume such intervals hold, 0 to 1.
    """

    below_ml: float
    above_ml: float
    level: float


@dataclass(frozen=True)
class Measured:
    """What is reported of a segment.

    Attributes:
        name: of the label.
        number: of the segment in the segmentation that is referred to.
        volume_ml: of its voxels.
        expected_dice: by the quality estimate, 0 to 1; None where there is none.
        uncertainty: of the volume; None where none was measured.
    """

    name: str
    number: int
    volume_ml: float
    expected_dice: float | None = None
    uncertainty: Uncertainty | None = None


def measurement_report(
    slices: Sequence[SourceSlice | None],
    segmentation: Dataset,
    segments: Sequence[Measured],
    made_by: MadeBy,
    concern: str = "",
) -> FileDataset:
    """A report on the segments of a segmentation: unverified, for a person to look at.

    Args:
        slices: of the scan.
        segmentation: that holds the segments.
        segments: what was measured.
        made_by: what made it.
        concern: why the result is to be reviewed; '' where nothing says so.
    """
    sr = needed("highdicom.sr")
    headers = list({str(one.header.SOPInstanceUID): one.header for one in slices if one is not None}.values())
    context = sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=_dcm("121007", "Device"),
            observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                uid=made_by.series_uid,
                name=f"Vesal {__version__}",
                manufacturer_name=MANUFACTURER,
                model_name=made_by.title[:64],
                serial_number=made_by.digest[:64],
            ),
        )
    )
    series = sr.SourceSeriesForSegmentation(str(headers[0].SeriesInstanceUID))
    groups = [_group(one, segmentation, series, made_by, concern) for one in segments]
    report = sr.MeasurementReport(
        observation_context=context,
        procedure_reported=_code("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=groups,
    )
    return sr.Comprehensive3DSR(
        evidence=[*headers, segmentation],
        content=report[0],
        series_instance_uid=made_by.series_uid,
        series_number=made_by.series_number,
        sop_instance_uid=made_by.instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        series_description=made_by.title[:64],
    )


def _group(one: Measured, segmentation: Dataset, series: Any, made_by: MadeBy, concern: str) -> Any:
    sr = needed("highdicom.sr")
    meaning = meaning_of(one.name)
    site = (
        None
        if meaning.side is None
        else [sr.FindingSite(_code(*meaning.kind), laterality=_code(*meaning.side))]
    )
    measurements = _volume(one)
    if one.expected_dice is not None:
        name = _code("EXPECTEDDICE", PRIVATE, "Expected Dice coefficient")
        measurements.append(sr.Measurement(name, one.expected_dice, _code("1", "UCUM", "no units")))
    evaluations = None
    if concern or one.expected_dice is not None:
        word = ("REVIEW", "To be reviewed") if concern else ("OK", "No sign of failure")
        question = _code("QUALITYFLAG", PRIVATE, "Quality estimate")
        evaluations = [sr.QualitativeEvaluation(question, _code(word[0], PRIVATE, word[1]))]
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            needed("pydicom.uid").generate_uid(entropy_srcs=[made_by.instance_uid, one.name]), one.name
        ),
        referenced_segment=sr.ReferencedSegment(
            str(segmentation.SOPClassUID), str(segmentation.SOPInstanceUID), one.number, source_series=series
        ),
        finding_type=_code(*meaning.kind),
        finding_category=_code(*meaning.category),
        finding_sites=site,
        algorithm_id=sr.AlgorithmIdentification(f"Vesal, model {made_by.digest[:12]}", __version__),
        measurements=measurements,
        qualitative_evaluations=evaluations,
    )


def _volume(one: Measured) -> list[Any]:
    """The volume; with its range of uncertainty as a property (TID 310), and the level of that beside it."""
    sr = needed("highdicom.sr")
    name, unit = _code("118565006", "SCT", "Volume"), _code("ml", "UCUM", "ml")
    if one.uncertainty is None:
        return [sr.Measurement(name, one.volume_ml, unit)]
    properties = sr.MeasurementProperties(
        upper_measurement_uncertainty=one.uncertainty.above_ml,
        lower_measurement_uncertainty=one.uncertainty.below_ml,
    )
    for item in properties:
        # highdicom gives them no units; theirs are the volume's.
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [unit]
    level = _code("INTERVALLEVEL", PRIVATE, "Level of the volume's interval")
    return [
        sr.Measurement(name, one.volume_ml, unit, properties=properties),
        sr.Measurement(level, 100 * one.uncertainty.level, _code("%", "UCUM", "percent")),
    ]


def _code(value: str, scheme: str, meaning: str) -> Any:
    return needed("highdicom.sr.coding").CodedConcept(value, scheme, meaning)


def _dcm(value: str, meaning: str) -> Any:
    return _code(value, "DCM", meaning)
