"""Files at addresses: whole or absent, and nothing that an address hides is ever shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from vesal.errors import DataError, UsageError, VesalError
from vesal.workflow.prediction.stored_files import WRITING, StoredFolder, any_address, masked


@pytest.fixture(params=["memory", "file", "path"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> StoredFolder:
    """An empty one in each storage that needs no server."""
    if request.param == "memory":
        MemoryFileSystem.store.clear()
        return StoredFolder.of(f"memory://{tmp_path.name}/results/")
    return StoredFolder.of(
        f"file://{tmp_path}/results" if request.param == "file" else str(tmp_path / "results")
    )


def test_what_is_put_up_is_listed_read_fetched_replaced_and_removed(
    folder: StoredFolder, tmp_path: Path
) -> None:
    assert folder.files() == {}
    file = tmp_path / "mask.nii.gz"
    file.write_bytes(b"first")
    put = folder.put(file, "masks/a [1].nii.gz")
    folder.write(b"{}", "record.jsonl", tmp_path)
    assert folder.files() == {"masks/a [1].nii.gz": put, "record.jsonl": folder.files()["record.jsonl"]}
    assert put.size == 5
    assert folder.read("record.jsonl") == b"{}"
    folder.fetch("masks/a [1].nii.gz", tmp_path / "here" / "a.nii.gz", 5)
    assert (tmp_path / "here" / "a.nii.gz").read_bytes() == b"first"
    file.write_bytes(b"other")
    assert folder.put(file, "masks/a [1].nii.gz") != put
    assert folder.read("masks/a [1].nii.gz") == b"other"
    folder.remove("record.jsonl")
    folder.remove("record.jsonl")
    assert [*folder.files()] == ["masks/a [1].nii.gz"]


def test_a_file_and_the_folder_around_it(folder: StoredFolder, tmp_path: Path) -> None:
    folder.write(b"scan", "a.nii", tmp_path)
    one = StoredFolder(f"{folder.address}/a.nii")
    assert one.holds_file()
    assert not folder.holds_file()
    assert one.parent() == (folder, "a.nii")


def test_what_is_gone_or_changes_meanwhile_is_a_fault_of_that_scan(
    folder: StoredFolder, tmp_path: Path
) -> None:
    folder.write(b"scan", "a.nii", tmp_path)
    with pytest.raises(DataError, match=r"listed with 9: it changes"):
        folder.fetch("a.nii", tmp_path / "a.nii", 9)
    with pytest.raises(DataError, match=r"Cannot fetch gone\.nii from .*FileNotFoundError"):
        folder.fetch("gone.nii", tmp_path / "gone.nii")
    with pytest.raises(VesalError, match="Cannot read gone"):
        folder.read("gone")


def test_an_upload_that_breaks_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = StoredFolder.of(f"file://{tmp_path}/out"), tmp_path / "mask.nii"
    file.write_bytes(b"whole")
    folder.put(file, "mask.nii")

    def half(_self: Any, source: str, to: str, **_options: Any) -> None:
        Path(to).write_bytes(Path(source).read_bytes()[:2])
        raise ConnectionError("sftp://anna:secret@host/out broke")

    monkeypatch.setattr(LocalFileSystem, "put_file", half)
    with pytest.raises(
        VesalError, match=r"Cannot write mask\.nii .*ConnectionError: sftp://\*\*\*@host/out broke"
    ):
        folder.put(file, "mask.nii")
    assert (tmp_path / "out" / "mask.nii").read_bytes() == b"whole"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mask.nii", f"{WRITING}mask.nii"}
    monkeypatch.undo()
    folder.put(file, "mask.nii")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mask.nii"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sftp://anna:secret@host/scans", "sftp://***@host/scans"),
        ("ftp://u:p@ss@host/x", "ftp://***@host/x"),
        ("sftp://anna:se/cret@host:22/x", "sftp://***@host:22/x"),
        ("sftp://token@host/x", "sftp://***@host/x"),
        ("https://host/a.nii?X-Amz-Signature=abc&b=c", "https://host/a.nii?***"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("sftp://host:22/x@y", "sftp://host:22/x@y"),
        ("/home/anna/a?b", "/home/anna/a?b"),
    ],
)
def test_passwords_and_signatures_are_not_shown(text: str, shown: str) -> None:
    assert masked(f"Cannot read {text} now") == f"Cannot read {shown} now"
    assert "secret" not in repr(StoredFolder(text))


def test_what_is_no_address_is_a_path() -> None:
    assert any_address(["scans", "gs://bucket/scans"], "out")
    assert any_address(["scans"], "memory://out")
    assert not any_address(["scans", "C:/scans", "a:b"], "/out")


def test_a_storage_without_its_library_and_one_that_nobody_knows_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match=r"pip install 'vesal\[storage\]'"):
        StoredFolder.of("s3://bucket/scans")
    with pytest.raises(UsageError, match="Protocol not known"):
        StoredFolder.of("nowhere://bucket/scans")
    with pytest.raises(UsageError, match="leads through another file"):
        StoredFolder.of("zip://scans::file:///a.zip")


def test_a_prediction_of_a_disk_loads_no_storage() -> None:
    code = "import sys, vesal.workflow.prediction.stored_files; assert 'fsspec' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
