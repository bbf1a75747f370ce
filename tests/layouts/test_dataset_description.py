"""dataset.json as people write it: paths of Windows, byte order marks, channels by name, labels elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from layout_examples import describe, make_msd, make_nnunet, scan, truth

from vesal.data.dataset import Dataset
from vesal.errors import DataError
from vesal.layouts.dataset_description import inside, json_channels
from vesal.layouts.registry import load_dataset


def test_paths_of_windows_are_read(tmp_path: Path) -> None:
    make_msd(tmp_path)
    text = (tmp_path / "dataset.json").read_text()
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        text = text.replace(f"./{folder}/", f".\\\\{folder}\\\\")
    (tmp_path / "dataset.json").write_text(text)
    dataset = load_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["a", "b"]
    assert [case.id for case in dataset.unlabelled] == ["c"]
    assert dataset.cases[0].images == (tmp_path / "imagesTr" / "a.nii.gz",)


@pytest.mark.parametrize(
    "entry", ["..\\b.nii.gz", "C:\\data\\b.nii.gz", "\\\\server\\b.nii.gz", "D:b.nii.gz", "../b.nii.gz", 3]
)
def test_a_path_that_leads_out_of_the_folder_is_refused(entry: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a file in its folder"):
        inside(tmp_path, entry)


def test_a_name_with_a_backslash_that_exists_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a\\b.nii.gz").touch()
    assert inside(tmp_path, "a\\b.nii.gz") == tmp_path / "a\\b.nii.gz"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_description_in_another_encoding_is_read(encoding: str, tmp_path: Path) -> None:
    make_msd(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_bytes(path.read_text().encode(encoding))
    assert load_dataset(tmp_path).labels.names == ("PZ", "TZ")


def test_a_key_that_is_given_twice_is_named(tmp_path: Path) -> None:
    make_msd(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text().replace('"labels": {', '"labels": {"1": "gland", ', 1))
    with pytest.raises(DataError, match=r"dataset\.json.*'1' is given twice"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("named", "channels"),
    [
        ({"0": "T2", "1": "CT"}, ("T2", "CT")),
        ({"T2": 0, "CT": 1}, ("T2", "CT")),
        ({"CT": 1, "T2": "0"}, ("T2", "CT")),
        ({"10": "K", "2": "B", "1": "A"}, ("A", "B", "K")),
        ({"0": "0", "1": "1"}, ("0", "1")),
        (["T2", "CT"], ("T2", "CT")),
        ("CT", ("CT",)),
    ],
)
def test_channels_are_named_in_either_direction(
    named: object, channels: tuple[str, ...], tmp_path: Path
) -> None:
    assert json_channels({"channel_names": named}, tmp_path) == channels


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"CT": "first"}, "does not number its channels"),
        ({"0": "T2", "CT": 1}, "does not number its channels"),
        ({"CT": 0, "T2": 0}, "two channels one number"),
        ({}, "does not name its channels"),
        ([], "does not name its channels"),
    ],
)
def test_channels_without_an_order_are_refused(named: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        json_channels({"channel_names": named}, tmp_path)


# --- where nnU-Net's labels lie ----------------------------------------------------------------------------


def listing(folder: Path, labels: str) -> Dataset:
    """nnU-Net's version 1, whose description lists images without their channel and labels in a folder."""
    json_path = folder / "dataset.json"
    names = ("case_1", "case_2")
    training = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./{labels}/{n}.nii.gz"} for n in names]
    describe(folder, **json.loads(json_path.read_text()), training=training)
    return load_dataset(folder)


def test_labels_in_another_folder_that_the_description_lists_are_used_and_it_is_said(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    for name in ("case_1", "case_2"):
        truth(tmp_path / "labels_corrected" / f"{name}.nii.gz", 1)
    dataset = listing(tmp_path, "labels_corrected")
    assert {case.label for case in dataset.cases} == set((tmp_path / "labels_corrected").iterdir())
    assert any("labels_corrected" in text and "labelsTr are left out" in text for text in dataset.remarks)


def test_a_folder_of_labels_that_is_listed_and_absent_leaves_labels_tr(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    dataset = listing(tmp_path, "nowhere")
    assert {case.label for case in dataset.cases} == set((tmp_path / "labelsTr").iterdir())


def test_labels_that_lie_in_another_folder_alone_are_found(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    (tmp_path / "labelsTr").rename(tmp_path / "masks")
    dataset = listing(tmp_path, "masks")
    assert [case.id for case in dataset.cases] == ["case_1", "case_2"]
    assert dataset.layout == "nnunet"


def test_labels_with_the_number_of_a_channel_are_those_of_their_case(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    for path in list((tmp_path / "labelsTr").iterdir()):
        path.rename(path.with_name(path.name.replace(".nii.gz", "_0000.nii.gz")))
    dataset = load_dataset(tmp_path)
    assert [(case.id, len(case.images)) for case in dataset.cases] == [("case_1", 2), ("case_2", 2)]
    assert {case.label for case in dataset.cases} == set((tmp_path / "labelsTr").iterdir())
    assert any("with _0000" in text for text in dataset.remarks)


def test_a_case_whose_own_name_ends_in_a_channel_keeps_it(tmp_path: Path) -> None:
    for name in ("x", "x_0000"):
        scan(tmp_path / "imagesTr" / f"{name}_0000.nii.gz")
        truth(tmp_path / "labelsTr" / f"{name}.nii.gz", 1)
    describe(tmp_path, channel_names={"0": "CT"}, labels={"background": 0, "a": 1}, file_ending=".nii.gz")
    found = {case.id: case.label and case.label.name for case in load_dataset(tmp_path).cases}
    assert found == {"x": "x.nii.gz", "x_0000": "x_0000.nii.gz"}
