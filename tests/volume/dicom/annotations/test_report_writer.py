"""A report tells volumes and the quality estimate of each segment, and refers to both segmentation and scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_examples import annotated, made_by

from vesal.volume.dicom.annotations.report_writer import Measured, measurement_report
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
    measured = [Measured("left atrium", 1, 12.5, 0.91), Measured("tumour", 2, 3.25)]
    report = measurement_report(slices, seg, measured, made_by(2), "under the smallest of the training")
    report.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    return tmp_path / "sr.dcm"


def test_volumes_and_estimates_are_found_by_another_reader(path: Path) -> None:
    report = highdicom.sr.srread(path)
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["left atrium", "tumour"]
    values = [{one.name.meaning: one.value for one in group.get_measurements()} for group in groups]
    assert values == [{"Volume": 12.5, "Expected Dice coefficient": 0.91}, {"Volume": 3.25}]
    told = {one.name.meaning: one.value.meaning for one in groups[0].get_qualitative_evaluations()}
    assert told["Quality estimate"] == "To be reviewed"
    assert report.VerificationFlag == "UNVERIFIED"


def test_segmentation_and_scan_are_its_evidence(path: Path) -> None:
    report = highdicom.sr.srread(path)
    evidence = [
        series.SeriesInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
    ]
    assert set(evidence) >= {"1.9.1"}
