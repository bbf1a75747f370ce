"""Of a study the series that fits the model is taken and told, or the one that a person names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from dicom_examples import axial, random_series, slice_objects, write_objects, write_series

from vesal.errors import UsageError
from vesal.layouts.dicom.chosen_series import WantedScan, dicom_cases
from vesal.layouts.input_scans import cases_to_predict

pytest.importorskip("pydicom", reason="the extra dicom is not installed")

THIN = WantedScan(("CT",), (0.8, 0.9, 2.5))


@pytest.fixture(autouse=True)
def _salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A thin and a thick CT, and two MRs."""
    root = tmp_path / "study"
    write_series(root / "thin", random_series(uid="1.1", tags={"SeriesNumber": 2}))
    thick = axial(spacing=(0.8, 0.9, 8.0))
    write_series(root / "thick", random_series(uid="1.2", affine=thick, tags={"SeriesNumber": 3}))
    for number, name in ((4, "ax T1"), (5, "ax T2 FLAIR")):
        tags = {"SeriesNumber": number, "SeriesDescription": name}
        write_series(root / name, random_series(uid=f"1.{number}", modality="MR", tags=tags))
    return root


def folder_of(cases: list) -> list[str]:  # type: ignore[type-arg]
    return [path.parent.name for case in cases for path in case.images]


def test_the_modality_and_the_voxels_of_the_training_decide(study: Path) -> None:
    told: list[str] = []
    assert folder_of(dicom_cases(study, THIN, told.append)) == ["thin"]
    assert "Of 4 series of study-" in told[-1]
    assert "number 2 was taken, CT with voxels of 0.8 x 0.9 x 2.5 mm" in told[-1]
    thick = WantedScan(("CT",), (0.8, 0.9, 7.0))
    assert folder_of(dicom_cases(study, thick, told.append)) == ["thick"]


@pytest.mark.parametrize(("asked", "folder"), [("3", "thick"), ("1.1", "thin"), ("flair", "ax T2 FLAIR")])
def test_a_person_may_name_number_uid_or_a_part_of_the_description(
    asked: str, folder: str, study: Path
) -> None:
    wanted = WantedScan(("CT",), (1.0, 1.0, 1.0), (asked,))
    assert folder_of(dicom_cases(study, wanted, str)) == [folder]


def test_what_is_not_there_is_told_with_what_is(study: Path) -> None:
    with pytest.raises(UsageError, match=r"No series is '9'; there are those with the numbers 2, 3, 4, 5"):
        dicom_cases(study, WantedScan(("CT",), (1.0, 1.0, 1.0), ("9",)), str)
    with pytest.raises(UsageError, match="no series of slices that a model of PET takes"):
        dicom_cases(study, WantedScan(("PET",), (1.0, 1.0, 1.0)), str)


def test_series_that_fit_alike_are_not_guessed_between(study: Path) -> None:
    with pytest.raises(UsageError, match=r"number 4 \(MR, 5 slices\), number 5 \(MR, 5 slices\).*--series"):
        dicom_cases(study, WantedScan(("MRI",), (0.8, 0.9, 2.5)), str)


def test_channels_are_found_by_their_names_in_the_descriptions(study: Path) -> None:
    wanted = WantedScan(("FLAIR", "T1"), (0.8, 0.9, 2.5))
    assert folder_of(dicom_cases(study, wanted, str)) == ["ax T2 FLAIR", "ax T1"]
    with pytest.raises(UsageError, match=r"2 channels.*1 series"):
        dicom_cases(study, WantedScan(("FLAIR", "T1"), (0.8, 0.9, 2.5), ("4",)), str)


