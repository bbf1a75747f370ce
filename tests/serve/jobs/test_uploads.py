"""Uploads: names that lead elsewhere, limits, and what is taken for a scan."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesal.serve.jobs.uploads import Upload, UploadError, arrange, safe_name
from vesal.serve.serve_settings import Limits

NIFTI = gzip.compress(nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_bytes())
DICOM = bytes(128) + b"DICM" + bytes(40)


def upload(folder: Path, **limits: int) -> Upload:
    folder.mkdir()
    return Upload(folder, Limits(**{"room_bytes": 0, **limits}))


def put(to: Upload, name: str, content: bytes) -> None:
    to.begin_file(name)
    to.file_data(content)
    to.end_file()


@pytest.mark.parametrize(
    "name",
    ["../a.nii", "a/../../b.nii", "..\\a.nii", "a\0.nii", "", "..", "x/"],
)
def test_names_that_lead_elsewhere_or_nowhere_are_refused(name: str) -> None:
    with pytest.raises(UploadError):
        safe_name(name)


def test_a_long_name_keeps_its_ending() -> None:
    assert safe_name("a" * 400 + ".nii.gz") == "a" * 113 + ".nii.gz"


@pytest.mark.parametrize("name", ["/home/someone/a.nii", "C:\\scans\\a.nii", "\\\\host\\a.nii"])
def test_of_a_path_at_the_sender_s_the_last_part_is_taken(name: str) -> None:
    assert safe_name(name) == "a.nii"


def test_a_hidden_name_is_shown() -> None:
    assert safe_name("folder/.scan.nii") == "scan.nii"


def test_an_upload_ends_at_its_limits(tmp_path: Path) -> None:
    into = upload(tmp_path / "up", upload_bytes=10, upload_files=2)
    put(into, "a.nii", bytes(4))
    into.begin_file("b.nii")
    with pytest.raises(UploadError, match="larger than") as refused:
        into.file_data(bytes(7))
    assert refused.value.status == 413
    into.end_file()
    with pytest.raises(UploadError, match="More than 2 files"):
        into.begin_file("c.nii")


def test_a_disk_that_is_nearly_full_takes_nothing(tmp_path: Path) -> None:
    into = upload(tmp_path / "up", room_bytes=1 << 60)
    into.begin_file("a.nii")
    with pytest.raises(UploadError, match="nearly full") as refused:
        into.file_data(b"x")
    assert refused.value.status == 507
    into.close()


def test_a_field_is_text_and_short(tmp_path: Path) -> None:
    into = upload(tmp_path / "up")
    into.field_data("Größe".encode())
    into.end_field("series")
    assert into.fields == {"series": "Größe"}
    into.field_data(b"\xff")
    with pytest.raises(UploadError, match="no text"):
        into.end_field("series")
    with pytest.raises(UploadError, match="longer than"):
        into.field_data(bytes(1 << 17))


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    into = upload(tmp_path / "up")
    put(into, "one/scan.dcm", DICOM + b"1")
    put(into, "two/scan.dcm", DICOM + b"2")
    (study,) = arrange(into.files, into.folder / "in", channels=1)
    assert sorted(file.read_bytes()[-1:] for file in study.iterdir()) == [b"1", b"2"]


def test_a_scan_of_several_channels_is_several_files_in_their_order(tmp_path: Path) -> None:
    into = upload(tmp_path / "up")
    put(into, "flair.nii.gz", NIFTI)
    put(into, "t1.nii.gz", NIFTI)
    inputs = arrange(into.files, into.folder / "in", channels=2)
    assert [path.name for path in inputs] == ["flair_0000.nii.gz", "flair_0001.nii.gz"]


@pytest.mark.parametrize(
    ("files", "reason", "status"),
    [
        ([], "no file", 400),
        ([("notes.txt", b"hello")], "no scan", 415),
        ([("a.nii.gz", b"not compressed")], "no scan", 415),
        ([("a.nii", b"not a header, but a text")], "no scan", 415),
        ([("a.nrrd", NIFTI)], "no scan", 415),
        ([("a.nii.gz", NIFTI), ("b.nii.gz", NIFTI)], "one file", 400),
        ([("a.nii.gz", NIFTI), ("notes.txt", b"hello")], "no scan", 415),
        ([("a.zip", b"PK\x05\x06 an empty archive")], "no scan", 415),
        ([("a.nhdr", b"NRRD0004\ndata file: /etc/passwd\n")], "no scan", 415),
        ([("a.mhd", b"ElementDataFile = /etc/passwd\n")], "no scan", 415),
    ],
)
def test_what_is_no_scan_is_refused(
    files: list[tuple[str, bytes]], reason: str, status: int, tmp_path: Path
) -> None:
    into = upload(tmp_path / "up")
    for name, content in files:
        put(into, name, content)
    with pytest.raises(UploadError, match=reason) as refused:
        arrange(into.files, into.folder / "in", channels=1)
    assert refused.value.status == status


def test_a_zip_is_taken_whatever_its_name(tmp_path: Path) -> None:
    into = upload(tmp_path / "up")
    put(into, "study", b"PK\x03\x04 the rest")
    assert [path.name for path in arrange(into.files, into.folder / "in", channels=1)] == ["study.zip"]


def test_a_long_name_is_cut_by_its_bytes_and_keeps_its_ending() -> None:
    found = safe_name("肺" * 100 + ".nii.gz")
    assert found.endswith("肺.nii.gz")
    assert len(found.encode()) <= 120


def test_one_file_may_hold_all_channels(tmp_path: Path) -> None:
    into = upload(tmp_path / "up")
    put(into, "photo.png", b"\x89PNG")
    (found,) = arrange(into.files, into.folder / "in", channels=3)
    assert found.name == "photo.png"


def test_a_field_may_come_once_for_each_channel_but_not_for_ever(tmp_path: Path) -> None:
    into = upload(tmp_path / "up")
    for text in (b"4", b"5"):
        into.field_data(text)
        into.end_field("series")
    assert into.fields == {"series": "4\n5"}
    for _ in range(98):
        into.end_field("series")
    with pytest.raises(UploadError, match="more fields"):
        into.end_field("series")
