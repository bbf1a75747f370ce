"""Which files of a layout have the place of a case."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.convert.targets import TARGETS


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("target", TARGETS)
def test_in_a_new_folder_no_case_has_files(target: str, tmp_path: Path) -> None:
    assert TARGETS[target].files_there(tmp_path / "out", {"a"}) == []


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("msd", ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz")),
        ("nnunet", ("imagesTr/a_0000.nii.gz", "imagesTs/a_0001.nii.gz", "labelsTr/a.nii.gz")),
        ("nifti", ("images/a.nii.gz", "labels/a.nii.gz")),
        ("png", ("images/a.png", "images/a_slice_0003.png", "images/a_slice_0003_0001.png", "labels/a.png")),
    ],
)
def test_the_files_of_a_case_are_found_and_those_of_others_are_not(
    target: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    folder = names[0].split("/")[0]
    touched(tmp_path, *names, f"{folder}/ab.nii.gz", f"{folder}/b_0000.nii.gz", "a.nii.gz", "notes/a.nii.gz")
    found = TARGETS[target].files_there(tmp_path, {"a"})
    assert sorted(path.relative_to(tmp_path).as_posix() for path in found) == sorted(names)
