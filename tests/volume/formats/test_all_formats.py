"""What every format holds to: round trips in space, whole numbers in labels, and failures that are told."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from image_files import picture, told
from scipy.spatial.transform import Rotation

from vesal.errors import DataError
from vesal.volume.geometry import Geometry
from vesal.volume.io import (
    FORMATS,
    SUFFIXES,
    read_geometry,
    read_label,
    read_volume,
    write_volume,
)
from vesal.volume.volume import Volume

WRITABLE = [suffix for suffix, form in FORMATS.items() if form.encode is not None]
IN_SPACE = [".nii.gz", ".nii", ".nrrd", ".mha"]
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def tilted(order: tuple[int, ...], signs: tuple[int, ...], tilt_deg: float) -> Geometry:
    """A grid of 3 x 4 x 5 voxels in one of the 48 orientations, tilted about an oblique axis."""
    matrix = np.zeros((3, 3))
    matrix[list(order), range(3)] = np.asarray(signs) * [0.7, 1.3, 3.1]
    tilt = Rotation.from_rotvec(np.deg2rad(tilt_deg) * np.array([0.4, 0.8, -0.2])).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = tilt @ matrix
    affine[:3, 3] = (-37.25, 12.5, 801.75)
    return Geometry((3, 4, 5), affine)


@pytest.mark.parametrize("suffix", IN_SPACE)
@pytest.mark.parametrize("tilt_deg", [0.0, 27.0])
def test_all_48_orientations_come_back_to_the_voxel(tmp_path, suffix, tilt_deg):
    array = np.random.default_rng(1).integers(-900, 900, (1, 3, 4, 5), dtype=np.int16)
    path = tmp_path / f"a{suffix}"
    for order, signs in ORIENTATIONS:
        geometry = tilted(order, signs, tilt_deg)
        write_volume(path, Volume(array, geometry))
        back = read_volume(path)
        np.testing.assert_array_equal(back.array, array)
        assert back.array.dtype == np.int16
        assert back.geometry.distance_mm(geometry) < 1e-4
        assert back.geometry.axis_codes == geometry.axis_codes
        assert np.array_equal(read_geometry(path).affine, back.geometry.affine)


@pytest.mark.parametrize("suffix", IN_SPACE)
def test_many_round_trips_do_not_drift(tmp_path, suffix):
    geometry = tilted((1, 2, 0), (1, -1, -1), 41.0)
    path = tmp_path / f"a{suffix}"
    volume = Volume(np.ones((1, 3, 4, 5), np.float32), geometry)
    for _ in range(10):
        write_volume(path, volume)
        volume = read_volume(path)
    assert volume.geometry.distance_mm(geometry) < 1e-4


@pytest.mark.parametrize("suffix", [*IN_SPACE, ".tif"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_every_type_of_number_is_kept(tmp_path, suffix, kind):
    dtype = np.dtype(kind)
    edge = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    array = np.array([edge.min, 0, 1, edge.max], dtype=dtype).reshape(1, 2, 2, 1)
    path = tmp_path / f"a{suffix}"
    write_volume(path, Volume(array, Geometry.from_spacing((2, 2, 1), (1, 1, 1))))
    back = read_volume(path)
    assert back.array.dtype == dtype
    np.testing.assert_array_equal(back.array, array)


@pytest.mark.parametrize("suffix", [*IN_SPACE, ".tif"])
@pytest.mark.parametrize("order", ["C", "F", "turned", "big endian"])
def test_the_order_of_an_array_in_memory_does_not_matter(tmp_path, suffix, order):
    array = np.random.default_rng(2).integers(0, 999, (1, 3, 4, 5)).astype(np.int32)
    stored = {
        "C": array,
        "F": np.asfortranarray(array),
        "turned": np.ascontiguousarray(array.transpose(0, 3, 1, 2)[:, ::-1]).transpose(0, 2, 3, 1)[..., ::-1],
        "big endian": array.astype(">i4"),
    }[order]
    path = tmp_path / f"a{suffix}"
    write_volume(path, Volume(stored, Geometry.from_spacing((3, 4, 5), (1, 1, 1))))
    np.testing.assert_array_equal(read_volume(path).array, array)


@pytest.mark.parametrize("suffix", [*IN_SPACE, ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 1)])
def test_channels_and_flat_images_keep_their_axes(tmp_path, suffix, channels, shape):
    array = np.random.default_rng(2).normal(size=(channels, *shape)).astype(np.float32)
    geometry = Geometry.from_spacing(shape, (0.7, 0.31, 2.0)[: len(shape)])
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif" and len(shape) == 3 and channels > 1:
        with pytest.raises(DataError, match="one channel"):
            write_volume(path, Volume(array, geometry))
        return
    write_volume(path, Volume(array, geometry))
    back = read_volume(path)
    np.testing.assert_array_equal(back.array, array)
    assert back.geometry.distance_mm(geometry) < 1e-5
    assert read_geometry(path).distance_mm(geometry) < 1e-5


@pytest.mark.parametrize("suffix", [*IN_SPACE, ".tif"])
def test_nan_and_infinity_in_an_image_are_kept(tmp_path, suffix):
    array = np.array([np.nan, np.inf, -np.inf, 1.0], dtype=np.float32).reshape(1, 2, 2, 1)
    write_volume(tmp_path / f"a{suffix}", Volume(array, Geometry.from_spacing((2, 2, 1), (1, 1, 1))))
    np.testing.assert_array_equal(read_volume(tmp_path / f"a{suffix}").array, array)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".png", ".tif"])
def test_what_is_read_can_be_written_into(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_volume(path, picture(suffix))
    array = read_volume(path).array
    array[...] = 1
    assert array.dtype.isnative


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".png", ".tif"])
def test_bytes_that_were_read_already_are_not_read_again(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_volume(path, picture(suffix))
    data = path.read_bytes()
    path.unlink()
    np.testing.assert_array_equal(read_volume(path, data).array, picture(suffix).array)
    np.testing.assert_array_equal(read_label(path, data).array, picture(suffix).array[0])


# --- failures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [None, b"", b"\0", b"this is no image " * 100])
def test_a_file_that_is_absent_empty_or_something_else_is_told(tmp_path, suffix, content):
    path = tmp_path / f"scan{suffix}"
    if content is not None:
        path.write_bytes(content)
    for read in (read_volume, read_label, read_geometry):
        with pytest.raises(DataError) as error:
            read(path)
        told(error, path)


@pytest.mark.parametrize("suffix", WRITABLE)
def test_a_file_cut_off_anywhere_is_told(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    write_volume(path, picture(suffix))
    data = path.read_bytes()
    for share in (0.05, 0.3, 0.6, 0.8):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError) as error:
            read_volume(path)
        told(error, path)


@pytest.mark.parametrize("suffix", WRITABLE)
def test_a_write_that_fails_leaves_the_old_file_as_it_was(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    write_volume(path, picture(suffix))
    before = path.read_bytes()
    complex_numbers = Volume(np.ones((1, 6, 5), np.complex64), Geometry.from_spacing((6, 5), (1, 1)))
    with pytest.raises(DataError) as error:
        write_volume(path, complex_numbers)
    told(error, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", WRITABLE)
def test_writing_the_same_gives_the_same_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        write_volume(tmp_path / f"{name}{suffix}", picture(suffix))
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_header_that_promises_terabytes_allocates_nothing(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(_giant(suffix))
    tracemalloc.start()
    with pytest.raises(DataError, match="promises"):
        read_volume(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


def _giant(suffix: str) -> bytes:
    """A file whose header promises 30000^3 voxels, and some bytes."""
    if suffix == ".mha":
        head = b"NDims = 3\nDimSize = 30000 30000 30000\nElementType = MET_DOUBLE\nElementDataFile = LOCAL\n"
        return head + bytes(999)
    if suffix == ".nrrd":
        sizes = b"dimension: 3\nsizes: 30000 30000 30000\n"
        return b"NRRD0004\ntype: double\n" + sizes + b"endian: little\nencoding: raw\n\n" + bytes(999)
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype(np.float64)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"] = 352
    data = header.binaryblock + bytes(999)
    return gzip.compress(data) if suffix == ".nii.gz" else data
