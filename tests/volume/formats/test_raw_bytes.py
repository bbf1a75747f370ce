"""Files that cannot be read, and bytes that promise more than there is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from image_files import picture, told

from vesal.errors import DataError
from vesal.volume.io import (
    FORMATS,
    SUFFIXES,
    read_volume,
    write_volume,
)

WRITABLE = [suffix for suffix, form in FORMATS.items() if form.encode is not None]
IN_SPACE = [".nii.gz", ".nii", ".nrrd", ".mha"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_where_a_file_was_expected_is_told(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    path.mkdir()
    with pytest.raises(DataError, match="folder") as error:
        read_volume(path)
    told(error, path)
    with pytest.raises(DataError, match="folder"):
        read_volume(tmp_path)


def test_a_path_that_no_file_can_have_is_told():
    for name in ("a\0b.nii.gz", "x" * 5000 + ".nii.gz"):
        with pytest.raises(DataError):
            read_volume(name)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_told(tmp_path):
    path = tmp_path / "scan.nii.gz"
    write_volume(path, picture(".nii.gz"))
    path.chmod(0)
    with pytest.raises(DataError, match="permission"):
        read_volume(path)


def test_a_refused_permission_is_told(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="permission denied"):
        read_volume(tmp_path / "scan.nii.gz")
