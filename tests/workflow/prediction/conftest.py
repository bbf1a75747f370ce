"""What tests of predictions share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def scans(tiny_data: Path, tmp_path: Path) -> Path:
    """Four scans, and one that is cut off."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(4):
        name = f"tiny_{number:02}.nii.gz"
        shutil.copy(tiny_data / "imagesTr" / name, folder / name)
    (folder / "cut.nii.gz").write_bytes((folder / "tiny_00.nii.gz").read_bytes()[:3000])
    return folder
