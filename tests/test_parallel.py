"""Threads are as many as memory allows: large scans are not worked on all at once."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from vesal import parallel
from vesal.data.case import VOXEL_BYTES, scan_workers
from vesal.errors import DataError
from vesal.memory_limit import held_bytes, limited
from vesal.parallel import available_memory, map_in_order, workers_within
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_volume
from vesal.volume.volume import Volume


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 CPUs, and memory for one scan of 100 x 100 x 100 voxels and half of another."""
    monkeypatch.setattr(parallel, "cpu_count", lambda: 64)
    monkeypatch.setattr(parallel, "available_memory", lambda: 1_500_000 * VOXEL_BYTES)


def scan(path: Path, size: int) -> Path:
    shape = (size, size, size)
    write_volume(path, Volume(np.zeros((1, *shape), np.uint8), Geometry.from_spacing(shape, (1, 1, 2))))
    return path


@pytest.mark.usefixtures("machine")
def test_threads_are_bounded_by_memory_and_processors() -> None:
    assert workers_within(150_000 * VOXEL_BYTES) == 10
    assert workers_within(1) == 16
    assert workers_within(0) == 16
    assert workers_within(1 << 60) == 1


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, 64 << 30),
        ({"proc/self/cgroup": "0::/\n"}, 64 << 30),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 64 << 30),
        # A job of SLURM, whose own group lies far below.
        (
            {
                "proc/self/cgroup": "0::/slurmstepd/job_1/step_0\n",
                "sys/fs/cgroup/slurmstepd/job_1/memory.max": f"{8 << 30}\n",
                "sys/fs/cgroup/slurmstepd/job_1/memory.current": f"{3 << 30}\n",
                "sys/fs/cgroup/slurmstepd/job_1/memory.stat": "anon 1\n",
            },
            5 << 30,
        ),
        # A container that has read thousands of scans, which the system remembers.
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{8 << 30}\n",
                "sys/fs/cgroup/memory.current": f"{8 << 30}\n",
                "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {4 << 30}\nactive_file {2 << 30}\n",
            },
            6 << 30,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/docker/x\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{8 << 30}\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{7 << 30}\n",
                "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {1 << 30}\n",
            },
            2 << 30,
        ),
    ],
)
def test_the_memory_of_a_job_or_a_container_counts_and_what_it_read_does_not(
    texts: dict[str, str], expected: int, tmp_path: Path
) -> None:
    for name, text in ({"proc/meminfo": f"MemAvailable: {64 << 20} kB\n"} | texts).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_memory(tmp_path) == expected


@pytest.mark.usefixtures("machine")
def test_the_largest_scan_its_channels_and_the_finer_grid_decide(tmp_path: Path) -> None:
    small, large = scan(tmp_path / "small.nii.gz", 50), scan(tmp_path / "large.nii", 80)
    assert scan_workers([small]) == 12
    assert scan_workers([small, large]) == 2
    assert scan_workers([small], channels=4) == 3
    assert scan_workers([small], spacing_mm=(1, 1, 0.5)) == 3
    assert scan_workers([small], spacing_mm=(4, 4, 4)) == 12


def test_where_the_work_is_stopped_no_thread_is_at_work_any_more() -> None:
    begun: list[int] = []
    ended: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.05 * item)
        ended.append(item)

    def stop(done: int, _total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        list(map_in_order(work, range(8), workers=4, progress=stop))
    assert raised.traceback  # which holds all frames alive
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 8


@pytest.mark.usefixtures("machine")
def test_an_unreadable_header_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    assert scan_workers([tmp_path / "bad.nii.gz", tmp_path / "absent.nrrd"]) == 16


def test_fingerprint_preparation_and_scores_ask_for_it(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vesal.data import fingerprint
    from vesal.evaluate import score_pairs
    from vesal.evaluate.score_folders import score_folders
    from vesal.layouts.registry import load_dataset
    from vesal.planning.plan import Plan
    from vesal.preprocessing import prepare

    asked: list[int | None] = []
    ways = {fingerprint: "map_on_cores", prepare: "map_on_cores", score_pairs: "map_in_order"}
    for module, way in ways.items():
        plain = getattr(module, way)
        monkeypatch.setattr(
            module,
            way,
            lambda *given, plain=plain, **options: (
                asked.append(options["workers"]) or plain(*given, **options)
            ),
        )
    monkeypatch.setattr(parallel, "cpu_count", lambda: 64)
    monkeypatch.setattr(parallel, "available_memory", lambda: 0)
    dataset = load_dataset(tiny_data)
    fingerprint.fingerprint(dataset)
    prepare.prepare_dataset(dataset.cases, Plan.load(tiny_plan), tmp_path)
    score_folders(tiny_data / "labelsTr", tiny_data / "labelsTr", dataset.labels)
    assert asked == [1, 1, 1]


def test_under_a_limit_of_memory_fewer_work_at_once_and_what_has_no_room_alone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "cpu_count", lambda: 64)
    small, large = scan(tmp_path / "small.nii.gz", 150), scan(tmp_path / "large.nii.gz", 350)
    with limited(held_bytes() + 400_000_000):
        # 81 MB each.
        assert 2 <= scan_workers([small]) <= 4
        with pytest.raises(
            DataError, match=r"^Work on .*large.nii.gz takes about .* GB .* leave this scan out\.$"
        ):
            scan_workers([small, large])
    assert scan_workers([small, large]) >= 1
