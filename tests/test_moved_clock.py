"""A clock that was set back: nothing finished is done again, and no time is counted twice."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from vesal.files import read_json_lines
from vesal.run_files import FINISHED, METRICS

sys.path.insert(0, str(Path(__file__).parent))
from in_process import vesal

_DAY_S = 86_400


@pytest.fixture
def set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on each look at the clock shows a second less, from a day ago on."""
    began, looks = time.time(), iter(range(1 << 60))
    monkeypatch.setattr(time, "time", lambda: began - _DAY_S - next(looks))
    monkeypatch.setattr(time, "time_ns", lambda: int((began - _DAY_S - next(looks)) * 1e9))


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")}


def test_a_prediction_keeps_what_seems_to_come_from_the_future(
    tiny_data: Path, trained_run: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    scans = sorted((tiny_data / "imagesTr").glob("*.nii.gz"))
    words = ["predict", trained_run, "-o", tmp_path / "masks", "--backend", "torch", "--resume"]
    assert vesal(*words, *scans[:2]).returncode == 0
    before = times(tmp_path / "masks")
    request.getfixturevalue("set_back")
    done = vesal(*words, *scans[:3])
    assert (done.returncode, len(before)) == (0, 2), done.stderr
    assert "(2 kept, 1 new)" in done.stdout
    assert before.items() <= times(tmp_path / "masks").items()
    again = vesal(*words, *scans[:3])
    assert "(3 kept, 0 new)" in again.stdout


def test_a_training_goes_on_and_its_time_never_runs_backwards(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path, set_back: None
) -> None:
    run = tmp_path / "run"
    words = ["train", tiny_data, "-o", run, "--device", "cpu", "--fold", "none"]
    assert vesal(*words, "--plan", tiny_plan, "--steps", "2").returncode == 0
    tomorrow = time.time() + 3 * _DAY_S
    for path in run.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    done = vesal(*words, "--steps", "4", "--resume")
    assert done.returncode == 0, done.stderr
    rows = read_json_lines(next(run.rglob(METRICS)))
    assert [row["step"] for row in rows][-1] == 4
    seconds = [row["time_s"] for row in rows]
    assert seconds == sorted(seconds)
    assert next(run.rglob(FINISHED)).exists()
