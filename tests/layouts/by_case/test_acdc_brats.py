"""ACDC and BraTS: which files are of one patient, and which labels they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_examples import (
    make_acdc,
    make_brats,
    scan,
    truth,
)

from vesal.errors import DataError
from vesal.layouts.registry import load_dataset


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


def test_an_acdc_file_in_the_folder_of_another_patient_gets_no_label_of_that_one(tmp_path: Path) -> None:
    make_acdc(tmp_path)
    strange = tmp_path / "patient002/patient002_frame01.nii.gz"
    strange.rename(strange.with_name("patient003_frame01.nii.gz"))
    dataset = load_dataset(tmp_path)
    assert [case.id for case in dataset.cases if case.patient == "patient002"] == ["patient002_frame12"]
    assert sorted((orphan.id, orphan.missing) for orphan in dataset.orphans) == [
        ("patient002_frame01", "image"),
        ("patient003_frame01", "label"),
    ]


def test_two_acdc_files_of_one_frame_are_refused(tmp_path: Path) -> None:
    make_acdc(tmp_path)
    truth(tmp_path / "patient001/patient001_frame1_gt.nii.gz", 1)
    with pytest.raises(DataError, match=r"frame01_gt.nii.gz and .*frame1_gt.nii.gz are of one frame"):
        load_dataset(tmp_path, "acdc")


@pytest.mark.parametrize(("old", "new", "what"), [("seg", "segm", "the label"), ("t1ce", "t1gd", "T1ce")])
def test_two_brats_files_of_one_role_are_refused(old: str, new: str, what: str, tmp_path: Path) -> None:
    make_brats(tmp_path)
    there = next(tmp_path.rglob(f"*_{old}.nii.gz"))
    truth(there.with_name(there.name.replace(f"_{old}.", f"_{new}.")), 1)
    with pytest.raises(DataError, match=f"_{old}.nii.gz and .*_{new}.nii.gz are both {what} of one case"):
        load_dataset(tmp_path)


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


def test_brats_files_that_were_unpacked_as_folders_of_their_names_stand_for_the_scan_in_them(
    tmp_path: Path,
) -> None:
    """As BraTS 2020 and 2021 lie on Kaggle: BraTS2021_00000_flair.nii/00000057_brain_flair.nii."""
    for number in (1, 2):
        case = f"BraTS2021_0000{number}"
        for role in ("flair", "t1", "t1ce", "t2"):
            scan(tmp_path / case / f"{case}_{role}.nii" / f"0000{number}_brain_{role}.nii")
        truth(tmp_path / case / f"{case}_seg.nii" / f"0000{number}_final_seg.nii", 1, 2, 4)
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "brats"
    assert [case.id for case in dataset.cases] == ["BraTS2021_00001", "BraTS2021_00002"]
    assert dataset.cases[0].images[0].name == "00001_brain_flair.nii"
    assert dataset.cases[0].label == tmp_path / "BraTS2021_00001/BraTS2021_00001_seg.nii/00001_final_seg.nii"
    assert not dataset.orphans
