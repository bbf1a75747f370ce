"""The CPUs of a process: the fewest that affinity, control groups and SLURM leave it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vesal import cpus


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 CPUs, and no SLURM."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)


def files(root: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        (
            {
                "proc/self/cgroup": "0::/jobs/one\n",
                "sys/fs/cgroup/jobs/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/jobs/one/cpu.max": "max 100000\n",
            },
            3,
        ),
        # A container whose path on the host is not mounted.
        ({"proc/self/cgroup": "0::/kubepods/pod\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        (
            {
                "proc/self/cgroup": "9:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
        ({"proc/self/cgroup": "nonsense\n0::/../../etc\n", "sys/fs/cgroup/cpu.max": "much of it\n"}, 64),
    ],
)
def test_quotas_of_both_versions_count(texts: dict[str, str], expected: int, tmp_path: Path) -> None:
    assert cpus.cpu_count(files(tmp_path, texts)) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "32"}, 4),
        ({"SLURM_CPUS_ON_NODE": "32"}, 32),
        ({"SLURM_CPUS_PER_TASK": "128"}, 64),
        ({"SLURM_CPUS_PER_TASK": "four"}, 64),
    ],
)
def test_slurm_s_number_counts(
    variables: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cpus.cpu_count(tmp_path) == expected


def test_the_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert cpus.cpu_count(tmp_path) == 2


def test_waiting_threads_sleep_soon_unless_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    cpus.bound_spinning()
    assert 0 < int(os.environ["GOMP_SPINCOUNT"]) < 100_000
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    cpus.bound_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    cpus.bound_spinning()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_it_is_so_before_torch_is_there() -> None:
    code = "import vesal, os, sys; print('GOMP_SPINCOUNT' in os.environ, 'torch' in sys.modules)"
    free = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=free)
    assert found.stdout.split() == ["True", "False"]


def test_a_share_may_hold_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "_share", None)
    before = cpus.cpu_count()
    with cpus.kept_to(1):
        assert cpus.cpu_count() == 1
    assert cpus.cpu_count() == before


def test_a_process_that_shares_the_cpus_keeps_to_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(cpus, "_share", None)
    assert cpus.cpu_count(tmp_path) == 64
    cpus.keep_to(3)
    assert cpus.cpu_count(tmp_path) == 3
