"""The server under load, in small: benchmarks/serve_load.py sends more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# benchmarks/ is no part of the package: it is imported from the root of the repository.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.serve_load import BROKEN, left_behind, run_kills, run_load, served


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_good_requests_are_right_and_broken_ones_are_told_why(
    trained_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    scan = tiny_data / "imagesTs" / "tiny_50.nii.gz"
    with served(trained_run / "fold_0" / "model.vesal", tmp_path / "state") as (address, pid):
        load = run_load(address, pid, scan, requests=27, clients=9, every=3)
        assert load.wrong == []
        assert load.answers.keys() == {"good", *BROKEN}
        assert load.answers["good"] == {"right": 18}
        assert left_behind(address, tmp_path / "state") == []
    assert 0 < load.server_mb < 1000
    assert 0 < load.worker_mb < 1500


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_what_was_accepted_ends_once_though_its_process_and_the_server_are_killed(
    trained_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    scan = tiny_data / "imagesTs" / "tiny_50.nii.gz"
    model = trained_run / "fold_0" / "model.vesal"
    ends = run_kills(model, scan, tmp_path / "state", requests=24, clients=6)
    assert ends.pop("finished") >= 15
    assert all("killed the job" in how for how in ends), ends
    assert sum(ends.values()) <= 1
