"""Stored values become those of the modality, in every transfer syntax, and gaps are filled from their neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_examples import random_series, slice_objects, write_objects, write_series

from vesal.errors import DataError
from vesal.volume.dicom.dicom_scan import scans
from vesal.volume.dicom.series import read_study
from vesal.volume.dicom.series_file import read, scan_of
from vesal.volume.dicom.source import open_source

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")


@pytest.mark.parametrize(
    "syntax",
    ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"],
    ids=["RLE", "JPEG-LS", "JPEG 2000"],
)
def test_what_is_compressed_without_loss_is_read_as_it_was(syntax: str, tmp_path: Path) -> None:
    drawn = random_series(shape=(64, 48, 3), intercept=-1024.0)
    objects = slice_objects(drawn)
    for one in objects:
        try:
            one.compress(syntax)
        except (RuntimeError, ValueError) as error:
            pytest.skip(f"no encoder here: {error}")
    volume = read(write_objects(tmp_path, objects)[0])
    assert np.array_equal(volume.array[0], drawn.values)


@pytest.mark.parametrize("little", [True, False], ids=["implicit", "big endian"])
def test_other_orders_of_bytes_are_read(little: bool, tmp_path: Path) -> None:
    drawn = random_series()
    for number, one in enumerate(slice_objects(drawn)):
        one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2" if little else "1.2.840.10008.1.2.2"
        if not little:
            one.PixelData = np.frombuffer(one.PixelData, "<i2").astype(">i2").tobytes()
        pydicom.dcmwrite(
            tmp_path / f"{number}", one, implicit_vr=little, little_endian=little, force_encoding=True
        )
    assert np.array_equal(read(tmp_path / "0").array[0], drawn.values)


def test_headers_that_promise_terabytes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    objects = slice_objects(random_series())
    for one in objects:
        one.Rows, one.Columns = 65535, 65535
    with pytest.raises(DataError, match=r"promise 65535 x 65535 x 5 pixels in"):
        read(write_objects(tmp_path, objects)[0])


def test_slices_with_their_own_slope_are_rescaled_one_by_one(tmp_path: Path) -> None:
    drawn = random_series(modality="PT")
    objects = slice_objects(drawn)
    for number, one in enumerate(objects):
        one.RescaleSlope = 0.5 + number
    found = read(write_objects(tmp_path, objects)[0]).array[0]
    assert np.allclose(found, drawn.array * (0.5 + np.arange(5)), rtol=1e-6)


def test_a_missing_slice_is_the_mean_of_its_neighbours_where_that_is_asked_for(tmp_path: Path) -> None:
    drawn = random_series(slope=0.5)
    paths = write_series(tmp_path, drawn)
    paths[2].unlink()
    study = read_study(open_source(tmp_path))
    (scan,) = scans(study, study.series[0], fill=True)
    volume = scan.read().array[0]
    assert np.allclose(volume[:, :, 2], (drawn.values[:, :, 1] + drawn.values[:, :, 3]) / 2)
    assert np.array_equal(volume[:, :, 3], drawn.values[:, :, 3])
    assert scan.slices()[2] is None
    assert scan_of(paths[0], fill=True).stack.missing == 1


@pytest.mark.parametrize("slope", [100_000.0, 3e9])
def test_values_that_whole_numbers_of_32_bits_do_not_hold_are_fractions(slope: float, tmp_path: Path) -> None:
    drawn = random_series(slope=slope)
    volume = read(write_series(tmp_path, drawn)[0])
    assert volume.array.dtype == np.float32
    assert np.allclose(volume.array[0], drawn.array * slope)
