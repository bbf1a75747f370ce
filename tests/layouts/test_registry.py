"""Layouts: each is recognised, and what is said of a folder that fits none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from layout_examples import (
    MAKERS,
    describe,
    make_acdc,
    make_brats,
    make_manifest,
    make_msd,
    make_nnunet,
    scan,
    slice_of,
)

from vesal.data.case import read_case
from vesal.data.dataset import Dataset
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.layouts import scan_files as scanning
from vesal.layouts.registry import LAYOUTS, load_dataset
from vesal.workflow.convert import convert_run
from vesal.workflow.requests.convert_request import ConvertRequest


def test_every_layout_has_an_example_here() -> None:
    assert set(MAKERS) == set(LAYOUTS)


@pytest.mark.parametrize("layout", MAKERS)
def test_auto_recognises_each_layout_says_so_and_every_case_can_be_read(layout: str, tmp_path: Path) -> None:
    MAKERS[layout](tmp_path)
    dataset = load_dataset(tmp_path)
    assert dataset.layout == layout
    assert f"'{layout}'" in dataset.remarks[0]
    assert not dataset.orphans
    assert len({case.id for case in dataset.cases}) == len(dataset.cases) > 0
    for case in dataset.cases:
        raw = read_case(case)
        assert raw.image.channels == len(dataset.channels)
        assert raw.label is not None
        assert dataset.labels.encode(raw.label.array).max() == len(dataset.labels.labels)
    assert load_dataset(tmp_path, layout).cases == dataset.cases


@pytest.mark.parametrize("layout", MAKERS)
def test_hidden_files_are_ignored(layout: str, tmp_path: Path) -> None:
    MAKERS[layout](tmp_path)
    before = load_dataset(tmp_path)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\26\7")
    assert load_dataset(tmp_path) == before


@pytest.mark.parametrize("layout", MAKERS)
def test_given_labels_take_the_place_of_the_declared_ones(layout: str, tmp_path: Path) -> None:
    MAKERS[layout](tmp_path)
    labels = LabelSet.from_values({"thing": 9})
    assert load_dataset(tmp_path, labels=labels).labels == labels


@pytest.mark.parametrize("layout", MAKERS)
def test_a_data_set_comes_back_from_its_file(layout: str, tmp_path: Path) -> None:
    MAKERS[layout](tmp_path / "data")
    dataset = load_dataset(tmp_path / "data")
    dataset.save(tmp_path / "saved.json")
    assert Dataset.load(tmp_path / "saved.json") == dataset


def test_an_unrecognised_folder_is_told_in_two_sentences_where_the_list_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"fits no layout: it holds 1 file \(\.txt: 1\)") as caught:
        load_dataset(tmp_path)
    assert "vesal list layouts" in str(caught.value)
    assert str(caught.value).count(". ") == 1


def test_a_folder_that_two_general_layouts_fit_is_refused_with_both_and_the_option(tmp_path: Path) -> None:
    MAKERS["pairs"](tmp_path)
    (tmp_path / "CT").rename(tmp_path / "images")
    MAKERS["cases"](tmp_path)
    with pytest.raises(DataError, match=r"2 ways: as 'pairs'.*; as 'cases'.* Choose by --layout") as caught:
        load_dataset(tmp_path)
    assert "Liver_masks" in str(caught.value)
    assert "p1/ct.nii.gz" in str(caught.value)
    assert [load_dataset(tmp_path, name).layout for name in ("pairs", "cases")] == ["pairs", "cases"]


def test_files_that_are_not_read_in_a_folder_of_scans_are_named_by_their_endings(tmp_path: Path) -> None:
    MAKERS["msd"](tmp_path)
    for name in ("c.mat", "d.mat", "e.mgz.bak", "notes.txt", "LICENSE", "a.json"):
        (tmp_path / "imagesTr" / name).write_bytes(b"x")
    remark = load_dataset(tmp_path).remarks[-1]
    assert remark.startswith(
        "Left alone are 3 files in imagesTr with endings that are not read, .mat: 2, .mgz.bak: 1;"
    )
    assert ".nii.gz" in remark


def test_a_shelf_of_data_sets_is_told_which_of_its_folders_to_give(tmp_path: Path) -> None:
    make_msd(tmp_path / "Task05")
    make_brats(tmp_path / "BraTS")
    with pytest.raises(DataError, match=r"BraTS \(brats\), Task05 \(msd\)"):
        load_dataset(tmp_path)


def test_a_folder_of_two_layouts_takes_the_first_and_says_so(tmp_path: Path) -> None:
    make_msd(tmp_path)
    make_acdc(tmp_path)
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "msd"
    assert "'acdc'" in dataset.remarks[1]
    assert load_dataset(tmp_path, "acdc").layout == "acdc"


def test_a_preview_beside_a_scan_does_not_keep_a_manifest_from_being_read(tmp_path: Path) -> None:
    make_manifest(tmp_path)
    slice_of(tmp_path / "scans/x.png", 9)
    assert load_dataset(tmp_path).layout == "manifest"


@pytest.mark.parametrize("layout", ["msd", "pairs"])
def test_an_unreadable_folder_at_the_side_does_not_matter(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MAKERS[layout](tmp_path)
    if layout == "pairs":
        (tmp_path / "CT").rename(tmp_path / "images")
    (tmp_path / "private").mkdir()
    scandir, access = os.scandir, os.access

    def refuse(folder: Path) -> Iterator[os.DirEntry[str]]:
        if Path(folder).name == "private":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(scanning.os, "scandir", refuse)
    monkeypatch.setattr(
        scanning.os, "access", lambda path, mode: Path(path).name != "private" and access(path, mode)
    )
    assert load_dataset(tmp_path).layout == layout
    (tmp_path / "alone" / "private").mkdir(parents=True)
    with pytest.raises(DataError, match=r"Cannot read the folder .*private: Permission denied"):
        load_dataset(tmp_path / "alone")


def test_a_detector_that_cannot_look_is_no_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error", "x")

    make_acdc(tmp_path)
    monkeypatch.setitem(LAYOUTS, "brats", replace(LAYOUTS["brats"], detect=fail))
    assert load_dataset(tmp_path).layout == "acdc"


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", "a\\b", "..", ".", "", "nul\0", "C:evil"])
def test_a_case_name_that_leads_out_of_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    entry = {"images": ["imagesTr/case_1_0000.nii.gz"], "label": "labelsTr/case_1.nii.gz"}
    describe(tmp_path, channel_names={"0": "CT"}, labels={"background": 0, "x": 1}, dataset={name: entry})
    with pytest.raises(DataError, match="cannot name a file"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("declared", [True, False])
def test_jpeg_masks_are_refused(declared: bool, tmp_path: Path) -> None:
    slice_of(tmp_path / "images/a.png", 1, 2)
    slice_of(tmp_path / "masks/a.jpg", 255)
    labels = LabelSet.from_values({"lesion": 255}) if declared else None
    with pytest.raises(DataError, match=r"a\.jpg is a JPEG, whose lossy compression changes label values"):
        load_dataset(tmp_path, labels=labels)


def test_an_absent_folder_an_empty_one_and_a_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no folder .*absent"):
        load_dataset(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        load_dataset(tmp_path / "empty")
    with pytest.raises(UsageError, match="is a file; give the folder"):
        load_dataset(scan(tmp_path / "a.nii.gz"))
    for name, known in (("Task02_Heart.tar", "msd-heart"), ("mine.tar.gz", "NAME")):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(
            UsageError, match=rf"is an archive; unpack it by vesal fetch {known} --from .*{name}"
        ):
            load_dataset(tmp_path / name)


def test_an_unknown_layout_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="acdc, auto, brats, cases, dicom, manifest, msd, nnunet, pairs, png"
    ):
        load_dataset(tmp_path, "mds")


@pytest.mark.parametrize(
    ("folder", "layout", "cases", "patients", "channels"),
    [
        ("Task04_Hippocampus", "msd", 208, 208, 1),
        ("Task02_Heart", "msd", 12, 12, 1),
        ("Task05_Prostate", "msd", 7, 7, 2),
        ("ACDC", "acdc", 80, 40, 1),
        ("ACDC/training", "acdc", 80, 40, 1),
        ("BraTS2018", "brats", 4, 4, 4),
    ],
)
def test_real_folders_are_recognised(
    data_dir: Path, folder: str, layout: str, cases: int, patients: int, channels: int
) -> None:
    dataset = load_dataset(data_dir / folder)
    assert (dataset.layout, len(dataset.cases), len(dataset.channels)) == (layout, cases, channels)
    assert len({case.patient for case in dataset.cases}) == patients
    assert not dataset.orphans
    raw = read_case(dataset.cases[0])
    assert raw.image.channels == channels
    assert raw.label is not None
    dataset.labels.encode(raw.label.array)


def test_a_folder_that_vesal_wrote_is_recognised_without_another_word(tmp_path: Path) -> None:
    MAKERS["pairs"](tmp_path / "scans")
    convert_run(ConvertRequest(data=tmp_path / "scans", out=tmp_path / "slices", to="png"))
    dataset = load_dataset(tmp_path / "slices")
    assert dataset.layout == "manifest"
    assert not [remark for remark in dataset.remarks if "also looks like" in remark]