def test_a_channel_whose_name_is_a_part_of_another_one_s_takes_its_own_series(study: Path) -> None:
    for number, name in ((6, "ax T1CE"), (7, "ax T2")):
        # Nearer to the model's voxels than what is meant.
        tags = {"SeriesNumber": number, "SeriesDescription": name}
        affine = axial(spacing=(0.8, 0.9, 2.5 if number == 6 else 8.0))
        write_series(study / name, random_series(uid=f"1.{number}", modality="MR", affine=affine, tags=tags))
    wanted = WantedScan(("T1", "T1CE", "T2", "FLAIR"), (0.8, 0.9, 2.5))
    found = folder_of(dicom_cases(study, wanted, str))
    assert found == ["ax T1", "ax T1CE", "ax T2", "ax T2 FLAIR"]
    shutil.rmtree(study / "ax T1")
    with pytest.raises(UsageError, match=r"Series number 6 would be both T1 and T1CE.*--series"):
        dicom_cases(study, wanted, str)


def test_the_name_of_another_modality_in_a_description_decides_nothing(study: Path) -> None:
    for number, name, modality in ((6, "CT", "CT"), (7, "PET NAC", "PT"), (8, "PET CT AC", "PT")):
        tags = {"SeriesNumber": number, "SeriesDescription": name}
        write_series(study / name, random_series(uid=f"1.{number}", modality=modality, tags=tags))
    with pytest.raises(UsageError, match=r"Several series fit a model of PET alike: number 7.*number 8"):
        dicom_cases(study, WantedScan(("CT", "PET"), (0.8, 0.9, 2.5)), str)


def test_of_a_channel_with_several_phases_none_is_guessed(study: Path) -> None:
    for phase in ("a", "b"):
        tags = {"SeriesNumber": 6, "SeriesDescription": "ADC", "EchoTime": str(ord(phase))}
        objects = slice_objects(random_series(uid="1.6", modality="MR", tags=tags))
        write_objects(
            study / "adc", [_renamed(one, phase) for one in objects], [f"{phase}{n}" for n in range(5)]
        )
    with pytest.raises(
        UsageError, match=r"ADC would be one of 2 volumes \(number 6, EchoTime = 97, number 6"
    ):
        dicom_cases(study, WantedScan(("T1", "ADC"), (0.8, 0.9, 2.5)), str)


def test_a_study_that_does_not_fit_is_told_and_the_others_go_on(study: Path) -> None:
    tags = {"StudyInstanceUID": "1.2.98"}
    for number in (1, 2):
        drawn = random_series(uid=f"1.8.{number}", tags=tags | {"SeriesNumber": number})
        write_series(study / f"twin{number}", drawn)
    write_series(study / "mr", random_series(uid="1.7", modality="MR", tags={"StudyInstanceUID": "1.2.97"}))
    told: list[str] = []
    assert folder_of(dicom_cases(study, THIN, told.append)) == ["thin"]
    assert sum("was left out. Several series fit" in one for one in told) == 1
    assert sum("was left out: no series of it fits" in one for one in told) == 1


def test_a_file_stands_for_its_series(study: Path) -> None:
    path = next((study / "thick").iterdir())
    assert folder_of(cases_to_predict([path], 1, dicom=THIN)) == ["thick"]


def test_phases_are_cases_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "study"
    for name, time in (("a", "10"), ("b", "20")):
        objects = slice_objects(random_series(tags={"TriggerTime": time}))
        write_objects(root, [_renamed(one, name) for one in objects], [f"{name}{n}" for n in range(5)])
    remarks: list[str] = []
    cases = dicom_cases(root, THIN, remarks.append)
    assert len({case.id for case in cases}) == 2
    (told,) = (one for one in remarks if "2 volumes" in one)
    for case, time in zip(cases, ("10", "20"), strict=True):
        assert re.search(rf"{case.id} \(number \d+, TriggerTime = {time}", told)
    assert sorted(case.images[0].name[0] for case in cases) == ["a", "b"]


def _renamed(one: object, name: str) -> object:
    one.SOPInstanceUID += f".{ord(name)}"  # type: ignore[attr-defined]
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID  # type: ignore[attr-defined]
    return one


def test_a_folder_of_studies_is_a_case_each(study: Path) -> None:
    write_series(
        study / "other", random_series(uid="1.9", tags={"StudyInstanceUID": "1.2.99", "SeriesNumber": 1})
    )
    assert sorted(folder_of(cases_to_predict([study], 1, dicom=THIN))) == ["other", "thin"]
