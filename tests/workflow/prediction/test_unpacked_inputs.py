"""Archives among the inputs of a prediction."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vesal.workflow.prediction.unpacked_inputs import unpacked


def test_what_a_killed_process_unpacked_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, temporary = tmp_path / "study.zip", tmp_path / "temporary"
    temporary.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.nii", b"voxels")
    code = """
import os, sys
from pathlib import Path
from vesal.workflow.prediction.unpacked_inputs import unpacked
it = unpacked([Path(sys.argv[1])])
it.__enter__()
os._exit(1)
"""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    subprocess.run([sys.executable, "-c", code, str(archive)], check=False, env=environment)
    assert len(list(temporary.glob("*/study/a.nii"))) == 1
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with unpacked([archive]) as (folder,):
        assert (folder / "a.nii").read_bytes() == b"voxels"
        assert list(temporary.glob("*/study/a.nii")) == [folder / "a.nii"]
    assert not list(temporary.iterdir())
