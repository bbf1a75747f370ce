"""inspect and evaluate under --max-ram: fewer scans at once, seen from outside, and the same results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from vesal import memory_limit
from vesal.cli.app import app
from vesal.data.fingerprint import fingerprint
from vesal.engine.local_engine import LocalEngine
from vesal.errors import DataError
from vesal.layouts.registry import load_dataset

_CHILD = """
import sys
from pathlib import Path
import torch
import scipy.ndimage
from vesal import parallel
from vesal.data.fingerprint import fingerprint
from vesal.layouts.registry import load_dataset
from vesal.memory_limit import limited, held_bytes
from vesal.workflow.evaluate import evaluate_run

parallel.cpu_count = lambda: 5
data = Path(sys.argv[1])
dataset = load_dataset(data)
limit = max(300_000_000, held_bytes()) + 110_000_000
found = []
for most in (limit, None):
    for work in (
        lambda: fingerprint(dataset).model_dump_json(),
        lambda: str(evaluate_run(data / "labelsTr", data / "labelsTr").to_dict()),
    ):
        Path("/proc/self/clear_refs").write_text("5")
        with limited(most):
            found.append(work())
        print(limit, flush=True)
        sys.stdin.readline()
assert found[:2] == found[2:]
"""


def test_within_the_limit_scans_are_read_one_after_the_other_and_give_the_same(tmp_path: Path) -> None:
    data, pairs = tmp_path / "Task98_Large", []
    image = np.zeros((160, 160, 128), dtype=np.int16)
    image[70:80, 70:80, 60:70] = 300
    for number in range(5):
        image[number, 0, 0] = 1
        pair = {"image": f"./imagesTr/case_{number}.nii", "label": f"./labelsTr/case_{number}.nii"}
        for path, array in ((pair["image"], image), (pair["label"], (image > 100).astype(np.uint8))):
            (data / path).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), data / path)
        pairs.append(pair)
    about = {"name": "Large", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "box"}}
    (data / "dataset.json").write_text(json.dumps(about | {"numTraining": 5, "training": pairs, "test": []}))
    peaks = []
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for _ in range(4):
            limit = int(child.stdout.readline())
            status = Path(f"/proc/{child.pid}/status").read_text()
            peaks.append(1024 * int(status.split("VmHWM:")[1].split()[0]))
            child.stdin.write("on\n")
            child.stdin.flush()
    assert child.returncode == 0
    assert max(peaks[:2]) <= limit < min(peaks[2:]), (limit, peaks)


def test_the_workers_of_an_engine_read_within_the_limit(
    tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["inspect", str(tiny_data), "--json"]
    alone = CliRunner().invoke(app, command)
    shared = CliRunner().invoke(app, [*command, "--engine", "local", "--workers", "1", "--max-ram", "64G"])
    assert alone.exit_code == shared.exit_code == 0
    assert shared.stdout == alone.stdout
    monkeypatch.setattr(memory_limit, "room", lambda: 1000)
    with (
        memory_limit.limited(64 * 10**9),
        pytest.raises(DataError, match=r"Work on .* takes about .*; allow more, or leave this scan out"),
    ):
        fingerprint(load_dataset(tiny_data), engine=LocalEngine(1))
