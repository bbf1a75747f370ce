"""TotalSegmentator's data set: s0001/ct.nii.gz with s0001/segmentations/ORGAN.nii.gz."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from layout_examples import scan, truth

from vesal.audit.checks import check_dataset
from vesal.data.case import files_of, read_case
from vesal.data.fingerprint import fingerprint
from vesal.errors import DataError
from vesal.layouts.registry import load_dataset
from vesal.workflow.convert import convert_run
from vesal.workflow.requests.convert_request import ConvertRequest

ORGANS = ("kidney_left", "kidney_right", "liver")


def make(root: Path, cases: int = 3) -> Path:
    for number in range(cases):
        scan(root / f"s000{number}/ct.nii.gz")
        for name in ORGANS:
            truth(root / f"s000{number}/segmentations/{name}.nii.gz", 1)
    return root


def test_a_folder_of_masks_a_case_is_read_as_one_label_map_with_the_names_of_the_organs(
    tmp_path: Path,
) -> None:
    dataset = load_dataset(make(tmp_path))
    assert (dataset.layout, dataset.channels) == ("cases", ("CT",))
    assert dataset.labels.by_name == {"kidney_left": 1, "kidney_right": 2, "liver": 3}
    assert dataset.labels.pairs == (("kidney_left", "kidney_right"),)
    assert [case.patient for case in dataset.cases] == ["s0000", "s0001", "s0002"]
    raw = read_case(dataset.cases[0])
    assert raw.label is not None
    assert np.unique(raw.label.array).tolist() == [0, 3]  # all three masks are the same voxel
    assert len(files_of(dataset.cases[0])) == 4
    truth(tmp_path / "s0000/segmentations/liver.nii.gz", 0, 1)
    assert read_case(dataset.cases[0]).digest != raw.digest


@pytest.mark.parametrize("target", ["nnunet", "png"])
def test_a_conversion_tells_what_overlaps_cost_also_when_it_is_resumed(target: str, tmp_path: Path) -> None:
    for resume in (False, True):
        request = ConvertRequest(
            data=make(tmp_path / "data", 2), out=tmp_path / "out", to=target, resume=resume
        )
        told = [one for one in convert_run(request).remarks if "share voxels" in one]
        assert told == [
            "Masks share voxels, which were given to the later name: kidney_left and kidney_right: 2 voxels, "
            "kidney_right and liver: 2 voxels."
        ]


def test_overlaps_are_found_and_named(tmp_path: Path) -> None:
    dataset = load_dataset(make(tmp_path))
    found = [one for one in check_dataset(dataset, fingerprint(dataset)) if one.kind == "overlapping-masks"]
    assert [(one.severity, one.cases) for one in found] == [("warning", ("s0000", "s0001", "s0002"))]
    assert "kidney_left and kidney_right: 1 voxel" in found[0].message


def test_a_mask_that_is_not_there_is_not_annotated_and_the_test_split_is_kept_apart(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "s0001/segmentations/liver.nii.gz").unlink()
    (tmp_path / "meta.csv").write_text("image_id;split\ns0000;train\ns0002;test\n")
    dataset = load_dataset(tmp_path)
    assert [(case.id, case.annotated) for case in dataset.cases] == [
        ("s0000", None),
        ("s0001", ("kidney_left", "kidney_right")),
    ]
    assert [(case.id, case.label) for case in dataset.unlabelled] == [("s0002", None)]
    assert any("which count as not annotated there: s0001" in remark for remark in dataset.remarks)


def test_the_only_mask_of_a_case_is_a_folder_of_masks_as_the_others_are(tmp_path: Path) -> None:
    make(tmp_path)
    for name in ORGANS[:2]:
        (tmp_path / f"s0001/segmentations/{name}.nii.gz").unlink()
    dataset = load_dataset(tmp_path)
    assert dataset.labels.names == ORGANS
    assert [case.annotated for case in dataset.cases] == [None, ("liver",), None]
    raw = read_case(dataset.cases[1])
    assert raw.label is not None
    assert np.unique(raw.label.array).tolist() == [0, 3]


def test_where_labels_are_declared_a_case_may_have_a_label_map_in_place_of_masks(tmp_path: Path) -> None:
    make(tmp_path)
    for name in ORGANS:
        (tmp_path / f"s0001/segmentations/{name}.nii.gz").unlink()
    truth(tmp_path / "s0001/segmentations/all.nii.gz", 1, 2)
    declared = {"background": 0, **{name: value for value, name in enumerate(ORGANS, start=1)}}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": declared}))
    dataset = load_dataset(tmp_path)
    assert [case.annotated for case in dataset.cases] == [None, None, None]
    raw = read_case(dataset.cases[1])
    assert raw.label is not None
    assert np.unique(raw.label.array).tolist() == [0, 1, 2]


def test_the_test_split_is_kept_apart_whatever_the_encoding_of_its_table(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "meta.csv").write_bytes(
        "image_id;institute;split\ns0000;Köln;train\ns0002;Köln;test\n".encode("latin-1")
    )
    assert [case.id for case in load_dataset(tmp_path).unlabelled] == ["s0002"]


def test_labels_that_are_chosen_leave_the_other_masks_out(tmp_path: Path) -> None:
    dataset = load_dataset(make(tmp_path)).decided({"kidney_right": 5}, None)
    raw = read_case(dataset.cases[0])
    assert raw.label is not None
    assert np.unique(raw.label.array).tolist() == [0, 5]


def test_labels_that_are_chosen_keep_what_was_drawn_by_name_in_masks_and_by_value_elsewhere(
    tmp_path: Path,
) -> None:
    make(tmp_path)
    (tmp_path / "s0001/segmentations/liver.nii.gz").unlink()
    dataset = load_dataset(tmp_path)
    assert [case.annotated for case in dataset.decided({"kidney_left": 3}, None).cases] == [None, None, None]
    assert [case.annotated for case in dataset.decided({"liver": 1, "kidney_left": 2}, None).cases] == [
        None,
        ("kidney_left",),
        None,
    ]
    plain = [case.model_copy(update={"segments": None}) for case in dataset.cases]
    renamed = dataset.model_copy(update={"cases": tuple(plain)}).decided({"left": 1, "leber": 3}, None)
    assert [case.annotated for case in renamed.cases] == [None, ("left",), None]


def test_a_conversion_writes_one_label_map_a_case(tmp_path: Path) -> None:
    result = convert_run(ConvertRequest(data=make(tmp_path / "data"), out=tmp_path / "out", to="nnunet"))
    assert not result.failures
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels.by_name == {"kidney_left": 1, "kidney_right": 2, "liver": 3}
    assert all(case.label is not None and case.label.is_file() for case in dataset.cases)


def test_a_single_file_in_the_folder_is_an_ordinary_label(tmp_path: Path) -> None:
    for number in (1, 2):
        scan(tmp_path / f"p{number}/image.nii.gz")
        truth(tmp_path / f"p{number}/labels/label.nii.gz", 1, 2)
    dataset = load_dataset(tmp_path)
    assert dataset.labels.names == ("label_1", "label_2")
    assert dataset.cases[0].label == tmp_path / "p1/labels/label.nii.gz"


def test_masks_that_are_called_otherwise_in_each_case_are_no_organs(tmp_path: Path) -> None:
    for number in range(3):
        scan(tmp_path / f"p{number}/image.nii.gz")
        for name in ("a", "b"):
            truth(tmp_path / f"p{number}/masks/{name}{number}.nii.gz", 1)
    with pytest.raises(
        DataError, match=r"hold 6 names \(a0, a1, a2 and 3 more\), which are not the same labels"
    ):
        load_dataset(tmp_path)


def test_two_folders_of_labels_in_a_case_are_refused_with_both(tmp_path: Path) -> None:
    make(tmp_path)
    truth(tmp_path / "s0001/masks/liver.nii.gz", 1)
    with pytest.raises(DataError, match=r"s0001 holds several folders of labels \(masks, segmentations\)"):
        load_dataset(tmp_path)
