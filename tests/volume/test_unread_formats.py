"""Files of formats that are known but not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import DataError
from vesal.volume.io import read_volume
from vesal.volume.unread_formats import unread_format


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("IM0001.dcm", b"x", "is called like a DICOM object and is none"),
        ("scans.tar.gz", b"", "is an archive; unpack it"),
    ],
)
def test_an_archive_and_what_only_seems_dicom_are_refused_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_volume(tmp_path / name)


def test_other_files_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "notes").write_bytes(b"too short")
    assert unread_format(tmp_path / "notes") is None
    assert unread_format(tmp_path) is None
    assert unread_format(tmp_path / "gone") is None
