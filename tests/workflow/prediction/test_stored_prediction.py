"""Predicting scans that lie at addresses: the same masks, nothing twice, and no more than a scan on the own disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner, Result

from vesal.cli.app import app
from vesal.engine.in_process import InProcess
from vesal.engine.local_engine import LocalEngine
from vesal.errors import UsageError
from vesal.layouts.input_scans import cases_to_predict
from vesal.memory_limit import limit
from vesal.run_files import COHORT, COHORT_CSV, COHORT_PARQUET, COHORT_PARTS, QUALITY, QUALITY_CSV
from vesal.workflow.predict import predict_cases
from vesal.workflow.prediction.stored_files import StoredFolder
from vesal.workflow.prediction.stored_prediction import StoredPrediction, predict_stored
from vesal.workflow.prediction.worker_prediction import ModelSource
from vesal.workflow.requests.predict_options import PredictOptions

RECORD = {COHORT, COHORT_CSV, COHORT_PARQUET, QUALITY, QUALITY_CSV}


@pytest.fixture(scope="module")
def source(trained_run: Path) -> ModelSource:
    return ModelSource(trained_run / "fold_0" / "model.vesal", "cpu", "torch")


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where scans are fetched to, by the processes of these tests, too. A short path: sockets lie in it."""
    folder = tmp_path_factory.mktemp("s")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    MemoryFileSystem.store.clear()
    return folder


def predict(
    source: ModelSource, scans: str, out: str, engine: Any = None, **options: Any
) -> StoredPrediction:
    shard = options.pop("shard", None)
    return predict_stored(source, [scans], out, PredictOptions(**options), engine or InProcess(), shard=shard)


def contents(folder: StoredFolder) -> dict[str, bytes]:
    """What is there beside the record."""
    return {name: folder.read(name) for name in folder.files() if name not in RECORD}


def on_disk(source: ModelSource, scans: Path, out: Path, **options: Any) -> dict[str, bytes]:
    """What a prediction of this disk writes."""
    loaded = source.load()
    predict_cases(loaded, cases_to_predict([scans], 1, loaded.labels), out, PredictOptions(**options))
    files = (path for path in out.rglob("*") if path.is_file() and path.suffix != ".jsonl")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files if path.name not in RECORD}


def test_a_storage_gets_what_a_folder_gets(
    source: ModelSource, scans: Path, tmp_path: Path, scratch: Path
) -> None:
    options = {"probabilities": True, "overlay": True, "uncertainty": True}
    there = StoredFolder("memory://data/scans")
    for path in scans.iterdir():
        there.put(path, path.name)
    result = predict(source, "memory://data/scans", "memory://data/masks", **options)
    assert contents(StoredFolder("memory://data/masks")) == on_disk(
        source, scans, tmp_path / "alone", **options
    )
    assert [failure.id for failure in result.failures] == ["cut"]
    assert str(scratch) not in result.failures[0].message
    assert result.text().startswith(
        "4 of 5 scans segmented in memory://data/masks; network by torch in this process"
    )
    assert list(scratch.glob("vesal-scratch-*")) == []
    rows = StoredFolder("memory://data/masks").read(COHORT_CSV).decode().splitlines()
    assert len(rows) == 6


def test_a_limit_of_memory_is_kept_at_addresses_too(source: ModelSource, scans: Path, tmp_path: Path) -> None:
    most_bytes = 9 * 10**9
    for name, engine in (("here", InProcess()), ("workers", LocalEngine(1))):
        out = tmp_path / name
        result = predict(source, f"file://{scans}", f"file://{out}", engine, max_ram=most_bytes)
        assert len(result.done) == 4
        assert contents(StoredFolder(f"file://{out}")) == on_disk(source, scans, tmp_path / f"{name}_alone")
        assert limit() is None
    with pytest.raises(UsageError, match="less than the program itself takes"):
        predict(source, f"file://{scans}", f"file://{tmp_path / 'small'}", max_ram=1000)


def test_workers_and_a_resumed_prediction_do_each_scan_once(
    source: ModelSource, scans: Path, tmp_path: Path, scratch: Path
) -> None:
    out, engine = tmp_path / "out", LocalEngine(2)
    result = predict(source, f"file://{scans}", f"file://{out}", engine)
    assert contents(StoredFolder(f"file://{out}")) == on_disk(source, scans, tmp_path / "alone")
    assert len(result.done) == 4
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    (out / "tiny_01.nii.gz").unlink()
    shutil.copy(scans / "tiny_00.nii.gz", scans / "cut.nii.gz")
    shutil.copy(scans / "tiny_00.nii.gz", scans / "tiny_02.nii.gz")
    again = predict(source, f"file://{scans}", f"file://{out}", engine, resume=True)
    assert (again.kept, sorted(again.done), again.failures) == (
        ["tiny_00", "tiny_03"], ["cut", "tiny_01", "tiny_02"], []
    )  # fmt: skip
    for name in ("tiny_00.nii.gz", "tiny_03.nii.gz"):
        assert (out / name).stat().st_mtime_ns == times[name]
    assert list(scratch.glob("vesal-scratch-*")) == []


