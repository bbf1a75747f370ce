"""Predicting many scans by workers: the same masks, a row for each scan, and nothing done twice."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vesal.engine.local_engine import LocalEngine
from vesal.errors import UsageError, VesalError
from vesal.layouts.input_scans import cases_to_predict
from vesal.outputs import OutputFolder
from vesal.run_files import COHORT, COHORT_CSV, COHORT_PARQUET, OUTPUTS
from vesal.workflow.predict import PredictResult, predict_cases
from vesal.workflow.prediction.worker_prediction import Cohort, ModelSource, PredictTask, settled
from vesal.workflow.requests.predict_options import PredictOptions


@pytest.fixture(scope="module")
def model(trained_run: Path) -> Path:
    return trained_run / "fold_0" / "model.vesal"


def predict(
    model: Path,
    scans: Path,
    out: Path,
    workers: int = 2,
    shard: tuple[int, int] | None = None,
    **options: Any,
) -> PredictResult:
    source = ModelSource(model, "cpu", "torch")
    loaded = source.load()
    cases = cases_to_predict([scans], 1, loaded.labels)
    cohort = Cohort(LocalEngine(workers), source, shard) if workers else None
    return predict_cases(loaded, cases, out, PredictOptions(**options), cohort=cohort)


def rows(out: Path) -> dict[str, dict[str, str]]:
    """Case -> its row in the table."""
    with (out / COHORT_CSV).open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def masks(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.nii.gz")}


def test_workers_write_what_one_process_writes_and_the_record_says_how(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    alone = predict(model, scans, tmp_path / "alone", 0)
    result = predict(model, scans, tmp_path / "out")
    assert masks(tmp_path / "out") == masks(tmp_path / "alone")
    assert len(result.files) == 4
    (failure,) = result.failures
    assert failure == alone.failures[0]
    assert result.quality is not None
    assert alone.quality is not None
    assert result.quality.rows == alone.quality.rows
    found = rows(tmp_path / "out")
    assert found.keys() == {"cut", "tiny_00", "tiny_01", "tiny_02", "tiny_03"}
    assert (found["cut"]["status"], found["cut"]["reason"]) == ("failed", failure.message)
    done = found["tiny_02"]
    assert done["status"] in ("done", "review")
    assert float(done["seconds"]) > 0
    assert float(done["shell ml"]) > float(done["core ml"]) > 0
    assert "5 cases, 1 failed" in result.text(5, tmp_path / "out")
    # The records of the workers are one again.
    assert not list((tmp_path / "out").glob("vesal-outputs.*.jsonl"))
    ours = OutputFolder(tmp_path / "out")
    assert all(ours.is_ours(tmp_path / "out" / name) for name in masks(tmp_path / "out"))


def test_the_record_is_there_as_parquet(model: Path, scans: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra cluster is not installed")
    predict(model, scans, tmp_path / "out", 1)
    table = parquet.read_table(tmp_path / "out" / COHORT_PARQUET).to_pydict()
    assert set(table["case"]) == rows(tmp_path / "out").keys()
    assert [type(value) for value in table["shell ml"] if value is not None] == [float] * 4


def test_resuming_does_what_is_missing_or_stale_and_keeps_the_rest(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict(model, scans, out)
    before, first = masks(out), rows(out)
    times = {name: (out / name).stat().st_mtime_ns for name in before}
    (out / "tiny_01.nii.gz").unlink()
    (out / "tiny_02.nii.gz").write_bytes(before["tiny_02.nii.gz"][:100])
    shutil.copy(scans / "tiny_00.nii.gz", scans / "cut.nii.gz")
    result = predict(model, scans, out, resume=True)
    assert result.kept == ["tiny_00", "tiny_03"]
    assert masks(out) == {**before, "cut.nii.gz": masks(out)["cut.nii.gz"]}
    assert {name for name in before if (out / name).stat().st_mtime_ns == times[name]} == {
        "tiny_00.nii.gz", "tiny_03.nii.gz"
    }  # fmt: skip
    assert rows(out)["tiny_00"] == first["tiny_00"]
    assert rows(out)["cut"]["status"] in ("done", "review")


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_after_a_kill_of_them_all_the_rest_is_done_once(model: Path, tiny_data: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for number in range(120):
        shutil.copy(tiny_data / "imagesTr" / f"tiny_{number % 5:02}.nii.gz", scans / f"s{number:03}.nii.gz")
    command = [sys.executable, "-m", "vesal.cli", "predict", str(model), str(scans), "-o", str(out)]
    command += ["--engine", "local", "--workers", "2", "--backend", "torch", "--resume"]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        until(lambda: (out / COHORT).exists() and len((out / COHORT).read_text().splitlines()) >= 6)
        os.killpg(process.pid, signal.SIGKILL)
    # What the killed one was writing is not left among the results either.
    code = (
        "import os, sys; from vesal.files import atomic_path; "
        "it = atomic_path(sys.argv[1]); it.__enter__(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(out / "s119.nii.gz")], check=False)
    assert list(out.glob(".writing-*"))
    done = [row["case"] for row in map(json.loads, (out / COHORT).read_text().splitlines()[1:])]
    times = {case: (out / f"{case}.nii.gz").stat().st_mtime_ns for case in done}
    assert 5 <= len(done) < 120
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert len(masks(out)) == 120
    assert {case: (out / f"{case}.nii.gz").stat().st_mtime_ns for case in done} == times
    assert len(rows(out)) == 120
    names = {path.name for path in out.iterdir()} - masks(out).keys()
    assert names <= {OUTPUTS, COHORT, COHORT_CSV, COHORT_PARQUET, "quality.json", "quality.csv"}


def test_shards_write_into_one_folder_and_are_put_together(model: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(model, scans, tmp_path / "whole", 0)
    for shard in ((2, 2), (1, 2)):
        result = predict(model, scans, out, 1, shard)
        assert len(result.files) + len(result.failures) == (3 if shard == (1, 2) else 2)
        assert f"Shard {shard[0]} of 2" in result.text(5, out)
        assert "with --resume and without --shard" in result.text(5, out)
        assert not (out / COHORT_CSV).exists()
    times = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    result = predict(model, scans, out, 1, resume=True)
    assert len(result.kept) == 4
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert masks(out) == masks(tmp_path / "whole")
    found = rows(out)
    assert len(found) == 5
    assert float(found["tiny_01"]["shell ml"]) > 0
    assert {path.name for path in out.iterdir()} - masks(out).keys() <= {
        OUTPUTS, COHORT, COHORT_CSV, COHORT_PARQUET, "quality.json", "quality.csv"
    }  # fmt: skip


def test_a_table_of_the_users_is_not_replaced(model: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / COHORT_CSV).write_text("case,mine\n")
    with pytest.raises(UsageError, match=r"cohort\.csv"):
        predict(model, scans, out)
    assert (out / COHORT_CSV).read_text() == "case,mine\n"
    assert {path.name for path in out.iterdir()} == {COHORT_CSV}


def test_a_worker_with_another_model_refuses_to_begin(model: Path, tmp_path: Path) -> None:
    task = PredictTask(ModelSource(model, "cpu", "torch"), "another", PredictOptions(), False, tmp_path)
    with pytest.raises(VesalError, match="another model"):
        task()


def test_every_worker_takes_the_same_backend(model: Path) -> None:
    source = ModelSource(model, "cpu")
    loaded = source.load()
    assert settled(source, loaded).backend in ("torch", "openvino")
    asked = dataclasses.replace(source, backend="torch")
    assert settled(asked, loaded) == asked


def test_who_puts_shards_together_keeps_what_they_made_anew(model: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(model, scans, out, 1)
    before = rows(out)
    predict(model, scans, out, 1, (1, 1), resume=True, threshold=0.3)
    result = predict(model, scans, out, 1, resume=True, threshold=0.3)
    assert len(result.kept) == 4
    after = rows(out)
    assert all(after[case]["worker"] != before[case]["worker"] for case in before)
    # In this process, by other options: what the record says of a case is no longer about its result.
    predict(model, scans, out, 0, resume=True)
    predict(model, scans, out, 1, resume=True)
    assert {row["status"] for case, row in rows(out).items() if case != "cut"} == {"kept"}
