"""NIfTI in parts is what NIfTI as a whole is."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesal.errors import DataError
from vesal.volume.formats.nifti_slabs import write
from vesal.volume.geometry import Geometry
from vesal.volume.io import open_volume, read_volume, write_volume
from vesal.volume.volume import Volume

Limited = Callable[[], AbstractContextManager[None]]
SHAPE = (9, 8, 7)


def save(path: Path, array: np.ndarray, slope: float | None = None, kind: type = nib.Nifti1Image) -> Path:
    image = kind(array, np.diag([-1.0, 2.0, 3.0, 1.0]))
    if slope is not None:
        image.header.set_slope_inter(slope, -7.0)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, ">i2"])
@pytest.mark.parametrize("slope", [None, 0.25])
def test_voxels_on_the_disk_are_those_in_memory(
    tmp_path: Path, all_on_disk: Limited, ending: str, dtype: str, slope: float | None
) -> None:
    array = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.dtype(dtype).newbyteorder("="))
    path = save(tmp_path / f"scan{ending}", array, slope)
    if dtype == ">i2":
        header = nib.Nifti1Header(endianness=">")
        header.set_data_shape(SHAPE)
        header.set_data_dtype(np.int16)
        nib.save(nib.Nifti1Image(array, np.eye(4), header), path)
    whole = read_volume(path)
    with all_on_disk():
        found = open_volume(path)
        np.testing.assert_array_equal(found.array, whole.array)
    assert found.array.dtype.newbyteorder("=") == whole.array.dtype
    assert found.geometry.close_to(whole.geometry)


@pytest.mark.parametrize("shape", [(9, 8, 7, 3), (9, 8), (9, 8, 1, 1, 3)])
def test_channels_and_pictures_have_the_same_axes(
    tmp_path: Path, all_on_disk: Limited, shape: tuple[int, ...]
) -> None:
    path = save(tmp_path / "scan.nii.gz", np.random.default_rng(0).normal(0, 1, shape).astype(np.float32))
    whole = read_volume(path)
    with all_on_disk():
        np.testing.assert_array_equal(open_volume(path).array, whole.array)


def test_members_of_gzip_and_other_formats_are_read_too(tmp_path: Path, all_on_disk: Limited) -> None:
    plain = save(tmp_path / "plain.nii", np.arange(504, dtype=np.int16).reshape(SHAPE)).read_bytes()
    path = tmp_path / "members.nii.gz"
    path.write_bytes(gzip.compress(plain[:500]) + gzip.compress(plain[500:]) + b"trailing")
    other = tmp_path / "scan.nrrd"
    write_volume(other, read_volume(path))
    with all_on_disk():
        for file in (path, other):
            np.testing.assert_array_equal(open_volume(file).array, read_volume(file).array)


def test_what_is_damaged_is_named_as_for_a_whole_file(tmp_path: Path, all_on_disk: Limited) -> None:
    data = save(tmp_path / "scan.nii", np.random.default_rng(0).normal(0, 1, SHAPE)).read_bytes()
    packed = gzip.compress(data)
    (tmp_path / "short.nii").write_bytes(data[:-9])
    (tmp_path / "short.nii.gz").write_bytes(gzip.compress(data[:-9]))
    (tmp_path / "cut.nii.gz").write_bytes(packed[:-700])
    (tmp_path / "bad.nii.gz").write_bytes(packed[:2000] + bytes(300) + packed[2300:])
    huge = nib.Nifti1Header()
    huge.set_data_shape((30000, 30000, 30000))
    huge.set_data_dtype(np.int16)
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(huge.binaryblock + bytes(1000)))
    (tmp_path / "none.nii.gz").write_bytes(gzip.compress(b"none"))
    reasons = {
        "short.nii": "copy or download",
        "short.nii.gz": "promises .* and holds",
        "cut.nii.gz": "cut off|damaged",
        "bad.nii.gz": "damaged|cut off|holds",
        "huge.nii.gz": "cannot hold",
        "none.nii.gz": "not a NIfTI",
    }
    with all_on_disk():
        for name, reason in reasons.items():
            with pytest.raises(DataError, match=reason):
                open_volume(tmp_path / name)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(1, *SHAPE), (3, *SHAPE), (1, 9, 8), (2, 9, 8)])
def test_a_file_written_slab_by_slab_holds_the_same_bytes(
    tmp_path: Path, all_on_disk: Limited, packed: bool, shape: tuple[int, ...]
) -> None:
    array = np.random.default_rng(0).integers(0, 5, shape).astype(np.uint8)
    volume = Volume(array, Geometry.from_spacing(shape[1:], (1.0, 2.0, 3.0)[: len(shape) - 1]))
    ending = ".nii.gz" if packed else ".nii"
    write_volume(tmp_path / f"whole{ending}", volume)
    with all_on_disk():
        write_volume(tmp_path / f"parts{ending}", volume)
    unpack = gzip.decompress if packed else bytes
    assert unpack((tmp_path / f"parts{ending}").read_bytes()) == unpack(
        (tmp_path / f"whole{ending}").read_bytes()
    )


def test_a_type_that_nifti_lacks_is_refused(tmp_path: Path) -> None:
    volume = Volume(np.zeros((1, 2, 2), np.complex64), Geometry.from_spacing((2, 2), (1, 1)))
    with pytest.raises(DataError, match="no place for type complex64"):
        write(tmp_path / "scan.nii", volume, packed=False)
