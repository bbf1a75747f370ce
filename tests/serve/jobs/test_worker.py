"""The process of jobs: what it answers, what it keeps loaded, and that it does not outlive its server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vesal.serve.jobs import worker as module
from vesal.serve.jobs.job import TEMPORARY, Outcome
from vesal.serve.jobs.worker import LoadedModels, compute


def order(model: Path, root: Path, *inputs: Path) -> dict[str, Any]:
    return {
        "id": "a",
        "model": str(model),
        "inputs": [str(path) for path in inputs],
        "folder": str(root / "results"),
        "root": str(root),
        "room_bytes": 0,
        "options": {},
    }


@pytest.fixture
def model(trained_run: Path) -> Path:
    return trained_run / "fold_0" / "model.vesal"


def test_a_job_ends_with_its_outcome_after_its_progress(model: Path, tiny_data: Path, tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    upload = tmp_path / "upload.nii.gz"
    upload.write_bytes((tiny_data / "imagesTs" / "tiny_50.nii.gz").read_bytes())
    compute(order(model, tmp_path, upload), LoadedModels("cpu", "auto"), said.append)
    stages = list(dict.fromkeys(message["stage"] for message in said if "stage" in message))
    assert stages == ["Loading the model", "Reading the scan", "Segmenting"]
    assert [file["kind"] for file in said[-1]["done"]["results"]] == ["nifti", "scan"]


def test_a_failure_names_no_folder_of_the_server(model: Path, tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    (tmp_path / "scan.nii.gz").write_bytes(b"\x1f\x8b no gzip")
    compute(order(model, tmp_path, tmp_path / "scan.nii.gz"), LoadedModels("cpu", "auto"), said.append)
    assert "scan.nii.gz" in said[-1]["failed"]
    assert str(tmp_path) not in said[-1]["failed"]
    assert said[-1]["refused"]


def test_a_model_that_cannot_be_used_is_named_without_its_folder(tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    models = tmp_path / "models"
    models.mkdir()
    (models / "heart.vesal").write_bytes(b"no model")
    compute(order(models / "heart.vesal", tmp_path / "job"), LoadedModels("cpu", "auto"), said.append)
    assert "heart.vesal" in said[-1]["failed"]
    assert str(tmp_path) not in said[-1]["failed"]


def test_what_was_left_out_names_no_folder_of_the_server(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "upload" / "study"
    outcome = Outcome(
        cases=(), results=(), notes=(f"Left out of {study}: a dose (1).", f"{study / 'a.dcm'}: damaged.")
    )
    monkeypatch.setattr("vesal.serve.jobs.predict_job.predict_job", lambda *_: outcome)
    said: list[dict[str, Any]] = []
    compute(order(model, tmp_path), LoadedModels("cpu", "auto"), said.append)
    assert said[-1]["done"]["notes"] == ["Left out of the upload: a dose (1).", "a.dcm: damaged."]


def test_a_warning_is_told_without_its_words() -> None:
    # What pydicom and highdicom warn of quotes names of patients.
    program = (
        "import os, sys, warnings\n"
        "from vesal.serve.jobs import worker\n"
        "worker._orders = lambda _: type('Orders', (), {'get': lambda self: {}})()\n"
        "worker.compute = lambda *_: (warnings.warn('Doe^Jane is odd'), sys.stderr.flush(), os._exit(0))\n"
        "worker.main('cpu', 'auto', 1 << 40)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert "UserWarning" in done.stderr
    assert "Doe" not in done.stderr


def test_an_error_of_our_own_is_not_described(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("/secret/path")

    monkeypatch.setattr("vesal.serve.jobs.predict_job.predict_job", broken)
    said: list[dict[str, Any]] = []
    compute(order(model, tmp_path), LoadedModels("cpu", "auto"), said.append)
    assert "KeyError" in said[-1]["failed"]
    assert "secret" not in said[-1]["failed"]
    assert "/secret/path" in capsys.readouterr().err


def test_models_stay_loaded_while_there_is_memory(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.vesal"
    other.write_bytes(model.read_bytes())
    models = LoadedModels("cpu", "torch")
    first = models.get(model)
    models.get(other)
    assert models.get(model) is first
    monkeypatch.setattr(module, "available_memory", lambda: 0)
    third = tmp_path / "third.vesal"
    third.write_bytes(model.read_bytes())
    models.get(third)
    monkeypatch.undo()
    assert models.get(model) is not first


def test_models_are_let_go_before_a_job_would_break_its_limit(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.vesal"
    other.write_bytes(model.read_bytes())
    roomy, narrow = (LoadedModels("cpu", "torch", most) for most in (1 << 40, 1))
    for models, kept in ((roomy, True), (narrow, False)):
        first = models.get(model)
        models.get(other)
        assert (models.get(model) is first) == kept


def test_the_process_ends_with_its_server_and_prints_nothing_but_messages() -> None:
    command = [sys.executable, "-m", "vesal.serve.jobs.worker", "cpu", "auto", str(1 << 40)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert "ready" in json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(60) == 0


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"nothing")
    return path


def test_an_archive_is_unpacked_below_the_job_and_its_place_is_not_told(model: Path, tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    archive = zipped(tmp_path / "study.zip", "notes.txt")
    compute(order(model, tmp_path, archive), LoadedModels("cpu", "auto"), said.append)
    assert "No scan was found in study" in said[-1]["failed"]
    assert str(tmp_path) not in said[-1]["failed"]
    assert tempfile.gettempdir() not in said[-1]["failed"]
    assert not (tmp_path / TEMPORARY).exists()


def test_an_archive_leaves_the_room_on_the_disk_that_the_server_leaves(model: Path, tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    archive = zipped(tmp_path / "study.zip", "notes.txt")
    wanted = order(model, tmp_path, archive) | {"room_bytes": shutil.disk_usage(tmp_path).total}
    compute(wanted, LoadedModels("cpu", "auto"), said.append)
    assert "too little to unpack study.zip" in said[-1]["failed"]
    assert not said[-1]["refused"]


def test_while_a_job_is_computed_temporary_files_are_the_job_s(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Path] = []

    def look(*_: object) -> Outcome:
        with tempfile.NamedTemporaryFile() as file:
            places.append(Path(file.name))
        return Outcome(notes=(f"Left out of {tmp_path}/{TEMPORARY}/vesal-1_x/study: a dose (1).",))

    monkeypatch.setattr("vesal.serve.jobs.predict_job.predict_job", look)
    said: list[dict[str, Any]] = []
    before = tempfile.gettempdir()
    compute(order(model, tmp_path), LoadedModels("cpu", "auto"), said.append)
    assert places[0].parent == tmp_path / TEMPORARY
    assert tempfile.gettempdir() == before
    assert said[-1]["done"]["notes"] == ["Left out of study: a dose (1)."]
