"""Data sets are found below the folders that platforms and archives put around them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import DataError, UsageError
from vesal.layouts.discover import choose, find_datasets


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_data_sets_are_found_below_other_folders(tmp_path: Path) -> None:
    for case in ("BraTS_001", "BraTS_002"):
        _touch(
            tmp_path,
            *(f"brats/v1/HGG/{case}/{case}_{role}.nii.gz" for role in ("flair", "t1", "t1ce", "t2", "seg")),
        )
    _touch(
        tmp_path,
        "acdc/database/training/patient001/patient001_frame01.nii.gz",
        "acdc/database/training/patient001/patient001_frame01_gt.nii.gz",
    )
    (tmp_path / "heart" / "Task02").mkdir(parents=True)
    (tmp_path / "heart" / "Task02" / "dataset.json").write_text('{"training": []}')
    _touch(tmp_path, "notes/images/readme.txt")
    found = find_datasets(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "acdc/database/training",
        "brats/v1/HGG",
        "heart/Task02",
    ]
    assert choose(found, tmp_path, "Task02") == tmp_path / "heart" / "Task02"
    assert choose(found, tmp_path, "brats") == tmp_path / "brats" / "v1" / "HGG"
    with pytest.raises(UsageError, match=r"3 data sets; name one of acdc"):
        choose(found, tmp_path)
    with pytest.raises(UsageError, match=r"no data sets called 'lung'"):
        choose(found, tmp_path, "lung")
    with pytest.raises(DataError, match=r"no data set of a known layout"):
        choose(find_datasets(tmp_path / "notes"), tmp_path / "notes")
