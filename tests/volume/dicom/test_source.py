"""Files of a study are found, and what is DICOM is known by its content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vesal.errors import DataError
from vesal.volume.dicom.source import is_dicom_file, open_source


def test_all_files_below_a_folder_count_but_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/IM2", "a/IM1", "c.dcm", ".hidden/IM3", "__MACOSX/IM4", "a/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert open_source(tmp_path).names == ("a/IM1", "b/IM2", "c.dcm")
    assert open_source(tmp_path, below=False).names == ("c.dcm",)


def test_a_dicomdir_stands_for_what_lies_beside_it(tmp_path: Path) -> None:
    for name in ("DICOMDIR", "IM1"):
        (tmp_path / name).write_bytes(b"x")
    assert open_source(tmp_path / "DICOMDIR").names == ("DICOMDIR", "IM1")
    assert open_source(tmp_path / "IM1").names == ("IM1",)


def test_what_is_not_there_or_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no"):
        open_source(tmp_path / "none")
    (tmp_path / "a").write_bytes(b"x")
    source = open_source(tmp_path)
    (tmp_path / "a").unlink()
    with pytest.raises(DataError, match=r"a cannot be read"), source.open("a"):
        pass


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (bytes(128) + b"DICM", True),
        (b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", True),
        (b"", False),
        (b"\x1f\x8b" + bytes(200), False),
        (b"a text that is longer than any preamble " * 5, False),
    ],
)
def test_dicom_is_known_with_and_without_its_preamble(data: bytes, known: bool, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    assert is_dicom_file(tmp_path / "a") is known


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not is_dicom_file(tmp_path / "pipe")
