"""For which platforms something is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import UsageError
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
    ],
)
def test_what_cannot_be_written_is_refused(target: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        export(target, tmp_path / "out", None, KernelOptions(), SlurmOptions())
    assert not (tmp_path / "out").exists()
