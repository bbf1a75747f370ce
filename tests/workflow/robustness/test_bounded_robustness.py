"""A benchmark under --max-ram: the same numbers, its share for each process, and a sentence where there is no room."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from vesal import memory_limit, parallel
from vesal.errors import UsageError
from vesal.evaluate.robustness.result import Robustness
from vesal.memory_limit import held_bytes
from vesal.workflow.robustness import benchmark_run, measure

Run = Callable[..., Robustness]


def test_within_the_limit_the_numbers_are_the_same(
    run: Run, model: Path, tiny_data: Path, tmp_path: Path, all_on_disk: Callable[[], object]
) -> None:
    free = run(model, tiny_data, tmp_path / "free", artifacts=["noise:3", "crop:3"])
    with all_on_disk():
        bounded = run(model, tiny_data, tmp_path / "bounded", artifacts=["noise:3", "crop:3"])
    assert bounded.rows == free.rows
    assert memory_limit.limit() is None


def test_a_scan_that_has_all_on_disk_is_refused_by_its_header_and_the_others_go_on(
    run: Run, model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data")
    usual = nib.load(data / "imagesTr" / "tiny_02.nii.gz")
    for folder in ("imagesTr", "labelsTr"):
        scan = nib.load(data / folder / "tiny_03.nii.gz")
        large = np.tile(np.asarray(scan.dataobj), (3, 3, 3))
        nib.save(nib.Nifti1Image(large, scan.affine), data / folder / "tiny_03.nii.gz")
    read = []
    read_case = measure.read_case
    monkeypatch.setattr(measure, "read_case", lambda case: read.append(case.id) or read_case(case))
    monkeypatch.setattr(measure, "window_bytes", lambda *_: 1000)
    monkeypatch.setattr(measure, "_LIBRARY_BYTES", 0)
    needed = 88 * usual.shape[0] * usual.shape[1] * usual.shape[2]
    monkeypatch.setattr(memory_limit, "room", lambda: 4 * needed)
    found = run(
        model, data, tmp_path / "out", artifacts=["noise:3"], cases=None, max_ram=held_bytes() + 10**9
    )
    (failure,) = found.failures
    assert failure.id == "tiny_03"
    assert "To corrupt tiny_03 takes about" in failure.message
    assert failure.message.endswith("allow more, or leave this scan out.")
    assert found.cases == 6
    assert "tiny_03" not in read


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_processes_share_the_limit(
    run: Run, model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(parallel, "cpu_count", lambda: 2)
    monkeypatch.setattr(benchmark_run, "can_fork", lambda: True)
    kept = []
    monkeypatch.setattr(benchmark_run, "keep_within", lambda most, folder: kept.append((most, folder)))
    forked = benchmark_run.map_in_processes

    def here(*args, begin, **more):
        begin()
        return forked(*args, **more)

    monkeypatch.setattr(benchmark_run, "map_in_processes", here)
    most = held_bytes() + 64 * 10**9
    found = run(model, tiny_data, tmp_path / "out", artifacts=["noise:3"], max_ram=most)
    assert found.cost.processes == 2
    ((each, folder),) = kept
    # What both hold of this process counts once.
    assert 2 * each - held_bytes() == pytest.approx(most, rel=0.01)
    assert folder == tmp_path / "out"


def test_less_than_the_program_itself_takes_is_refused(
    run: Run, model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="less than the program itself takes"):
        run(model, tiny_data, tmp_path / "out", max_ram=1000)
    assert not (tmp_path / "out").exists()
