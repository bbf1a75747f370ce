"""Layouts: which files belong to which case and patient, and what is said when they do not fit."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from vesal.data.case import read_case
from vesal.data.dataset import Dataset
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.layouts import scan_files as scanning
from vesal.layouts.registry import LAYOUTS, load_dataset

SHAPE = (4, 5, 3)


def scan(path: Path, *, channels: int = 1) -> Path:
    """A random image; 4D for several channels."""
    shape = SHAPE if channels == 1 else (*SHAPE, channels)
    return _save(path, np.random.default_rng(0).integers(0, 100, shape).astype(np.int16))


def truth(path: Path, *values: int) -> Path:
    """A label map with 0 and these values."""
    array = np.zeros(SHAPE, np.uint8)
    array.flat[: len(values)] = values
    return _save(path, array)


def slice_of(path: Path, *values: int) -> Path:
    array = np.zeros((6, 8), np.uint8)
    array.flat[: len(values)] = values
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def _save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


def describe(folder: Path, **entries: object) -> None:
    (folder / "dataset.json").write_text(json.dumps(entries))


# --- one folder of each layout -----------------------------------------------------------------------------


def make_msd(folder: Path) -> None:
    training = []
    for name in ("a", "b"):
        scan(folder / "imagesTr" / f"{name}.nii.gz", channels=2)
        truth(folder / "labelsTr" / f"{name}.nii.gz", 1, 2)
        training.append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
    scan(folder / "imagesTs" / "c.nii.gz", channels=2)
    describe(
        folder,
        name="Prostate",
        modality={"0": "T2", "1": "ADC"},
        labels={"0": "background", "1": "PZ", "2": "TZ"},
        numTraining=2,
        training=training,
        test=["./imagesTs/c.nii.gz"],
    )


def make_nnunet(folder: Path) -> None:
    for name in ("case_1", "case_2"):
        for channel in range(2):
            scan(folder / "imagesTr" / f"{name}_{channel:04}.nii.gz")
        truth(folder / "labelsTr" / f"{name}.nii.gz", 1, 2)
    scan(folder / "imagesTs" / "case_9_0000.nii.gz")
    scan(folder / "imagesTs" / "case_9_0001.nii.gz")
    describe(
        folder,
        channel_names={"0": "T2", "1": "ADC"},
        labels={"background": 0, "PZ": 1, "TZ": 2},
        numTraining=2,
        file_ending=".nii.gz",
    )


def make_acdc(folder: Path) -> None:
    for patient in ("patient001", "patient002"):
        for frame in ("01", "12"):
            scan(folder / patient / f"{patient}_frame{frame}.nii.gz")
            truth(folder / patient / f"{patient}_frame{frame}_gt.nii.gz", 1, 2, 3)
        scan(folder / patient / f"{patient}_4d.nii.gz", channels=3)
        (folder / patient / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\n")


def make_brats(folder: Path) -> None:
    for grade, name in (("HGG", "Brats18_X_1_1"), ("LGG", "Brats18_X_2_1")):
        for role in ("flair", "t1", "t1ce", "t2"):
            scan(folder / grade / name / f"{name}_{role}.nii.gz")
        truth(folder / grade / name / f"{name}_seg.nii.gz", 1, 2, 4)


def make_png(folder: Path) -> None:
    for name in ("lung_001_slice_0001", "lung_001_slice_0002", "lung_002_slice_0001"):
        slice_of(folder / "images" / f"{name}.png", 10, 20, 30)
        slice_of(folder / "labels" / f"{name}.png", 255)


def make_pairs(folder: Path) -> None:
    for number in (1, 2):
        scan(folder / "CT" / f"volume-{number}.nii")
        truth(folder / "Liver_masks" / f"segmentation-{number}.nii", 1, 2)


def make_manifest(folder: Path) -> None:
    rows = [("x", "scans/x.nii.gz", "scans/x_seg.nii.gz", "p1"), ("y", "scans/y.nii.gz", "", "p2")]
    scan(folder / "scans" / "x.nii.gz")
    scan(folder / "scans" / "y.nii.gz")
    truth(folder / "scans" / "x_seg.nii.gz", 7)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("id", "image", "label", "patient"), *rows])


MAKERS: dict[str, Callable[[Path], None]] = {
    "manifest": make_manifest,
    "nnunet": make_nnunet,
    "msd": make_msd,
    "acdc": make_acdc,
    "brats": make_brats,
    "png": make_png,
    "pairs": make_pairs,
}


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


# --- auto --------------------------------------------------------------------------------------------------


def test_an_unrecognised_folder_is_told_what_every_layout_looks_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="fits no layout") as caught:
        load_dataset(tmp_path)
    for name, layout in LAYOUTS.items():
        assert f"{name}: {layout.looks_for}" in str(caught.value)


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


PAIRS: list[tuple[object, tuple[tuple[str, str], ...]]] = [
    (None, (("left", "right"),)),
    ([], ()),
    ([["right", "left"]], (("right", "left"),)),
]


@pytest.mark.parametrize(("pairs", "expected"), PAIRS)
@pytest.mark.parametrize("layout", ["msd", "nnunet", "manifest"])
def test_a_description_may_say_which_labels_mirroring_swaps(
    layout: str, pairs: object, expected: tuple[tuple[str, str], ...], tmp_path: Path
) -> None:
    assert load_dataset(described(layout, pairs, tmp_path)).labels.pairs == expected


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ("left", '"pairs" must be a list'),
        ([["left"]], '"pairs" must be a list'),
        ([["left", 3]], '"pairs" must be a list'),
        ([["left", "spleen"]], "unknown labels"),
        ([["left", "left"]], "two partners"),
    ],
)
@pytest.mark.parametrize("layout", ["msd", "manifest"])
def test_wrong_pairs_are_explained(layout: str, pairs: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        load_dataset(described(layout, pairs, tmp_path))


def described(layout: str, pairs: object, folder: Path) -> Path:
    """A data set of two labels, left and right, whose description gives these pairs."""
    values = {"left": 1, "right": 2}
    extra = {} if pairs is None else {"pairs": pairs}
    if layout == "manifest":
        make_manifest(folder)
        truth(folder / "scans/x_seg.nii.gz", 1, 2)
        case = {"image": "scans/x.nii.gz", "label": "scans/x_seg.nii.gz"}
        (folder / "list.json").write_text(json.dumps({"labels": values, "cases": [case], **extra}))
        return folder / "list.json"
    MAKERS[layout](folder)
    path = folder / "dataset.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"labels": {"background": 0, **values}} | extra)
    )
    return folder


def test_an_absent_folder_an_empty_one_and_a_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no folder .*absent"):
        load_dataset(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        load_dataset(tmp_path / "empty")
    with pytest.raises(UsageError, match="is a file; give the folder"):
        load_dataset(scan(tmp_path / "a.nii.gz"))


def test_an_unknown_layout_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="acdc, auto, brats, manifest, msd, nnunet, pairs, png"):
        load_dataset(tmp_path, "mds")


# --- msd ---------------------------------------------------------------------------------------------------


def test_msd_gives_channels_labels_and_test_scans(tmp_path: Path) -> None:
    make_msd(tmp_path)
    dataset = load_dataset(tmp_path)
    assert dataset.name == "Prostate"
    assert dataset.channels == ("T2", "ADC")
    assert dataset.labels.names == ("PZ", "TZ")
    assert [case.id for case in dataset.cases] == ["a", "b"]
    assert [case.id for case in dataset.unlabelled] == ["c"]


def rewrite(folder: Path, **entries: object) -> None:
    json_path = folder / "dataset.json"
    json_path.write_text(json.dumps({**json.loads(json_path.read_text()), **entries}))


def test_a_file_that_dataset_json_names_and_that_is_absent_is_named_when_its_case_is_read(
    tmp_path: Path,
) -> None:
    make_msd(tmp_path)
    (tmp_path / "imagesTr" / "b.nii.gz").unlink()
    dataset = load_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["a", "b"]
    read_case(dataset.cases[0])
    with pytest.raises(DataError, match=r"Case b: .*imagesTr/b\.nii\.gz"):
        read_case(dataset.cases[1])


def test_files_without_a_partner_are_orphans_and_whole_unlisted_cases_are_remarked(tmp_path: Path) -> None:
    make_msd(tmp_path)
    lone_image, lone_label = scan(tmp_path / "imagesTr/d.nii.gz"), truth(tmp_path / "labelsTr/e.nii.gz", 1)
    scan(tmp_path / "imagesTr/f.nii.gz")
    truth(tmp_path / "labelsTr/f.nii.gz", 1)
    dataset = load_dataset(tmp_path)
    assert [(orphan.id, orphan.path, orphan.missing) for orphan in dataset.orphans] == [
        ("d", lone_image, "label"),
        ("e", lone_label, "image"),
    ]
    assert any("1 scans with labels are not listed" in remark and "f" in remark for remark in dataset.remarks)
    assert len(dataset.cases) == 2


def test_a_wrong_number_of_training_cases_is_remarked(tmp_path: Path) -> None:
    make_msd(tmp_path)
    rewrite(tmp_path, numTraining=20)
    assert any("20" in remark for remark in load_dataset(tmp_path).remarks)


@pytest.mark.parametrize("path", ["../secret.nii.gz", "/etc/passwd", "./imagesTr/../../x.nii.gz", "", 7])
def test_an_entry_that_leads_out_of_the_folder_is_refused(path: object, tmp_path: Path) -> None:
    make_msd(tmp_path)
    rewrite(tmp_path, training=[{"image": path, "label": "./labelsTr/a.nii.gz"}])
    with pytest.raises(DataError, match=r"dataset\.json names .* not a file in its folder"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"training": "all"}, "not a list"),
        ({"training": ["./imagesTr/a.nii.gz"]}, "without image and label"),
        ({"labels": {}}, "does not declare its labels"),
        ({"labels": {"0": "background"}}, "no foreground label"),
        ({"labels": {"0": "background", "1": "x", "2": "x"}}, "two label values 'x'"),
        ({"labels": {"background": 0, "x": 1.5}}, "whole number"),
        ({"modality": {}}, "does not name its channels"),
    ],
)
def test_a_wrong_dataset_json_is_explained(entries: dict[str, object], words: str, tmp_path: Path) -> None:
    make_msd(tmp_path)
    rewrite(tmp_path, **entries)
    with pytest.raises(DataError, match=words) as caught:
        load_dataset(tmp_path, "msd")
    assert "dataset.json" in str(caught.value)


def test_a_dataset_json_that_is_not_json_is_named(tmp_path: Path) -> None:
    make_msd(tmp_path)
    (tmp_path / "dataset.json").write_text("{'name': ")
    with pytest.raises(DataError, match=r"dataset\.json is not valid JSON"):
        load_dataset(tmp_path)


def test_images_and_labels_without_dataset_json_are_read_and_it_is_said_that_it_is_missing(
    tmp_path: Path,
) -> None:
    make_msd(tmp_path)
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"imagesTr and labelsTr but no dataset\.json"):
        load_dataset(tmp_path, "msd")
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "pairs"
    assert dataset.labels.names == ("label_1", "label_2")
    assert any("no dataset.json" in remark for remark in dataset.remarks)


@pytest.mark.parametrize(
    "labels", [{"0": "background", "1": "PZ", "2": "TZ"}, {"background": 0, "PZ": 1, "TZ": 2}]
)
def test_labels_may_be_declared_in_both_directions(labels: dict[str, object], tmp_path: Path) -> None:
    make_msd(tmp_path)
    rewrite(tmp_path, labels=labels)
    assert load_dataset(tmp_path).labels == LabelSet.from_values({"background": 0, "PZ": 1, "TZ": 2})


# --- nnunet ------------------------------------------------------------------------------------------------


def test_nnunet_takes_one_file_a_channel(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    dataset = load_dataset(tmp_path)
    assert dataset.channels == ("T2", "ADC")
    assert [path.name for path in dataset.cases[0].images] == ["case_1_0000.nii.gz", "case_1_0001.nii.gz"]
    assert [case.id for case in dataset.unlabelled] == ["case_9"]


def test_nnunet_regions_and_ignore_label(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    rewrite(
        tmp_path,
        labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
        regions_class_order=[1, 2, 3],
    )
    labels = load_dataset(tmp_path).labels
    assert labels.classes == ("whole", "core", "enhancing")
    assert labels.ignore == 4
    assert labels.values == (0, 1, 2, 3, 4)
    masks = np.array([[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]], dtype=bool)
    assert labels.decode(labels.paint(masks)).tolist() == [1, 2, 3, 0]


def test_the_class_order_says_which_value_stands_for_a_region(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    rewrite(
        tmp_path,
        labels={"background": 0, "whole": [1, 2, 3], "enhancing": [3]},
        regions_class_order=[2, 3],
    )
    labels = load_dataset(tmp_path).labels
    assert labels.decode(labels.paint(np.array([[1, 1], [0, 1]], dtype=bool))).tolist() == [2, 3]


def test_nnunet_cases_with_a_missing_channel_label_or_image_are_orphans(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    (tmp_path / "imagesTr" / "case_2_0001.nii.gz").unlink()
    scan(tmp_path / "imagesTr" / "case_3_0000.nii.gz")
    truth(tmp_path / "labelsTr" / "case_4.nii.gz", 1)
    dataset = load_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["case_1"]
    assert [(orphan.id, orphan.missing) for orphan in dataset.orphans] == [
        ("case_2", "channel 0001"),
        ("case_3", "label"),
        ("case_4", "image"),
    ]


def test_nnunet_version_1_lists_cases_without_the_channel(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    entry = {"image": "./imagesTr/case_1.nii.gz", "label": "./labelsTr/case_1.nii.gz"}
    describe(
        tmp_path, modality={"0": "T2", "1": "ADC"}, labels={"0": "bg", "1": "PZ", "2": "TZ"}, training=[entry]
    )
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "nnunet"
    assert dataset.labels.names == ("PZ", "TZ")


def test_nnunet_version_2_may_list_its_files(tmp_path: Path) -> None:
    scan(tmp_path / "any" / "one.nii.gz")
    truth(tmp_path / "any" / "one_truth.nii.gz", 1)
    listed = {"one": {"images": ["any/one.nii.gz"], "label": "any/one_truth.nii.gz"}}
    describe(
        tmp_path,
        channel_names={"0": "CT"},
        labels={"background": 0, "x": 1},
        file_ending=".nii.gz",
        dataset=listed,
    )
    dataset = load_dataset(tmp_path)
    assert (dataset.layout, dataset.channels, dataset.cases[0].id) == ("nnunet", ("CT",), "one")


@pytest.mark.parametrize("layout", ["msd", "nnunet"])
def test_frames_named_as_in_acdc_are_of_one_patient_in_other_layouts_too(layout: str, tmp_path: Path) -> None:
    make_named(layout, tmp_path, "patient001_frame01", "patient001_frame12", "patient002_frame01")
    dataset = load_dataset(tmp_path)
    assert [case.patient for case in dataset.cases] == ["patient001", "patient001", "patient002"]
    assert not any("own patient" in remark for remark in dataset.remarks)


@pytest.mark.parametrize("layout", ["msd", "nnunet"])
def test_names_that_look_like_scans_of_one_patient_are_remarked(layout: str, tmp_path: Path) -> None:
    make_named(layout, tmp_path / "a", "p1_01", "p1_02", "p2_01")
    dataset = load_dataset(tmp_path / "a")
    assert [case.patient for case in dataset.cases] == ["p1_01", "p1_02", "p2_01"]
    assert sum("p1_01 and p1_02 may be of one" in remark for remark in dataset.remarks) == 1
    make_named(layout, tmp_path / "b", "la_003", "la_004")
    assert not any("may be of one" in remark for remark in load_dataset(tmp_path / "b").remarks)


def make_named(layout: str, folder: Path, *names: str) -> None:
    """A data set with one channel and cases of these names."""
    suffix = "_0000" if layout == "nnunet" else ""
    training = []
    for name in names:
        image = scan(folder / "imagesTr" / f"{name}{suffix}.nii.gz").relative_to(folder)
        label = truth(folder / "labelsTr" / f"{name}.nii.gz", 1).relative_to(folder)
        training.append({"image": str(image), "label": str(label)})
    listed = {"training": training} if layout == "msd" else {"file_ending": ".nii.gz"}
    describe(folder, modality={"0": "MRI"}, labels={"background": 0, "organ": 1}, **listed)


@pytest.mark.parametrize("key", ["training", "test"])
def test_two_files_of_one_name_are_not_one_case_and_the_same_file_twice_is(key: str, tmp_path: Path) -> None:
    make_msd(tmp_path)
    text = json.loads((tmp_path / "dataset.json").read_text())
    again = text[key][0]
    (tmp_path / "dataset.json").write_text(json.dumps(text | {key: [*text[key], again]}))
    dataset = load_dataset(tmp_path)
    assert (len(dataset.cases), len(dataset.unlabelled)) == (2, 1)
    assert any("twice; it is taken once" in remark for remark in dataset.remarks)
    name = "a" if key == "training" else "c"
    scan(tmp_path / f"more/{name}.nii.gz", channels=2)
    other = again | {"image": "more/a.nii.gz"} if isinstance(again, dict) else "more/c.nii.gz"
    (tmp_path / "dataset.json").write_text(json.dumps(text | {key: [*text[key], other]}))
    with pytest.raises(DataError, match=rf"two cases called '{name}' \(.*images.*{name}\.nii.*more"):
        load_dataset(tmp_path)


def test_a_test_image_with_the_name_of_a_training_image_is_left_out_and_remarked(tmp_path: Path) -> None:
    make_msd(tmp_path)
    scan(tmp_path / "imagesTs/a.nii.gz", channels=2)
    text = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(text | {"test": ["imagesTs/a.nii.gz"]}))
    dataset = load_dataset(tmp_path)
    assert dataset.unlabelled == ()
    assert any("names of training images: a" in remark for remark in dataset.remarks)


# --- acdc --------------------------------------------------------------------------------------------------


def test_acdc_keeps_the_frames_of_a_patient_together(tmp_path: Path) -> None:
    make_acdc(tmp_path)
    dataset = load_dataset(tmp_path)
    assert [(case.id, case.patient) for case in dataset.cases[:2]] == [
        ("patient001_frame01", "patient001"),
        ("patient001_frame12", "patient001"),
    ]
    assert dataset.labels.names == ("RV", "Myo", "LV")
    assert any("2 end-diastolic and 2 end-systolic" in remark for remark in dataset.remarks)


def test_acdc_keeps_its_testing_folder_as_a_test_set(tmp_path: Path) -> None:
    make_acdc(tmp_path / "training")
    make_acdc(tmp_path / "testing")
    (tmp_path / "testing/patient001").rename(tmp_path / "testing/patient101")
    for path in (tmp_path / "testing/patient101").iterdir():
        path.rename(path.with_name(path.name.replace("patient001", "patient101")))
    (tmp_path / "testing/patient002").rename(tmp_path / "elsewhere")
    dataset = load_dataset(tmp_path)
    assert len(dataset.cases) == 4
    assert [(case.patient, case.label) for case in dataset.unlabelled] == [("patient101", None)] * 2


def test_an_acdc_frame_without_its_partner_is_an_orphan(tmp_path: Path) -> None:
    make_acdc(tmp_path)
    (tmp_path / "patient001/patient001_frame12_gt.nii.gz").unlink()
    (tmp_path / "patient002/patient002_frame12.nii.gz").unlink()
    dataset = load_dataset(tmp_path)
    assert [(orphan.id, orphan.missing) for orphan in dataset.orphans] == [
        ("patient001_frame12", "label"),
        ("patient002_frame12", "image"),
    ]


# --- brats -------------------------------------------------------------------------------------------------


def test_brats_has_regions_and_finds_the_value_of_enhancing_tumour(tmp_path: Path) -> None:
    make_brats(tmp_path)
    dataset = load_dataset(tmp_path)
    assert dataset.channels == ("FLAIR", "T1", "T1ce", "T2")
    assert dataset.labels.classes == ("whole tumour", "tumour core", "enhancing tumour")
    assert dataset.labels.values == (0, 1, 2, 4)
    assert [case.patient for case in dataset.cases] == ["Brats18_X_1", "Brats18_X_2"]
    masks = dataset.labels.masks(dataset.labels.encode(np.array([0, 1, 2, 4], np.uint8)))
    assert masks.astype(int).tolist() == [[0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]]
    for path in tmp_path.rglob("*_seg.nii.gz"):
        truth(path, 1, 2, 3)
    assert load_dataset(tmp_path).labels.values == (0, 1, 2, 3)


def test_brats_of_2023_keeps_examinations_of_a_patient_together(tmp_path: Path) -> None:
    for name in ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001", "BraTS-GLI-00006-000"):
        for role in ("t1c", "t1n", "t2f", "t2w"):
            scan(tmp_path / name / f"{name}-{role}.nii")
        truth(tmp_path / name / f"{name}-seg.nii", 1, 2)
    dataset = load_dataset(tmp_path)
    assert [path.name[-7:-4] for path in dataset.cases[0].images] == ["t2f", "t1n", "t1c", "t2w"]
    assert len(dataset.cases) == 3
    assert {case.patient for case in dataset.cases} == {"BraTS-GLI-00005", "BraTS-GLI-00006"}
    assert dataset.labels.values == (0, 1, 2, 3)


def test_brats_cases_with_missing_files_are_orphans(tmp_path: Path) -> None:
    make_brats(tmp_path)
    for role in ("flair", "t1", "t1ce", "t2"):
        scan(tmp_path / f"HGG/C/C_{role}.nii.gz")
    make_brats(tmp_path / "more")
    for path in (tmp_path / "more").rglob("*.nii.gz"):
        path.rename(path.with_name(path.name.replace("Brats18_X", "Brats18_Y")))
    next(tmp_path.rglob("*Y_1_1_t1ce.nii.gz")).unlink()
    dataset = load_dataset(tmp_path)
    assert {(orphan.id, orphan.missing) for orphan in dataset.orphans} == {
        ("C", "label"),
        ("Brats18_Y_1_1", "T1ce"),
    }
    assert len(dataset.cases) == 3


def test_brats_without_any_label_is_a_test_set(tmp_path: Path) -> None:
    make_brats(tmp_path)
    for path in tmp_path.rglob("*_seg.nii.gz"):
        path.unlink()
    dataset = load_dataset(tmp_path)
    assert (len(dataset.cases), len(dataset.unlabelled), dataset.orphans) == (0, 2, ())
    assert any("No case is annotated" in remark for remark in dataset.remarks)


def test_the_brats_2020_label_with_a_foreign_name_belongs_to_its_folder(tmp_path: Path) -> None:
    make_brats(tmp_path)
    label = tmp_path / "HGG/Brats18_X_1_1/Brats18_X_1_1_seg.nii.gz"
    label.rename(label.with_name("W39_1998.09.19_Segm.nii.gz"))
    dataset = load_dataset(tmp_path)
    assert dataset.cases[0].label == label.with_name("W39_1998.09.19_Segm.nii.gz")
    assert not dataset.orphans


def make_four_channels(folder: Path, *values: int, name: str = "sub") -> None:
    for number in (1, 2):
        for role in ("flair", "t1", "t1ce", "t2"):
            scan(folder / f"{name}{number}/{name}{number}_{role}.nii.gz")
        truth(folder / f"{name}{number}/{name}{number}_seg.nii.gz", *values)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((1,), ("foreground",)),
        ((1, 2), ("label_1", "label_2")),
        ((2, 3, 7), ("label_2", "label_3", "label_7")),
    ],
)
def test_four_channels_of_another_disease_are_not_brats(
    values: tuple[int, ...], names: tuple[str, ...], tmp_path: Path
) -> None:
    make_four_channels(tmp_path, *values)
    dataset = load_dataset(tmp_path)
    assert dataset.channels == ("FLAIR", "T1", "T1ce", "T2")
    assert (dataset.labels.names, dataset.labels.regions) == (names, ())
    assert any("Neither names nor label values are those of BraTS" in remark for remark in dataset.remarks)


@pytest.mark.parametrize(
    ("values", "name", "folder"),
    [
        ((1, 2, 4), "sub", "."),
        ((1, 2, 3), "sub", "."),
        ((1, 2), "bRATS_", "."),
        ((1, 2), "sub", "BraTS2015"),
    ],
)
def test_brats_is_known_by_its_names_or_its_values(
    values: tuple[int, ...], name: str, folder: str, tmp_path: Path
) -> None:
    make_four_channels(tmp_path / folder, *values, name=name)
    for root in {tmp_path, tmp_path / folder}:
        assert load_dataset(root).labels.classes == ("whole tumour", "tumour core", "enhancing tumour")


def test_four_channels_without_name_and_label_can_still_be_predicted(tmp_path: Path) -> None:
    make_four_channels(tmp_path, 1)
    for path in tmp_path.rglob("*_seg.nii.gz"):
        path.unlink()
    dataset = load_dataset(tmp_path)
    assert (len(dataset.unlabelled), dataset.labels.regions) == (2, ())
    assert any("what labels mean is unknown" in remark for remark in dataset.remarks)


# --- png and pairs -----------------------------------------------------------------------------------------


def test_slices_of_a_volume_are_one_patient_and_masks_keep_255(tmp_path: Path) -> None:
    make_png(tmp_path)
    dataset = load_dataset(tmp_path)
    assert [case.patient for case in dataset.cases] == ["lung_001", "lung_001", "lung_002"]
    assert [(label.name, label.value) for label in dataset.labels.labels] == [("foreground", 255)]
    assert read_case(dataset.cases[0]).image.geometry.ndim == 2


def test_a_single_number_in_a_slice_name_is_the_volume(tmp_path: Path) -> None:
    for number in (1, 2):
        slice_of(tmp_path / "images" / f"vol_{number}.png", 5)
        slice_of(tmp_path / "masks" / f"vol_{number}.png", 1, 2)
    dataset = load_dataset(tmp_path)
    assert [case.patient for case in dataset.cases] == ["vol_1", "vol_2"]
    assert dataset.labels.names == ("label_1", "label_2")


@pytest.mark.parametrize(
    ("first", "second", "patient"),
    [
        ("lung_001_0042_image", "lung_001_0043_image", "lung_001"),
        ("Lung_001_0042_0000", "Lung_001_0043_0000", "Lung_001"),
        ("lung_001_slice_0000", "lung_001_slice_0001", "lung_001"),
        ("lung_001_0000", "lung_001_0001", "lung_001"),
        ("p_1_2_0000", "p_1_2_0001", "p_1_2"),
    ],
)
def test_slices_are_of_one_patient_whatever_their_names_end_in(
    first: str, second: str, patient: str, tmp_path: Path
) -> None:
    for name in (first, second):
        bare = name.removesuffix("_image")
        bare = bare.removesuffix("_0000") if first[-5:] == second[-5:] else bare
        slice_of(tmp_path / "images" / f"{name}.png", 5)
        slice_of(tmp_path / "masks" / f"{bare}_mask.png", 255)
    dataset = load_dataset(tmp_path)
    assert {case.patient for case in dataset.cases} == {patient}


def test_slices_without_a_partner_are_orphans(tmp_path: Path) -> None:
    make_png(tmp_path)
    slice_of(tmp_path / "images/lone_1.png", 3)
    slice_of(tmp_path / "labels/lost_1.png", 255)
    assert [(orphan.id, orphan.missing) for orphan in load_dataset(tmp_path).orphans] == [
        ("lone_1", "label"),
        ("lost_1", "image"),
    ]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/p1.nii.gz", "labels/p1.nii.gz"),
        ("img/p1.nii.gz", "gt/p1_gt.nii"),
        ("train/images/p1_0000.nii.gz", "train/segmentations/p1_seg.nii.gz"),
        ("a/images/p1_img.nii", "a/ground_truth/p1_mask.nii"),
        ("imagesTr/p1_image.nii.gz", "labelsTr/p1_label.nii.gz"),
    ],
)
def test_pairs_match_names_but_for_what_they_say_of_the_file(image: str, label: str, tmp_path: Path) -> None:
    scan(tmp_path / image)
    truth(tmp_path / label, 1)
    case = load_dataset(tmp_path, "pairs").cases[0]
    assert (case.images, case.label) == ((tmp_path / image,), tmp_path / label)


def test_pairs_that_could_match_twice_are_refused(tmp_path: Path) -> None:
    scan(tmp_path / "images/p1.nii.gz")
    truth(tmp_path / "labels/p1_seg.nii.gz", 1)
    truth(tmp_path / "labels/p1_mask.nii.gz", 1)
    with pytest.raises(DataError, match="several labels"):
        load_dataset(tmp_path, "pairs")


def test_label_values_are_found_in_all_files_but_the_damaged_ones(tmp_path: Path) -> None:
    make_pairs(tmp_path)
    truth(tmp_path / "Liver_masks/segmentation-2.nii", 5)
    scan(tmp_path / "CT/volume-3.nii")
    (tmp_path / "Liver_masks/segmentation-3.nii").write_bytes(b"damaged")
    dataset = load_dataset(tmp_path)
    assert dataset.labels.values == (0, 1, 2, 5)
    assert any("label_1 = 1, label_2 = 2, label_5 = 5" in remark for remark in dataset.remarks)


def test_labels_that_are_images_are_refused(tmp_path: Path) -> None:
    scan(tmp_path / "images/a.nii.gz")
    _save(tmp_path / "labels/a.nii.gz", np.arange(400, dtype=np.int16).reshape(20, 20, 1))
    with pytest.raises(DataError, match="over 254 different values"):
        load_dataset(tmp_path)


def test_labels_that_are_all_empty_are_told(tmp_path: Path) -> None:
    scan(tmp_path / "images/a.nii.gz")
    truth(tmp_path / "labels/a.nii.gz")
    with pytest.raises(DataError, match=r"All 1 label files of .* are empty"):
        load_dataset(tmp_path)


def test_a_name_twice_with_two_endings_is_refused(tmp_path: Path) -> None:
    make_msd(tmp_path)
    scan(tmp_path / "imagesTr/a.nii")
    with pytest.raises(DataError, match=r"a\.nii.* have the same name"):
        load_dataset(tmp_path)


# --- manifest ----------------------------------------------------------------------------------------------


def test_a_manifest_names_cases_patients_and_test_scans(tmp_path: Path) -> None:
    make_manifest(tmp_path)
    dataset = load_dataset(tmp_path)
    assert [(case.id, case.patient) for case in dataset.cases] == [("x", "p1")]
    assert [case.id for case in dataset.unlabelled] == ["y"]
    assert dataset.labels.values == (0, 7)
    assert load_dataset(tmp_path / "manifest.csv").cases == dataset.cases


def test_a_manifest_may_have_columns_for_channels_semicolons_and_partial_annotation(tmp_path: Path) -> None:
    for name in ("t2", "adc"):
        scan(tmp_path / f"{name}.nii.gz")
    truth(tmp_path / "seg.nii.gz", 1, 2)
    (tmp_path / "list.csv").write_text(
        "\ufeffID;Image_T2;Image_ADC;Label;Annotated;age\nc;t2.nii.gz;adc.nii.gz;seg.nii.gz;label_1|label_2;61\n",
        encoding="utf-8",
    )
    dataset = load_dataset(tmp_path / "list.csv")
    assert dataset.channels == ("T2", "ADC")
    assert dataset.cases[0].annotated == ("label_1", "label_2")
    assert dataset.cases[0].patient == "c"
    assert any("age" in remark for remark in dataset.remarks)


def test_a_json_manifest_declares_labels_regions_and_the_ignore_value(tmp_path: Path) -> None:
    scan(tmp_path / "a.nii.gz", channels=2)
    truth(tmp_path / "b.nii.gz", 1, 2, 9)
    manifest = {
        "name": "Mine",
        "channels": ["T1", "CT"],
        "labels": {"oedema": 1, "core": 2},
        "regions": {"whole": ["oedema", "core"], "core": ["core"]},
        "ignore": 9,
        "cases": [{"image": "a.nii.gz", "label": "b.nii.gz", "annotated": ["core"]}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    dataset = load_dataset(tmp_path)
    assert (dataset.name, dataset.channels, dataset.cases[0].id) == ("Mine", ("T1", "CT"), "a")
    assert (dataset.labels.classes, dataset.labels.ignore) == (("whole", "core"), 9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,image,label\n", "lists no case"),
        ("id,scan,label\nx,a.nii.gz,b.nii.gz\n", "no column 'image'"),
        ("id,image,label\nx,,b.nii.gz\n", "does not name all of its images"),
        ("id,image,label\n../x,a.nii.gz,b.nii.gz\n", "cannot name a file"),
        ("id,image,label\nx,a.nii.gz,\n", "names no label file"),
        ("id,image,image_T1,label\nx,a.nii.gz,a.nii.gz,b.nii.gz\n", "both 'image' and 'image_T1'"),
        ("id,image,label,annotated\nx,a.nii.gz,b.nii.gz,liver\n", "'liver' as an annotated label"),
        ("id,image,label\nx,a.nii.gz,b.nii.gz\nx,a.nii.gz,b.nii.gz\n", "Two cases are called 'x'"),
    ],
)
def test_a_wrong_manifest_is_explained(text: str, words: str, tmp_path: Path) -> None:
    scan(tmp_path / "a.nii.gz")
    truth(tmp_path / "b.nii.gz", 1)
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        load_dataset(tmp_path)


@pytest.mark.parametrize("annotated", [1, {"core": 1}, [1], True])
def test_an_annotated_that_is_no_list_of_names_is_explained(annotated: object, tmp_path: Path) -> None:
    scan(tmp_path / "a.nii.gz")
    truth(tmp_path / "b.nii.gz", 1)
    case = {"image": "a.nii.gz", "label": "b.nii.gz", "annotated": annotated}
    (tmp_path / "manifest.json").write_text(json.dumps({"labels": {"core": 1}, "cases": [case]}))
    with pytest.raises(DataError, match='as "annotated"; a list of names'):
        load_dataset(tmp_path)


@pytest.mark.parametrize("json_text", ["[1, 2]", '{"cases": {}}', '{"cases": [', '"text"'])
def test_a_wrong_json_manifest_is_explained(json_text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json_text)
    with pytest.raises(DataError, match=r"manifest\.json"):
        load_dataset(tmp_path)


# --- real scans --------------------------------------------------------------------------------------------


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
