"""Jobs for SLURM: what is submitted, and that each does its part."""

from __future__ import annotations

import os
import shlex
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


def options(scans: Path | str, out: Path | str, **values: object) -> SlurmOptions:
    return SlurmOptions(scans=(str(scans),), results=str(out), **values)  # type: ignore[arg-type]


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


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_ray_begins_on_the_first_of_many_nodes_with_all_processors_of_each(
    trained_run: Path, tools: dict[str, str], tmp_path: Path
) -> None:
    log, folder = tmp_path / "called", tmp_path / "bin"
    for name, text in {
        "scontrol": "seq -f node%.0f 1 20000",
        "srun": f'echo "srun $SRUN_CPUS_PER_TASK $@" >> "{log}"',
        "vesal": f'echo "vesal $@" >> "{log}"',
        "sleep": "/bin/sleep 0.1",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    export_jobs(trained_run, tmp_path / "jobs", options(tmp_path, tmp_path / "out", ray_nodes=2, cpus=6))
    environment = {**tools, "SLURM_JOB_NODELIST": "node[1-20000]", "SLURM_JOB_NUM_NODES": "2"}
    subprocess.run(["bash", tmp_path / "jobs" / PREDICT], check=True, env=environment)
    head, others, predict = log.read_text().splitlines()
    assert head.startswith("srun 6 --nodes=1 --ntasks=1 --nodelist=node1 ray start --head")
    assert others.startswith("srun 6 --nodes=1 --ntasks=1 --exclude=node1 ray start --address=node1:6379")
    assert "--ray-address node1:6379" in predict


def test_addresses_stay_as_they_are_and_hold_no_password(trained_run: Path, tmp_path: Path) -> None:
    wanted = options("s3://bucket/the scans", "gs://bucket/masks")
    export_jobs(trained_run, tmp_path / "jobs", wanted)
    for name in (PREDICT, COLLECT):
        words = shlex.split((tmp_path / "jobs" / name).read_text(), comments=True)
        assert words[words.index("predict") + 2 :][:3] == ["s3://bucket/the scans", "-o", "gs://bucket/masks"]
    with pytest.raises(UsageError, match=r"sftp://\*\*\*@host/scans holds a password"):
        export_jobs(trained_run, tmp_path / "jobs", options("sftp://anna:secret@host/scans", "out"))


def test_names_with_signs_of_the_shell_arrive_as_they_are(trained_run: Path, tmp_path: Path) -> None:
    names = ("a b", 'it\'s "ä" $HOME `x` {y} \\', "two\nlines")
    wanted = SlurmOptions(scans=tuple(str(tmp_path / name) for name in names), results="-out")
    export_jobs(trained_run, tmp_path / "jobs", wanted)
    words = shlex.split((tmp_path / "jobs" / PREDICT).read_text(), comments=True)
    given = words[words.index("predict") + 2 :]
    assert given[:5] == [*wanted.scans, "-o", str(Path("-out").absolute())]


def test_jobs_without_scans_or_a_model_or_with_idle_gpus_are_refused(
    trained_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="--scans and --results"):
        export_jobs(trained_run, tmp_path / "jobs", SlurmOptions())
    with pytest.raises(UsageError, match="is not there"):
        export_jobs(tmp_path / "none", tmp_path / "jobs", options(tmp_path, tmp_path))
    with pytest.raises(UsageError, match=r"computes on one GPU, and 3 would lie idle; add --gpus 1"):
        export_jobs(trained_run, tmp_path / "jobs", options(tmp_path, tmp_path, gpus=4))
    assert not (tmp_path / "jobs").exists()


def test_a_script_that_somebody_changed_stays(trained_run: Path, tmp_path: Path) -> None:
    wanted = options(tmp_path, tmp_path / "out")
    export_jobs(trained_run, tmp_path / "jobs", wanted)
    (tmp_path / "jobs" / PREDICT).write_text("mine\n")
    with pytest.raises(UsageError, match=r"predict\.sbatch"):
        export_jobs(trained_run, tmp_path / "jobs", wanted)
