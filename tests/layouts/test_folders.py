"""Two folders whose files match by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from layout_examples import (
    make_png,
    scan,
    slice_of,
    truth,
)

from vesal.data.case import read_case
from vesal.errors import DataError
from vesal.layouts.registry import load_dataset


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


@pytest.mark.parametrize(
    ("names", "suggested"),
    [
        ([f"site2_{number:04d}" for number in range(4)], True),
        ([f"{year}_{number}" for year in (2018, 2019) for number in range(3)], True),
        ([f"vol_{volume}_{number}" for volume in range(5) for number in range(2)], False),
        (["vol_1_slice_1", "vol_1_slice_2"], False),
    ],
    ids=["site", "years", "volumes", "slices"],
)
def test_names_that_make_a_whole_set_few_patients_suggest_the_patient_column(
    names: list[str], suggested: bool, tmp_path: Path
) -> None:
    for name in names:
        slice_of(tmp_path / "images" / f"{name}.png", 5)
        slice_of(tmp_path / "masks" / f"{name}.png", 255)
    remarks = " ".join(load_dataset(tmp_path).remarks)
    assert ("manifest.csv with the columns id, image, label and patient" in remarks) is suggested


def test_the_training_part_of_folders_that_are_split_below_is_read_and_the_others_named(
    tmp_path: Path,
) -> None:
    """As YOLO has them: images/train and labels/train, images/val and labels/val."""
    for part in ("train", "val"):
        for name in ("a", "b"):
            slice_of(tmp_path / "images" / part / f"{part}{name}.png", 5)
            slice_of(tmp_path / "labels" / part / f"{part}{name}.png", 1)
    dataset = load_dataset(tmp_path)
    assert (dataset.layout, [case.id for case in dataset.cases]) == ("pairs", ["traina", "trainb"])
    assert "Left out are the other pairs of folders: images/val." in dataset.remarks


def test_folders_of_patients_below_images_and_labels_are_all_read(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        for name in ("slice_01", "slice_02"):
            slice_of(tmp_path / "images" / patient / f"{name}.png", 5)
            slice_of(tmp_path / "masks" / patient / f"{name}.png", 1)
    dataset = load_dataset(tmp_path)
    assert [(case.id, case.patient) for case in dataset.cases] == [
        ("p1_slice_01", "p1"),
        ("p1_slice_02", "p1"),
        ("p2_slice_01", "p2"),
        ("p2_slice_02", "p2"),
    ]
    assert dataset.cases[0].label == tmp_path / "masks/p1/slice_01.png"
    assert any("The 2 folders p1, p2 count as patients" in remark for remark in dataset.remarks)


def test_folders_of_patients_with_images_and_masks_are_all_read(tmp_path: Path) -> None:
    for patient in ("p1", "p2", "p3"):
        for name in ("01", "02"):
            slice_of(tmp_path / patient / "images" / f"{name}.png", 5)
            slice_of(tmp_path / patient / "masks" / f"{name}.png", 1)
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "pairs"
    assert [case.id for case in dataset.cases] == ["p1_01", "p1_02", "p2_01", "p2_02", "p3_01", "p3_02"]
    assert {case.patient for case in dataset.cases} == {"p1", "p2", "p3"}
    assert any("The 3 folders p1, p2, p3 count as patients" in remark for remark in dataset.remarks)


@pytest.mark.parametrize(
    ("first", "second", "same"), [("1st_manual", "mask", False), ("labels_a", "labels_b", True)]
)
def test_images_beside_two_folders_of_labels_are_refused_with_both(
    first: str, second: str, same: bool, tmp_path: Path
) -> None:
    """As DRIVE, whose truth is 1st_manual/21_manual1.gif and whose mask/ is the field of view."""
    for number in (21, 22):
        scan(tmp_path / f"images/{number}_training.nii.gz")
        truth(tmp_path / second / f"{number}_training_mask.nii.gz", 1)
        truth(tmp_path / first / (f"{number}_training.nii.gz" if same else f"{number}_manual1.nii.gz"), 1)
    with pytest.raises(DataError, match=r"images may be .*/ or .*/; move one") as caught:
        load_dataset(tmp_path)
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_folders_of_labels_that_have_their_own_images_do_not_compete(tmp_path: Path) -> None:
    for part in ("train", "test"):
        scan(tmp_path / f"{part}_images/{part}1.nii.gz")
        truth(tmp_path / f"{part}_labels/{part}1.nii.gz", 1)
    dataset = load_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["train1"]
    assert "Left out are the other pairs of folders: test_images." in dataset.remarks


def test_slices_with_labels_and_masks_beside_them_are_not_guessed_between(tmp_path: Path) -> None:
    for name in "ab":
        slice_of(tmp_path / f"images/{name}.png", 3, 4)
        for folder in ("labels", "masks"):
            slice_of(tmp_path / f"{folder}/{name}.png", 1)
    with pytest.raises(DataError, match=r"may be labels/ or masks/"):
        load_dataset(tmp_path)
