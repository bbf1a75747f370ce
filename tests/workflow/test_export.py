"""For which platforms something is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_model import needs_openvino, package, plan

from vesal.errors import UsageError
from vesal.nn.model_file import save_package
from vesal.workflow.export import export
from vesal.workflow.requests.kernel_options import KernelOptions
from vesal.workflow.requests.slurm_options import SlurmOptions


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("onix", "no target 'onix'"),
        ("slurm", "need a model"),
        ("nnunet", "made of a model"),
        ("kaggle", "needs an owner"),
        ("onnx", "no model to export"),
        ("openvino", "no model to export"),
    ],
)
def test_what_cannot_be_written_is_refused(target: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        export(target, tmp_path / "out", None, KernelOptions(), SlurmOptions())
    assert not (tmp_path / "out").exists()


@needs_openvino
def test_a_model_becomes_the_files_of_another_library(tmp_path: Path) -> None:
    save_package(tmp_path / "model.vesal", package(plan()))
    out = tmp_path / "out" / "model.xml"
    made = export("openvino", out, tmp_path / "model.vesal", KernelOptions(), SlurmOptions())
    assert made.to_dict()["files"] == [str(out), str(out.with_suffix(".bin"))]
    assert f"vesal-runtime predict {out}" in made.text()


@pytest.mark.parametrize(
    ("target", "kernel", "slurm", "words"),
    [
        ("onnx", {"budget": "20m"}, {}, "--budget is for --to kaggle, not onnx"),
        ("slurm", {"settings": ("lr=1",)}, {}, "--set is for --to kaggle, not slurm"),
        ("kaggle", {}, {"scans": ("scans",)}, "--scans is for --to slurm, not kaggle"),
        ("web", {}, {"ray_nodes": 2}, "--ray-nodes is for --to slurm, not web"),
    ],
)
def test_options_of_another_target_are_refused(
    target: str, kernel: dict[str, Any], slurm: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        export(target, tmp_path / "out", tmp_path, KernelOptions(**kernel), SlurmOptions(**slurm))
    assert not (tmp_path / "out").exists()
