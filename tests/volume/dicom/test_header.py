"""Whatever goes wrong in a damaged object is one sentence with its name."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from dicom_examples import random_series, write_series

from vesal.errors import DataError, UsageError
from vesal.volume.dicom import extra
from vesal.volume.dicom.header import decoding, read_header, read_object
from vesal.volume.dicom.source import open_source

pytest.importorskip("pydicom", reason="the extra dicom is not installed")


def test_headers_come_without_pixels_and_objects_with(tmp_path: Path) -> None:
    path = write_series(tmp_path, random_series())[0]
    header = read_header(open_source(path), path.name)
    assert header is not None
    assert "PixelData" not in header
    assert "PixelData" in read_object(open_source(path), path.name)


def test_other_files_are_none_and_no_objects(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert read_header(open_source(tmp_path), "a.txt") is None
    with pytest.raises(DataError, match=r"a\.txt is no DICOM object"):
        read_object(open_source(tmp_path), "a.txt")


def test_any_error_of_a_decoder_is_told_once_and_ours_are_left(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.dcm is a damaged DICOM object \(KeyError\)"), decoding("a.dcm"):
        raise KeyError
    with pytest.raises(DataError, match="mine"), decoding("a.dcm"):
        raise DataError("mine")
    with warnings.catch_warnings(record=True) as caught, decoding("a.dcm"):
        warnings.warn("a value against the rules", stacklevel=1)
    assert caught == []


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(extra, "import_module", absent)
    with pytest.raises(UsageError, match=r"DICOM needs pydicom; pip install 'vesal\[dicom\]'"):
        extra.needed("pydicom.pixels")


def test_a_deflated_data_set_is_not_inflated_to_far_more_than_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pydicom

    path = write_series(tmp_path, random_series())[0]
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    header.add_new(0x7FE10010, "OB", bytes(1 << 22))
    header.save_as(path, enforce_file_format=True)
    found = read_header(open_source(path), path.name)
    assert found is not None
    assert found.Rows == header.Rows
    monkeypatch.setattr("vesal.volume.dicom.header._HARMLESS", 1 << 20)
    with pytest.raises(DataError, match="far more than its size"):
        read_header(open_source(path), path.name)
