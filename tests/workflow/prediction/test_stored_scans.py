"""Scans at addresses are recognised by their names alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.layouts.input_scans import cases_to_predict
from vesal.workflow.prediction import stored_scans
from vesal.workflow.prediction.stored_scans import StoredScan, scans_at

LABELS = LabelSet.from_values({"background": 0, "organ": 1})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "scans"


def write(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def found(folder: Path, tmp_path: Path, channels: int = 1) -> tuple[list[StoredScan], list[str]]:
    remarks: list[str] = []
    scans = scans_at([f"file://{folder}"], channels, LABELS, tmp_path / "names", remarks.append)
    return scans, remarks


@pytest.mark.parametrize(
    ("names", "channels"),
    [
        (["b.nii.gz", "a.nrrd", "notes.txt", ".hidden.nii.gz"], 1),
        (["a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz"], 2),
        (["imagesTr/a.nii.gz", "imagesTr/b.nii.gz", "labelsTr/a.nii.gz"], 1),
        (["ann/t1.nii.gz", "bob/t1.nii.gz", "bob/t1_seg.nii.gz"], 1),
        (["a.nii.gz", "below/b.nii.gz"], 1),
    ],
)
def test_they_are_those_that_a_folder_of_this_disk_has(
    names: list[str], channels: int, folder: Path, tmp_path: Path
) -> None:
    write(folder, names)
    remarks: list[str] = []
    cases = cases_to_predict([folder], channels, LABELS, remark=remarks.append)
    scans, told = found(folder, tmp_path, channels)
    assert [scan.case.id for scan in scans] == [case.id for case in cases]
    assert [[*map(str, scan.case.images)] for scan in scans] == [
        [str(image.relative_to(folder)) for image in case.images] for case in cases
    ]
    assert told == [text.replace(str(folder), f"file://{folder}") for text in remarks]


def test_a_scan_is_fetched_with_what_belongs_to_it_and_without_the_others(
    folder: Path, tmp_path: Path
) -> None:
    write(folder, ["a.1.mhd", "a.1.raw", "a.2.raw", "b.nii"])
    scans, _ = found(folder, tmp_path)
    assert [sorted(scan.files) for scan in scans] == [["a.1.mhd", "a.1.raw"], ["b.nii"]]
    here = tmp_path / "here"
    here.mkdir()
    case = scans[0].fetch(here)
    assert case.images == (here / "a.1.mhd",)
    assert {path.name for path in here.iterdir()} == {"a.1.mhd", "a.1.raw"}


def test_one_scan_may_be_named(folder: Path, tmp_path: Path) -> None:
    write(folder, ["a.nii", "b.nii"])
    (scan,) = scans_at([f"file://{folder}/b.nii"], 1, LABELS, tmp_path / "names")
    assert (scan.case.id, [*scan.files]) == ("b", ["b.nii"])


def test_a_key_that_leads_elsewhere_on_a_disk_is_no_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["../evil.nii.gz", "a/../../evil.nii.gz", "/evil.nii.gz", "b//evil.nii.gz", "good.nii.gz"]
    found = {f"/bucket/{key}": {"size": 3, "type": "file"} for key in keys}
    monkeypatch.setattr(MemoryFileSystem, "find", lambda *_args, **_options: found)
    (scan,) = scans_at(["memory://bucket"], 1, LABELS, tmp_path / "names")
    assert [*scan.files] == ["good.nii.gz"]
    assert [path.name for path in tmp_path.rglob("*evil*")] == []


@pytest.mark.parametrize("keys", [["a" * 300 + ".nii.gz"], ["a.nii", "a.nii/b.nii"]])
def test_a_key_that_is_no_name_on_a_disk_is_refused_by_name(
    keys: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {f"/bucket/{key}": {"size": 3, "type": "file"} for key in keys}
    monkeypatch.setattr(MemoryFileSystem, "find", lambda *_args, **_options: found)
    with pytest.raises(UsageError, match=r"a.* at memory://bucket cannot be a file of this machine"):
        scans_at(["memory://bucket"], 1, LABELS, tmp_path / "names")


def test_a_changed_scan_has_another_stamp(folder: Path, tmp_path: Path) -> None:
    write(folder, ["a.nii"])
    before = found(folder, tmp_path)[0][0].stamp
    shutil.rmtree(tmp_path / "names")
    assert found(folder, tmp_path)[0][0].stamp == before
    shutil.rmtree(tmp_path / "names")
    (folder / "a.nii").write_bytes(b"another")
    assert found(folder, tmp_path)[0][0].stamp != before


def test_without_a_scan_or_with_two_of_one_name_it_is_refused_in_the_words_of_the_address(
    folder: Path, tmp_path: Path
) -> None:
    write(folder, ["study/IM0001.dcm"])
    with pytest.raises(UsageError, match=r"No scan is at file://.*scans; DICOM"):
        found(folder, tmp_path)
    write(folder, ["a.nii", "a.nrrd"])
    with pytest.raises(UsageError, match=r"Several scans are named a \(file://.*scans/a\.nii"):
        found(folder, tmp_path)


def test_a_scan_that_the_disk_has_no_room_for_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, ["a.nii"])
    (scan,), _ = found(folder, tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(stored_scans.shutil, "disk_usage", lambda _folder: usage._replace(free=10))
    with pytest.raises(DataError, match=r"are free in .*set TMPDIR"):
        scan.fetch(tmp_path)
