"""A report tells volumes and the quality estimate of each segment, and refers to both segmentation and scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_examples import annotated, made_by

from vesal.volume.dicom.annotations.report_writer import Measured, Uncertainty, measurement_report
from vesal.volume.dicom.annotations.segmentation_writer import SegmentLabel, segmentation

highdicom = pytest.importorskip("highdicom", reason="the extra dicom is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    example = annotated(tmp_path)
    slices = example.scan.slices()
    labels = [SegmentLabel(name, (9, 9, 9)) for name in example.masks]
    seg = segmentation(
        slices, example.scan.stack.geometry, labels, np.stack(list(example.masks.values())), made_by()
    )
    uncertainty = Uncertainty(below_ml=1.5, above_ml=1.25, level=0.9)
    measured = [Measured("left atrium", 1, 12.5, 0.91, uncertainty), Measured("tumour", 2, 3.25)]
    report = measurement_report(slices, seg, measured, made_by(2), "under the smallest of the training")
    report.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    return tmp_path / "sr.dcm"


def test_volumes_and_estimates_are_found_by_another_reader(path: Path) -> None:
    report = highdicom.sr.srread(path)
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["left atrium", "tumour"]
    values = [{one.name.meaning: one.value for one in group.get_measurements()} for group in groups]
    volume = {"Volume": 12.5, "Level of the volume's interval": 90.0, "Expected Dice coefficient": 0.91}
    assert values == [volume, {"Volume": 3.25}]
    told = {one.name.meaning: one.value.meaning for one in groups[0].get_qualitative_evaluations()}
    assert told["Quality estimate"] == "To be reviewed"
    assert report.VerificationFlag == "UNVERIFIED"


def test_the_interval_of_a_volume_is_its_range_of_uncertainty_in_millilitres(path: Path) -> None:
    """TID 310: how far it reaches below and above, as properties of the measurement."""
    group, other = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    volume = group.get_measurements()[0]
    found = {
        item.ConceptNameCodeSequence[0].CodeValue: item
        for item in volume[0].ContentSequence
        if item.RelationshipType == "HAS PROPERTIES"
    }
    assert set(found) == {"371885007", "371886008"}
    values = {code: item.MeasuredValueSequence[0] for code, item in found.items()}
    assert {code: float(of.NumericValue) for code, of in values.items()} == {
        "371885007": 1.5,
        "371886008": 1.25,
    }
    assert {of.MeasurementUnitsCodeSequence[0].CodeValue for of in values.values()} == {"ml"}
    assert "ContentSequence" not in other.get_measurements()[0][0]


def test_segmentation_and_scan_are_its_evidence(path: Path) -> None:
    report = highdicom.sr.srread(path)
    evidence = [
        series.SeriesInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
    ]
    assert set(evidence) >= {"1.9.1"}
