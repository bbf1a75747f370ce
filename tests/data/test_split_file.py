"""A person's own split, in the forms that other programs write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vesal.data.dataset import Case
from vesal.data.folds import Folds
from vesal.data.split_file import read_split
from vesal.errors import UsageError, VesalError


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def cases(*names: str) -> list[Case]:
    return [
        Case(
            id=name,
            images=(Path(f"imagesTr/{name}_0000.nii.gz"), Path(f"imagesTr/{name}_0001.nii.gz")),
            label=Path(f"labelsTr/{name}.nii.gz"),
            patient=name,
        )
        for name in names
    ]


def test_folds_of_nnunet_are_taken_where_each_trains_on_what_the_others_validate_on(tmp_path: Path) -> None:
    parts = [
        {"train": ["c", "b"], "val": ["a"]},
        {"train": ["a", "c"], "val": ["b"]},
        {"train": ["a", "b"], "val": ["c"]},
    ]
    assert read_split(write(tmp_path / "s.json", parts)).parts == (("a",), ("b",), ("c",))
    assert read_split(write(tmp_path / "s.json", [{"val": ["a"]}, {"val": ["b"]}])).count == 2


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (["b", "a"], "fold 0 trains on a, but validates on it too"),
        (["b", "c", "x"], "fold 0 trains on x, but no other fold validates on it"),
        (["b"], "fold 0 does not train on c, which another fold validates on"),
        ([], "fold 0 does not train on b"),
    ],
)
def test_folds_of_nnunet_that_train_on_something_else_are_refused(
    train: list[str], words: str, tmp_path: Path
) -> None:
    parts = [{"train": train, "val": ["a"]}, {"train": ["a"], "val": ["b", "c"]}]
    with pytest.raises(VesalError, match=words):
        read_split(write(tmp_path / "s.json", parts))


@pytest.mark.parametrize(
    "value",
    [
        {"train": ["b", "c"], "val": ["a"]},
        [{"train": ["c", "b"], "val": ["a"]}],
        {"training": ["c", "b"], "validation": ["a"]},
        {
            "training": [
                {"image": "imagesTr/b_0000.nii.gz", "label": "labelsTr/b.nii.gz"},
                {"image": "x/c_0000.nii.gz"},
            ],
            "validation": [{"image": ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"]}],
        },
        {"train": ["labelsTr\\b.nii.gz", "c.nii.gz"], "val": ["./imagesTr/a_0001.nii.gz"]},
    ],
)
def test_a_single_pair_and_a_datalist_of_monai_are_one_fold(value: Any, tmp_path: Path) -> None:
    folds = read_split(write(tmp_path / "s.json", value), cases("a", "b", "c"))
    assert folds.count == 1
    assert folds.validation(0) == ("a",)
    assert folds.train(0) == ("b", "c")
    folds.save(tmp_path / "again.json")
    assert Folds.load(tmp_path / "again.json") == folds


def test_a_case_that_the_one_fold_does_not_name_is_not_trained_on(tmp_path: Path) -> None:
    folds = read_split(write(tmp_path / "s.json", {"train": ["b"], "val": ["a"]}), cases("a", "b", "c"))
    assert folds.train(0) == ("b",)


def test_the_fold_numbers_of_a_monai_datalist_are_its_folds(tmp_path: Path) -> None:
    entries = [
        {"image": f"imagesTr/{name}_0000.nii.gz", "fold": number}
        for name, number in zip("abcd", (1, 0, 1, 0), strict=True)
    ]
    folds = read_split(write(tmp_path / "s.json", {"training": entries}), cases(*"abcd"))
    assert folds.parts == (("b", "d"), ("a", "c"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"train": ["a"]}, "no list 'val' of the cases to hold out; it has 'train'"),
        ({"val": ["a"]}, "no list 'train'"),
        ([{"train": ["a"], "val": ["b"]}, {"train": ["b"]}], "fold 1 has no list 'val'"),
        ({"training": [{"image": "a.nii.gz"}]}, "no list 'val'"),
        ({"train": "a", "val": ["b"]}, "'train' of the file is no list"),
        ({"train": ["a"], "val": []}, "fold 0 holds out no case"),
        ({"train": ["a", "b"], "val": ["b"]}, "trains on b, but validates on it too"),
        ([{"val": ["a"]}, {"val": ["a"]}], "case a is in two folds"),
        ([], "neither a list of folds nor"),
        ({}, "no list 'val'"),
        ("{", "not valid JSON"),
    ],
)
def test_what_is_no_split_names_what_is_missing_and_nobody_is_told_to_delete_it(
    value: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(VesalError, match=words) as caught:
        read_split(write(tmp_path / "s.json", value))
    assert "delete" not in str(caught.value)


def test_two_names_of_one_case_on_both_sides_are_found(tmp_path: Path) -> None:
    with pytest.raises(VesalError, match="trains on a, but validates on it too"):
        read_split(
            write(tmp_path / "s.json", {"train": ["a", "b"], "val": ["a_0000.nii.gz"]}), cases("a", "b")
        )


def test_a_number_in_place_of_a_file_is_answered_with_the_setting_that_takes_it() -> None:
    with pytest.raises(UsageError, match=r"--folds takes a file .* --set folds=3"):
        read_split("3")
