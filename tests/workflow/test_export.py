"""For which platforms something is written."""

from __future__ import annotations

from pathlib import Path

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
