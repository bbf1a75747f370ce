"""The command of the runtime, in a process to which torch, scipy and the rest are not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from graphs import write_by_intensity

from vesal.infer.postprocess import Postprocess, Step
from vesal.infer.runtime.program import main

#: What the runtime may not need.
ABSENT = (
    "torch", "scipy", "skimage", "matplotlib", "tensorboard", "safetensors", "typer", "rich", "jinja2", "yaml",
    "filelock", "monai", "PIL", "tifffile", "nrrd", "pydicom", "onnx", "onnxscript",
)  # fmt: skip
RUN = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
from vesal.infer.runtime.program import main
main(sys.argv[1:])
"""


def test_it_predicts_where_neither_torch_nor_scipy_is(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    steps = (Step(do="min_size", of="dim", voxels=3), Step(do="fill_holes", of="bright"))
    path = write_by_intensity(tmp_path / "model.vesal", postprocess=Postprocess(steps=steps))
    array = np.full((20, 21, 22), 0.1, dtype=np.float32)
    array[5:13, 5:13, 5:13] = 2.6
    array[8, 8, 8] = 0.0
    array[16, 16, 16] = 1.5
    # Of another spacing than the plan's: it is resampled by cubic splines.
    nib.save(nib.Nifti1Image(array, np.diag([1.2, 1.0, 0.9, 1.0])), tmp_path / "scan.nii.gz")
    command = [
        sys.executable,
        "-c",
        RUN,
        "predict",
        path,
        tmp_path / "scan.nii.gz",
        "-o",
        tmp_path / "out",
        "--json",
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=os.environ, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == {"scan": str(tmp_path / "out" / "scan.nii.gz")}
    mask = np.asarray(nib.load(tmp_path / "out" / "scan.nii.gz").dataobj)
    assert mask[8, 8, 8] == 9
    assert mask[16, 16, 16] == 0
    assert abs(int((mask == 9).sum()) - 512) < 60


def test_a_failure_is_one_sentence_and_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(tmp_path / "absent.vesal"), str(tmp_path), "-o", str(tmp_path / "out")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("vesal-runtime: ")
    assert error.count("\n") == 1


def test_a_scan_that_the_memory_does_not_suffice_for_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    library = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    run = library.InferenceSession.run

    def refuse(session: object, outputs: object, inputs: dict[str, np.ndarray], *options: object) -> object:
        if inputs["image"].max() > 5:
            text = (
                "[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer of size 256"
            )
            raise library.capi.onnxruntime_pybind11_state.Fail(text)
        return run(session, outputs, inputs, *options)

    monkeypatch.setattr(library.InferenceSession, "run", refuse)
    for name, most in (("a", 9.0), ("b", 2.6)):
        array = np.zeros((18, 18, 18), np.float32)
        array[4:8, 4:8, 4:8] = most
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    model, out = write_by_intensity(tmp_path / "model.vesal"), tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(["predict", *map(str, (model, tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", "-o", out))])
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert told.err == (
        "vesal-runtime: a: the memory does not suffice for this scan; predict it on a larger machine.\n"
    )
    assert "1 of 2 scans segmented" in told.out
    assert (out / "b.nii.gz").exists()


@pytest.mark.parametrize("wrong", [["--overlap", "1.5"], ["--threads", "0"]])
def test_numbers_beyond_their_bounds_are_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["predict", "model.vesal", "scan.nii.gz", "-o", "out", *wrong])
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err
