"""What Vesal writes belongs to the patient and study of its scan, and says what made it."""

from __future__ import annotations

from io import BytesIO

import pytest
from annotation_examples import made_by
from dicom_examples import random_series, slice_objects

from vesal.volume.dicom.annotations.made_by import derived_object, object_bytes

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

KIND = "1.2.840.10008.5.1.4.1.1.481.3"


def test_patient_and_study_are_the_sources_and_the_series_its_own() -> None:
    source = slice_objects(random_series())[0]
    found = pydicom.dcmread(BytesIO(object_bytes(derived_object(source, KIND, "RTSTRUCT", made_by(4)))))
    assert (found.PatientName, found.PatientID, found.PatientSex) == ("Doe^Jane", "P1", "F")
    assert (found.StudyInstanceUID, found.AccessionNumber, found.StudyDate) == ("1.2.3", "A1", "20200102")
    assert (found.SeriesInstanceUID, found.SOPInstanceUID, found.SeriesNumber) == ("1.9.4", "1.9.4.1", 904)
    assert (found.Modality, found.Manufacturer, found.ManufacturerModelName) == (
        "RTSTRUCT",
        "Vesal",
        "vesal heart",
    )
    assert (found.SeriesDate, found.SeriesTime) == ("20260102", "030405")
    assert found.DeviceSerialNumber == "ab" * 32


def test_what_the_source_lacks_is_empty_where_the_standard_asks_for_it() -> None:
    source = slice_objects(random_series())[0]
    for keyword in ("PatientBirthDate", "AccessionNumber", "StudyID", "PatientAge"):
        if keyword in source:
            del source[keyword]
    found = derived_object(source, KIND, "RTSTRUCT", made_by())
    assert found.PatientBirthDate in ("", None)
    assert found.AccessionNumber in ("", None)
    assert "PatientAge" not in found
