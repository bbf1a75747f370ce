"""From a study to DICOM objects on it: the same masks as of the scan in NIfTI, and the same object when made again."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_examples import Drawn, axial, write_series
from torch import Tensor

from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.infer.model import Model
from vesal.layouts.dicom.chosen_series import WantedScan
from vesal.layouts.input_scans import cases_to_predict
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.volume.io import read_label, read_volume, write_volume
from vesal.workflow.predict import PredictResult, predict_cases
from vesal.workflow.prediction.unpacked_inputs import unpacked
from vesal.workflow.requests.predict_options import PredictOptions

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
pytestmark = [pytest.mark.pictures, pytest.mark.filterwarnings("ignore::UserWarning")]

NESTED = LabelSet.from_values({"rim": 1, "core": 4}, regions={"whole": ["rim", "core"], "core": ["core"]})


def bright(batch: Tensor) -> Tensor:
    return torch.cat([batch - 60.0, batch - 160.0], dim=1) / 20.0


@pytest.fixture(autouse=True)
def _salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def model() -> Model:
    plan = Plan.model_validate(
        {
            "dimension": 3,
            "spacing_mm": (0.8, 0.9, 2.5),
            "patch": (16, 16, 8),
            "batch": 1,
            "stages": (Stage(features=4, kernel=(3, 3, 3), stride=(1, 1, 1)),),
            "normalisation": (Normalisation(scheme="none"),),
            "mirror_axes": (),
            "channels": ("CT",),
            "labels": NESTED,
            "median_shape": (20, 18, 8),
        }
    )
    return Model(plan, (bright,), torch.device("cpu"))  # type: ignore[arg-type]


def drawn(affine: np.ndarray) -> Drawn:  # type: ignore[type-arg]
    x, y, z = np.indices((20, 18, 8))
    distance = np.sqrt((x - 9) ** 2 + (y - 8) ** 2 + (2.5 * (z - 4)) ** 2)
    return Drawn(np.select([distance < 4, distance < 7], [200, 100], 0).astype(np.int16), affine)


def test_masks_are_those_of_the_scan_in_nifti_and_regions_hold_all_their_labels(
    tmp_path: Path, model: Model
) -> None:
    paths = write_series(tmp_path / "study", drawn(axial()))
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    out = tmp_path / "out"
    result = predict_cases(model, cases, out, PredictOptions(to="nifti,dicom-seg,rtstruct,sr"))
    assert result.failures == []
    (case,) = cases
    label = read_label(out / f"{case.id}.nii.gz")
    write_volume(tmp_path / "scan.nii.gz", read_volume(paths[0]))
    predict_cases(model, cases_to_predict([tmp_path / "scan.nii.gz"], 1), tmp_path / "again")
    assert np.array_equal(label.array, read_label(tmp_path / "again" / "scan.nii.gz").array)
    for name in ("seg", "rtstruct"):
        path = out / f"{case.id}.{name}.dcm"
        assert np.array_equal(read_label(path, values={"whole": 1}).array == 1, label.array > 0)
        assert np.array_equal(read_label(path, values={"core": 1}).array == 1, label.array == 4)
    report = pydicom.dcmread(out / f"{case.id}.sr.dcm")
    assert report.Modality == "SR"


def test_under_a_tilt_the_objects_lie_on_the_slices_as_they_were_taken(tmp_path: Path, model: Model) -> None:
    affine = axial()
    affine[:3, 2] = (0.0, 0.9, 2.5)
    paths = write_series(tmp_path / "study", drawn(affine))
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    predict_cases(model, cases, tmp_path / "out", PredictOptions(to="dicom-seg"))
    found = pydicom.dcmread(tmp_path / "out" / f"{cases[0].id}.seg.dcm")
    positions = {
        tuple(map(float, of.PlanePositionSequence[0].ImagePositionPatient))
        for of in found.PerFrameFunctionalGroupsSequence
    }
    of_scan = {tuple(map(float, pydicom.dcmread(path).ImagePositionPatient)) for path in paths}
    assert positions <= of_scan
    scan, mask = (
        read_volume(paths[0]),
        read_label(tmp_path / "out" / f"{cases[0].id}.seg.dcm", values={"whole": 1}),
    )
    assert scan.geometry.close_to(mask.geometry)
    inside = scan.array[0][mask.array == 1]
    assert (inside > 60).mean() > 0.95


def predicted_after(
    without: str, tmp_path: Path, model: Model, to: str = "dicom-seg,rtstruct,sr"
) -> PredictResult:
    """Of a study whose objects lost an element."""
    for path in write_series(tmp_path / "study", drawn(axial())):
        header = pydicom.dcmread(path)
        del header[without]
        header.save_as(path)
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    return predict_cases(model, cases, tmp_path / "out", PredictOptions(to=to))


@pytest.mark.parametrize("lost", ["PatientID", "PatientName", "PatientSex", "StudyDate", "AccessionNumber"])
def test_a_study_from_which_names_were_taken_out_gets_its_objects(
    lost: str, tmp_path: Path, model: Model
) -> None:
    result = predicted_after(lost, tmp_path, model)
    assert result.failures == []
    found = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").glob("*.dcm"))]
    assert [(one.Modality, str(one[lost].value or "")) for one in found] == [
        ("RTSTRUCT", ""),
        ("SEG", ""),
        ("SR", ""),
    ]


@pytest.mark.parametrize("to", ["dicom-seg", "rtstruct", "sr"])
def test_what_nothing_can_refer_to_is_told(to: str, tmp_path: Path, model: Model) -> None:
    (failure,) = predicted_after("FrameOfReferenceUID", tmp_path, model, to).failures
    assert "has no FrameOfReferenceUID" in failure.message


def test_names_keep_their_letters_in_every_object(tmp_path: Path, model: Model) -> None:
    regions = {"Œil": ["rim", "core"], "眼": ["core"]}
    labels = LabelSet.from_values({"rim": 1, "core": 4}, regions=regions)
    model = replace(model, plan=model.plan.model_copy(update={"labels": labels}))
    tags = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürg"}
    write_series(tmp_path / "study", replace(drawn(axial()), tags=tags))
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    assert (
        predict_cases(model, cases, tmp_path / "out", PredictOptions(to="dicom-seg,rtstruct")).failures == []
    )
    structures, segments = (pydicom.dcmread(path) for path in sorted((tmp_path / "out").glob("*.dcm")))
    assert [one.ROIName for one in structures.StructureSetROISequence] == ["Œil", "眼"]
    assert [one.SegmentLabel for one in segments.SegmentSequence] == ["Œil", "眼"]
    assert {str(structures.PatientName), str(segments.PatientName)} == {"Müller^Jürg"}


def test_the_same_result_made_again_is_the_same_object(tmp_path: Path, model: Model) -> None:
    write_series(tmp_path / "study", drawn(axial()))
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    uids = []
    for folder in ("one", "two"):
        predict_cases(model, cases, tmp_path / folder, PredictOptions(to="dicom-seg,rtstruct"))
        uids.append(
            [pydicom.dcmread(path).SOPInstanceUID for path in sorted((tmp_path / folder).glob("*.dcm"))]
        )
    predict_cases(model, cases, tmp_path / "other", PredictOptions(to="dicom-seg,rtstruct", threshold=0.9))
    other = [pydicom.dcmread(path).SOPInstanceUID for path in sorted((tmp_path / "other").glob("*.dcm"))]
    assert not set(other) & set(uids[0])
    assert uids[0] == uids[1]
    assert len(set(uids[0])) == 2


def test_probabilities_and_a_picture_are_objects_too(tmp_path: Path, model: Model) -> None:
    write_series(tmp_path / "study", drawn(axial()))
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    out = tmp_path / "out"
    predict_cases(model, cases, out, PredictOptions(to="nifti,dicom-fractional,preview", probabilities=True))
    name = cases[0].id
    found = pydicom.dcmread(out / f"{name}.fractional.dcm")
    assert found.SegmentationType == "FRACTIONAL"
    whole = read_volume(out / "probabilities" / "whole" / f"{name}.nii.gz").array[0]
    mask = read_label(out / f"{name}.fractional.dcm", values={"whole": 1}).array
    sure = np.abs(whole - 0.5) > 0.01
    assert np.array_equal(mask[sure] == 1, whole[sure] > 0.5)
    picture = pydicom.dcmread(out / f"{name}.preview.dcm")
    assert picture.pixel_array.shape[2] == 3
    assert picture.pixel_array.std() > 5


@pytest.mark.parametrize(
    "to", ["dicom-labelmap", "dicom-seg,dicom-labelmap", "nifti,dicom-seg,dicom-labelmap"]
)
def test_regions_that_overlap_are_no_label_map_and_a_failure_leaves_no_part_of_a_result(
    to: str, tmp_path: Path, model: Model
) -> None:
    write_series(tmp_path / "study", drawn(axial()))
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    result = predict_cases(model, cases, tmp_path / "out", PredictOptions(to=to))
    assert result.failures[0].message == (
        "Regions that overlap are no label map; write dicom-seg in place of dicom-labelmap."
    )
    assert not any((tmp_path / "out").glob(f"{cases[0].id}*"))


def test_a_scan_that_is_no_dicom_gets_none(tmp_path: Path, model: Model) -> None:
    paths = write_series(tmp_path / "study", drawn(axial()))
    write_volume(tmp_path / "scan.nii.gz", read_volume(paths[0]))
    cases = cases_to_predict([tmp_path / "scan.nii.gz"], 1)
    with pytest.raises(UsageError, match="is no DICOM, so its result cannot be one"):
        predict_cases(model, cases, tmp_path / "out", PredictOptions(to="dicom-seg"))


def test_missing_slices_are_filled_where_asked_and_get_no_frame(tmp_path: Path, model: Model) -> None:
    paths = write_series(tmp_path / "study", drawn(axial()))
    paths[4].unlink()
    wanted = WantedScan(("CT",), (0.8, 0.9, 2.5))
    with pytest.raises(UsageError, match=r"1 slice missing between IM000[0-9] and IM000[0-9]"):
        cases_to_predict([tmp_path / "study"], 1, dicom=wanted)
    filled = WantedScan(("CT",), (0.8, 0.9, 2.5), fill_slices=True)
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=filled)
    result = predict_cases(model, cases, tmp_path / "out", PredictOptions(to="nifti,dicom-seg,rtstruct"))
    assert result.failures == []
    assert read_label(tmp_path / "out" / f"{cases[0].id}.nii.gz").array[:, :, 4].any()


def test_archives_are_unpacked_for_as_long_as_it_takes(tmp_path: Path) -> None:
    write_series(tmp_path / "study", drawn(axial()))
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "study"))
    with unpacked([archive, tmp_path / "study"]) as (inner, folder):
        assert folder == tmp_path / "study"
        assert len(list(inner.iterdir())) == 8
    assert not inner.exists()


def test_an_error_about_what_was_unpacked_names_the_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    shutil.make_archive(str(tmp_path / "outer"), "zip", tmp_path, "a.zip")
    archive = tmp_path / "outer.zip"
    with pytest.raises(UsageError) as told, unpacked([archive]) as paths:
        cases_to_predict(paths, 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    assert f"{archive}/a.zip" in str(told.value)
    assert "vesal-" not in str(told.value)


@pytest.mark.parametrize("charset", [["", "ISO 2022 IR 87"], "ISO_IR 100", None])
def test_elements_that_were_taken_away_and_any_character_set_make_objects(
    tmp_path: Path, model: Model, charset: object
) -> None:
    for path in write_series(tmp_path / "study", drawn(axial())):
        header = pydicom.dcmread(path)
        for keyword in ("PatientID", "PatientBirthDate", "StudyTime", "AccessionNumber"):
            header.pop(keyword, None)
        header.PatientName = "Müller^Jörg" if charset == "ISO_IR 100" else "Doe^Jane"
        if charset is not None:
            header.SpecificCharacterSet = charset
        header.save_as(path)
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    labels = LabelSet.from_values({"rim": 1, "core": 4}, regions={"肺": ["rim", "core"], "a\\b": ["core"]})
    object.__setattr__(model, "plan", model.plan.model_copy(update={"labels": labels}))
    result = predict_cases(model, cases, tmp_path / "out", PredictOptions(to="dicom-seg,rtstruct,sr,preview"))
    assert result.failures == []
    found = pydicom.dcmread(tmp_path / "out" / f"{cases[0].id}.seg.dcm")
    assert [one.SegmentLabel for one in found.SegmentSequence] == ["肺", "a/b"]
    assert str(found.PatientName) == ("Müller^Jörg" if charset == "ISO_IR 100" else "Doe^Jane")
    drawn_too = pydicom.dcmread(tmp_path / "out" / f"{cases[0].id}.rtstruct.dcm")
    assert [one.ROIName for one in drawn_too.StructureSetROISequence] == ["肺", "a/b"]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientBirthDate", "unknown"), ("PatientSex", "U"), ("StudyDate", "20201399"), ("StudyTime", "noon")],
)
def test_an_element_that_the_scanner_wrote_against_the_rules_costs_no_object(
    keyword: str, value: str, tmp_path: Path, model: Model
) -> None:
    write_series(tmp_path / "study", replace(drawn(axial()), tags={keyword: value}))
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    result = predict_cases(model, cases, tmp_path / "out", PredictOptions(to="dicom-seg,rtstruct,sr,preview"))
    assert result.failures == []
    found = [pydicom.dcmread(path) for path in (tmp_path / "out").glob("*.dcm")]
    assert [str(one[keyword].value or "") for one in found] == [""] * 4


def test_no_library_tells_the_patients_name(
    tmp_path: Path, model: Model, recwarn: pytest.WarningsRecorder
) -> None:
    # Of one component, as names are after they were taken away: highdicom quotes such in a warning.
    write_series(tmp_path / "study", replace(drawn(axial()), tags={"PatientName": "LUNG1-003"}))
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    recwarn.clear()
    # The mark above would keep them from being recorded.
    warnings.simplefilter("always")
    predict_cases(model, cases, tmp_path / "out", PredictOptions(to="dicom-seg,rtstruct,sr,preview"))
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 4
    assert [str(one.message) for one in recwarn if "LUNG1" in str(one.message)] == []


def test_a_scan_of_no_space_is_refused_in_words(tmp_path: Path, model: Model) -> None:
    for path in write_series(tmp_path / "study", drawn(axial())):
        header = pydicom.dcmread(path)
        del header.FrameOfReferenceUID
        header.save_as(path)
    cases = cases_to_predict([tmp_path / "study"], 1, dicom=WantedScan(("CT",), (0.8, 0.9, 2.5)))
    result = predict_cases(model, cases, tmp_path / "out", PredictOptions(to="dicom-seg"))
    assert "has no FrameOfReferenceUID" in result.failures[0].message