def test_after_a_kill_of_them_all_the_rest_is_done(
    source: ModelSource, tiny_data: Path, tmp_path: Path, scratch: Path
) -> None:
    scans, out = tmp_path / "many", tmp_path / "out"
    scans.mkdir()
    for number in range(60):
        shutil.copy(tiny_data / "imagesTr" / f"tiny_{number % 5:02}.nii.gz", scans / f"s{number:03}.nii.gz")
    command = [
        sys.executable,
        "-m",
        "vesal",
        "predict",
        str(source.path),
        f"file://{scans}",
        "-o",
        f"file://{out}",
    ]
    command += ["--engine", "local", "--workers", "2", "--backend", "torch", "--device", "cpu", "--resume"]
    deadline = time.monotonic() + 120
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        while len(list(out.glob("*.nii.gz"))) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    names = {path.name for path in out.iterdir()}
    assert {name for name in names if name.endswith(".nii.gz")} == {
        f"s{number:03}.nii.gz" for number in range(60)
    }
    assert names - RECORD <= {f"s{number:03}.nii.gz" for number in range(60)} | {COHORT_PARTS}
    lines = [json.loads(line) for line in (out / COHORT).read_text().splitlines()]
    assert len({row["case"] for row in lines if "case" in row}) == 60
    # What the killed ones had fetched is gone, too.
    assert list(scratch.glob("vesal-scratch-*")) == []


def test_shards_are_put_together(source: ModelSource, scans: Path, tmp_path: Path) -> None:
    out = f"file://{tmp_path}/out"
    (scans / "cut.nii.gz").unlink()
    for shard in ((1, 2), (2, 2)):
        assert len(predict(source, str(scans), out, shard=shard).done) == 2
    assert COHORT_CSV not in StoredFolder(out).files()
    whole = predict(source, str(scans), out, resume=True)
    assert (len(whole.kept), whole.done) == (4, {})
    assert {*StoredFolder(out).files()} & {COHORT_CSV, COHORT} == {COHORT_CSV, COHORT}


def vesal(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


def test_the_verb_takes_addresses(source: ModelSource, scans: Path, tmp_path: Path) -> None:
    words = ["predict", source.path, f"file://{scans}", "-o", f"file://{tmp_path}/out", "--backend", "torch"]
    done = vesal(*words)
    assert done.exit_code == 1
    assert "4 of 5 scans segmented in file://" in done.stdout
    assert "cut: " in done.stderr
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 4
    for more in (["--series", "T1"], ["-o", f"file://{tmp_path}/out/mask.nii.gz"]):
        assert isinstance(vesal(*words, *more).exception, UsageError)


def test_results_below_the_scans_are_no_scans_of_the_next_prediction(
    source: ModelSource, scans: Path, tmp_path: Path
) -> None:
    """Neither at addresses nor on this disk, also while the record is in parts, as of a shard."""
    folder = tmp_path / "study"
    shutil.copytree(scans, folder / "scans")
    (folder / "scans" / "cut.nii.gz").unlink()
    results = f"file://{folder}/scans/deeper/results"
    loaded = source.load()
    for shard in ((1, 2), None):
        predict(source, f"file://{folder}", results, shard=shard, probabilities=True)
        again = predict(source, f"file://{folder}", results, resume=True, probabilities=True)
        assert again.scans == 4
        assert "results of vesal predict" in " ".join(again.remarks)
        remarks: list[str] = []
        cases = cases_to_predict([folder], 1, loaded.labels, remark=remarks.append)
        assert len(cases) == 4
        assert "results of vesal predict" in " ".join(remarks)
    # And what a prediction of this disk wrote below is none for one at addresses.
    other = tmp_path / "other"
    shutil.copytree(folder / "scans", other / "scans", ignore=shutil.ignore_patterns("deeper"))
    predict_cases(
        loaded, cases_to_predict([other], 1, loaded.labels), other / "scans" / "more", PredictOptions()
    )
    assert predict(source, f"file://{other}", f"file://{tmp_path}/out").scans == 4


def test_what_only_this_process_sees_is_refused_to_workers(
    source: ModelSource, scans: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="leave --engine out"):
        predict(source, str(scans), "memory://out", LocalEngine(1))


def test_a_password_in_an_address_is_not_shown(source: ModelSource, scans: Path, tmp_path: Path) -> None:
    done = vesal("predict", source.path, scans, "-o", "nowhere://anna:secret@host/out")
    assert isinstance(done.exception, UsageError)
    assert "secret" not in str(done.exception) + done.output
