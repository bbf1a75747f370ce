"""A scan knows its slices' objects, in the order of its grid."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicom_examples import enhanced_object, random_series, slice_objects, write_objects, write_series

from vesal.errors import DataError
from vesal.volume.dicom.dicom_scan import scans
from vesal.volume.dicom.series import read_study
from vesal.volume.dicom.series_file import scan_of
from vesal.volume.dicom.source import open_source

pytest.importorskip("pydicom", reason="the extra dicom is not installed")


def test_slices_are_the_objects_in_the_order_of_the_grid(tmp_path: Path) -> None:
    found = scan_of(write_series(tmp_path, random_series())[0]).slices()
    assert [one and str(one.header.SOPInstanceUID) for one in found] == [f"1.2.3.4.{n}" for n in range(1, 6)]
    assert [one and one.frame for one in found] == [None] * 5


def test_frames_of_one_object_are_numbered_from_one(tmp_path: Path) -> None:
    (path,) = write_objects(tmp_path, [enhanced_object(random_series())])
    assert [one and one.frame for one in scan_of(path).slices()] == [1, 2, 3, 4, 5]


def test_why_slices_make_no_volume_is_told_with_the_folder(tmp_path: Path) -> None:
    write_objects(tmp_path, slice_objects(random_series())[:1])
    study = read_study(open_source(tmp_path))
    with pytest.raises(DataError, match=rf"{tmp_path}: The series has a single slice"):
        scans(study, study.series[0])


def test_a_slice_that_went_away_is_told(tmp_path: Path) -> None:
    paths = write_series(tmp_path, random_series())
    scan = scan_of(paths[0])
    paths[3].unlink()
    with pytest.raises(DataError, match=paths[3].name):
        scan.slices()
