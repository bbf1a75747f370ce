"""Of a study the series of scans are found, what annotates them, and what is neither, in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dicom_examples import (
    DOSE,
    SECONDARY_CAPTURE,
    new_object,
    random_series,
    slice_objects,
    write_objects,
    write_series,
)

from vesal.errors import DataError
from vesal.volume.dicom import series_file
from vesal.volume.dicom.dicom_scan import scans
from vesal.volume.dicom.series import read_study
from vesal.volume.dicom.source import open_source

pytest.importorskip("pydicom", reason="the extra dicom is not installed")


def test_a_study_tells_scans_from_what_lies_beside_them(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", random_series())
    scout = random_series(
        shape=(7, 6, 1), uid="1.2.9", tags={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    )
    write_series(tmp_path / "scout", scout)
    others = [
        new_object(SECONDARY_CAPTURE, "1.8.1", Modality="CT", Rows=2, Columns=2, SeriesInstanceUID="1.8"),
        new_object(DOSE, "1.8.2", Modality="RTDOSE", Rows=2, Columns=2, SeriesInstanceUID="1.9"),
    ]
    write_objects(tmp_path / "other", others)
    (tmp_path / "readme.txt").write_text("by hand")
    study = read_study(open_source(tmp_path))
    assert [(series.uid, series.modality, len(series.frames)) for series in study.series] == [
        ("1.2.3.4", "CT", 5)
    ]
    assert {what: len(files) for what, files in study.left_out.items()} == {
        "a localizer": 1,
        "a secondary capture": 1,
        "a dose": 1,
    }
    assert study.remark().endswith("a dose (1), a localizer (1), a secondary capture (1).")


def test_a_slice_without_a_position_is_the_problem_of_its_series_alone(tmp_path: Path) -> None:
    write_series(tmp_path / "a", random_series(uid="1.2.1"))
    broken = slice_objects(random_series(uid="1.2.2"))
    broken[3].ImagePositionPatient = ["1", "2"]
    write_objects(tmp_path / "b", broken)
    whole, other = read_study(open_source(tmp_path)).series
    assert whole.problem == ""
    assert "does not say the position of its slice" in other.problem


@pytest.mark.parametrize(
    ("keyword", "what"),
    [
        ("PatientID", "patient"),
        ("StudyInstanceUID", "study"),
        ("FrameOfReferenceUID", "frame of reference"),
    ],
)
def test_slices_of_two_patients_studies_or_spaces_under_one_series_uid_are_no_scan(
    keyword: str, what: str, tmp_path: Path
) -> None:
    objects = slice_objects(random_series())
    for one in objects[3:]:
        setattr(one, keyword, "1.2.77")
    write_objects(tmp_path, objects)
    study = read_study(open_source(tmp_path))
    with pytest.raises(
        DataError, match=f"IM000[0-9] has the series UID of IM000[0-9] and is of another {what}"
    ):
        scans(study, study.series[0])


def test_values_that_a_table_gives_are_refused_and_pictures_of_a_palette_left_out(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    table, coloured = slice_objects(random_series(uid="1.2.1")), slice_objects(random_series(uid="1.2.2"))
    for one in table:
        one.ModalityLUTSequence = [Dataset()]
    for one in coloured:
        one.PhotometricInterpretation = "PALETTE COLOR"
    write_objects(tmp_path / "a", table)
    write_objects(tmp_path / "b", coloured)
    study = read_study(open_source(tmp_path))
    assert [("Modality LUT" in one.problem) for one in study.series] == [True]
    assert {what: len(files) for what, files in study.left_out.items()} == {"a colour picture": 5}


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("ImageOrientationPatient", ["1", "0", "0", "1", "0", "0"], "which are no two directions"),
        ("PixelSpacing", ["0", "0.8"], r"pixels of 0\.8 x 0 mm"),
        ("NumberOfFrames", "3", "3 frames without saying where each lies"),
    ],
)
def test_a_header_that_cannot_be_is_refused(keyword: str, value: object, reason: str, tmp_path: Path) -> None:
    objects = slice_objects(random_series())
    setattr(objects[2], keyword, value)
    write_objects(tmp_path, objects)
    (series,) = read_study(open_source(tmp_path)).series
    assert re.search(reason, series.problem)


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="holds no DICOM object"):
        read_study(open_source(tmp_path))


def test_an_object_that_ends_within_its_header_is_refused_with_its_name(tmp_path: Path) -> None:
    paths = write_series(tmp_path, random_series())
    whole = paths[1].read_bytes()
    for length in (140, whole.index(b"1.2.3.4") + 40, whole.index(b"Doe^Jane")):
        paths[1].write_bytes(whole[:length])
        with pytest.raises(DataError, match=paths[1].name):
            read_study(open_source(tmp_path))
    paths[1].write_bytes(whole[: whole.index(b"1.2.3.9")])
    (series,) = read_study(open_source(tmp_path)).series
    assert f"{paths[1].name} ends within its header" in series.problem


def test_pixels_that_end_too_early_are_refused_with_the_file(tmp_path: Path) -> None:
    paths = write_series(tmp_path, random_series())
    paths[1].write_bytes(paths[1].read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{paths[1].name} is a damaged DICOM object"):
        series_file.read(paths[0])
