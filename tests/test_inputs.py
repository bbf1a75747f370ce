"""What people name on the command line -> cases to predict."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.workflow.inputs import cases_to_predict


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.nii.gz").touch()
    return folder


def test_numbered_files_are_the_channels_of_a_case_where_they_are_as_many_as_the_model_has(
    tmp_path: Path,
) -> None:
    folder = touch(tmp_path / "scans", "a_0000", "a_0001", "b_0000", "b_0001")
    cases = cases_to_predict([folder], channels=2)
    assert [case.id for case in cases] == ["a", "b"]
    assert [path.name for path in cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]


def test_scans_whose_names_only_end_in_digits_stay_apart(tmp_path: Path) -> None:
    names = [f"patient_{number:04}" for number in range(1, 13)]
    cases = cases_to_predict([touch(tmp_path / "scans", *names)], channels=1)
    assert [case.id for case in cases] == names
    cases = cases_to_predict([tmp_path / "scans"], channels=4)
    assert [case.id for case in cases] == names


def test_a_single_channel_is_named_without_its_number(tmp_path: Path) -> None:
    assert [case.id for case in cases_to_predict([touch(tmp_path / "s", "a_0000")], channels=1)] == ["a"]


def test_an_incomplete_case_does_not_hold_up_the_others(tmp_path: Path) -> None:
    folder = touch(tmp_path / "scans", "a_0000", "a_0001", "b_0000")
    assert [case.id for case in cases_to_predict([folder], channels=2)] == ["a", "b_0000"]


def test_two_scans_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = touch(tmp_path / "one", "a"), touch(tmp_path / "other", "a")
    with pytest.raises(UsageError, match="named a"):
        cases_to_predict([one, other], channels=1)


def test_an_absent_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        cases_to_predict([tmp_path / "nowhere"], channels=1)
