"""Jobs for SLURM: what is submitted, and that each does its part."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.run_files import COHORT_CSV
from vesal.workflow.requests.slurm_options import SlurmOptions
from vesal.workflow.slurm.job_scripts import COLLECT, PREDICT, SUBMIT, export_jobs


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    """An environment with a `vesal`, and an `sbatch` that notes what it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "submitted"
    for name, text in {
        "vesal": f'exec "{sys.executable}" -m vesal.cli "$@"',
        "sbatch": f'echo "$@" >> "{log}"; echo "17;cluster"',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def options(scans: Path, out: Path, **values: object) -> SlurmOptions:
    return SlurmOptions(scans=(scans,), results=out, **values)  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_jobs_of_an_array_predict_all_scans_together(
    trained_run: Path, tiny_data: Path, tools: dict[str, str], tmp_path: Path
) -> None:
    out, folder = tmp_path / "re sults", tmp_path / "jobs"
    made = export_jobs(trained_run, folder, options(tiny_data / "imagesTr", out, shards=2, cpus=1))
    assert made.submit == f"bash {folder / SUBMIT}"
    for number in ("2", "1"):
        environment = {**tools, "SLURM_ARRAY_TASK_ID": number}
        subprocess.run(["bash", folder / PREDICT], check=True, env=environment, capture_output=True)
    assert len(list(out.glob("*.nii.gz"))) == 7
    subprocess.run(["bash", folder / COLLECT], check=True, env=tools, capture_output=True)
    assert len((out / COHORT_CSV).read_text().splitlines()) == 8


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_what_puts_the_shards_together_waits_for_the_array(
    trained_run: Path, tools: dict[str, str], tmp_path: Path
) -> None:
    export_jobs(trained_run, tmp_path / "jobs", options(tmp_path, tmp_path / "out"))
    subprocess.run(["bash", tmp_path / "jobs" / SUBMIT], check=True, env=tools)
    assert (tmp_path / "submitted").read_text().splitlines() == [
        f"--parsable {PREDICT}",
        f"--dependency=afterany:17 {COLLECT}",
    ]
    head = (tmp_path / "jobs" / PREDICT).read_text()
    assert "#SBATCH --array=1-16\n" in head
    assert "--gpus" not in head


def test_a_job_with_ray_takes_the_gpus_of_its_nodes(trained_run: Path, tmp_path: Path) -> None:
    wanted = options(tmp_path, tmp_path / "out", ray_nodes=4, gpus=2, partition="gpu")
    made = export_jobs(trained_run, tmp_path / "jobs", wanted)
    assert [path.name for path in made.files] == [PREDICT]
    text = made.files[0].read_text()
    for line in ("--nodes=4", "--gpus-per-node=2", "--partition=gpu"):
        assert f"#SBATCH {line}\n" in text
    assert "--engine ray" in text
    assert "--gpus-per-worker 1" in text
    assert "RAY_USAGE_STATS_ENABLED=0" in text
    if shutil.which("bash"):
        subprocess.run(["bash", "-n", made.files[0]], check=True)


def test_jobs_without_scans_or_a_model_are_refused(trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--scans and --results"):
        export_jobs(trained_run, tmp_path / "jobs", SlurmOptions())
    with pytest.raises(UsageError, match="is not there"):
        export_jobs(tmp_path / "none", tmp_path / "jobs", options(tmp_path, tmp_path))
    assert not (tmp_path / "jobs").exists()


def test_a_script_that_somebody_changed_stays(trained_run: Path, tmp_path: Path) -> None:
    wanted = options(tmp_path, tmp_path / "out")
    export_jobs(trained_run, tmp_path / "jobs", wanted)
    (tmp_path / "jobs" / PREDICT).write_text("mine\n")
    with pytest.raises(UsageError, match=r"predict\.sbatch"):
        export_jobs(trained_run, tmp_path / "jobs", wanted)
