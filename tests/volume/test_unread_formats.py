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
        ("IM0001", bytes(128) + b"DICM", "DICOM series"),
        ("IM0001.dcm", b"", "DICOM series"),
        ("scans.tar.gz", b"", "is an archive; unpack it"),
    ],
)
def test_a_dicom_file_or_an_archive_is_refused_with_the_way_to_read_it(
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
