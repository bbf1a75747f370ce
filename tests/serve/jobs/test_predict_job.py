"""A job's work: files of other places are not read, and of several scans one that fails does not stop the rest."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.infer.model import Model
from vesal.infer.predictor import load_model
from vesal.serve.jobs.job import JobOptions, Outcome
from vesal.serve.jobs.predict_job import Work, _Maker, predict_job
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap
from vesal.workflow.predict import PredictResult


@pytest.fixture(scope="module")
def model(trained_run: Path) -> Model:
    return load_model(trained_run / "fold_0" / "model.vesal", device="cpu")


def run(model: Model, root: Path, *inputs: Path, **options: object) -> Outcome:
    work = Work(inputs, root / "results", JobOptions.model_validate(options), root)
    return predict_job(model, work, lambda done, total: None)


def scan(path: Path, seed: int = 0) -> Path:
    values = np.random.default_rng(seed).normal(100, 20, (18, 20, 16)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.diag([1, 1, 1.5, 1])), path)
    return path


def test_the_scan_lies_on_the_grid_of_its_mask(model: Model, tmp_path: Path) -> None:
    found = run(model, tmp_path, scan(tmp_path / "upload" / "a.nii.gz"))
    mask, picture = (
        nib.load(tmp_path / "results" / file.name)
        for kind in ("nifti", "scan")
        for file in found.results
        if file.kind == kind
    )
    np.testing.assert_array_equal(mask.affine, picture.affine)
    assert mask.shape == picture.shape
    np.testing.assert_array_equal(picture.get_fdata(), nib.load(tmp_path / "upload" / "a.nii.gz").get_fdata())


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.nrrd", "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: {}\n\n"),
        ("a.mha", "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {}\n"),
    ],
)
def test_a_header_cannot_name_a_file_of_the_server(
    model: Model, tmp_path: Path, name: str, header: str
) -> None:
    secret = tmp_path / "elsewhere" / "secret.raw"
    secret.parent.mkdir()
    secret.write_bytes(bytes(8))
    upload = tmp_path / "job" / "upload" / name
    upload.parent.mkdir(parents=True)
    upload.write_text(header.format(secret))
    with pytest.raises(DataError, match=r"outside the upload|holds no|cannot|not"):
        run(model, tmp_path / "job", upload)
    assert not list((tmp_path / "job").rglob("*.scan.nii.gz"))


def test_of_several_scans_the_one_that_fails_is_noted(model: Model, tmp_path: Path) -> None:
    good = scan(tmp_path / "upload" / "good.nii.gz")
    bad = tmp_path / "upload" / "bad.nii.gz"
    bad.write_bytes(good.read_bytes()[:200])
    found = run(model, tmp_path, good, bad)
    assert [case.name for case in found.cases] == ["good"]
    assert any(note.startswith("bad: ") for note in found.notes)


def test_an_empty_folder_is_no_scan(model: Model, tmp_path: Path) -> None:
    (tmp_path / "upload").mkdir()
    with pytest.raises(Exception, match="upload"):
        run(model, tmp_path, tmp_path / "upload")


def test_windows_are_counted(model: Model, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = scan(tmp_path / "upload" / "a.nii.gz")
    work = Work((path,), tmp_path / "results", JobOptions(), tmp_path)
    predict_job(model, work, lambda done, total: seen.append((done, total)))
    assert seen
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("other", ["a.scan", "a.Uncertainty"])
def test_a_scan_that_is_called_as_another_s_file_is_refused(model: Model, tmp_path: Path, other: str) -> None:
    folder = scan(tmp_path / "upload" / "a.nii.gz").parent
    scan(folder / f"{other}.nii.gz", 1)
    with pytest.raises(DataError, match="rename one of the two scans"):
        run(model, tmp_path, folder, to=["nifti", "uncertainty"])


def test_why_a_study_has_no_scan_is_told(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    from dicom_examples import random_series, write_series

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    paths = write_series(tmp_path / "study", random_series(modality="MR"))
    paths[2].unlink()
    with pytest.raises(UsageError, match="1 slice missing"):
        run(model, tmp_path, tmp_path / "study")


@pytest.mark.parametrize("beside", ["old mask.nii.gz", "below/preview.png"])
def test_a_study_is_not_passed_over_for_an_image_beside_it(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: str
) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    from dicom_examples import random_series, write_series

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    study = tmp_path / "study"
    write_series(study, random_series(modality="MR"))
    scan(tmp_path / "a.nii.gz")
    (study / beside).parent.mkdir(exist_ok=True)
    (tmp_path / "a.nii.gz").rename(study / beside)
    with pytest.raises(DataError, match=f"{Path(beside).name} came along with DICOM objects"):
        run(model, tmp_path, study)
    (study / beside).unlink()
    assert len(run(model, tmp_path, study).cases) == 1


@pytest.mark.parametrize("there", [True, False])
def test_a_table_of_scans_does_not_find_out_what_else_the_server_has(
    model: Model, tmp_path: Path, there: bool
) -> None:
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    if there:
        secret.write_text("no scan")
    folder = scan(tmp_path / "job" / "upload" / "inner" / "a.nii.gz").parents[1]
    (folder / "manifest.csv").write_text(f"image,label\n{secret},{secret}\n")
    with pytest.raises(DataError, match="secret names voxels outside the upload"):
        run(model, tmp_path / "job", folder)


def test_a_picture_has_no_volume(tmp_path: Path) -> None:
    labels = LabelSet.from_values({"cell": 1})
    made = _Maker(labels, Work((), tmp_path, JobOptions(), tmp_path))
    mask = LabelMap(np.ones((4, 5), np.uint8), Geometry.from_spacing((4, 5), (1.0, 1.0)))
    assert made._found("a", labels.encode(mask.array), mask, PredictResult()).volumes_ml == {}
