"""Labels as whole numbers, and formats chosen by the ending of a name."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from image_files import picture, told

from vesal.errors import DataError, UsageError
from vesal.volume.geometry import Geometry
from vesal.volume.io import (
    FORMATS,
    SUFFIXES,
    is_image,
    read_channels,
    read_label,
    read_volume,
    strip_suffix,
    write_label,
    write_volume,
)
from vesal.volume.volume import LabelMap, Volume

WRITABLE = [suffix for suffix, form in FORMATS.items() if form.encode is not None]
IN_SPACE = [".nii.gz", ".nii", ".nrrd", ".mha"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("values", "dtype"), [((0, 70000), "u4"), ((-5, 7), "i2"), ((0, 1), "i8"), ((0, 255), "u1")]
)
def test_label_values_and_types_are_kept(tmp_path, suffix, values, dtype):
    array = np.resize(np.array(values, dtype=dtype), (3, 4, 5))
    label = LabelMap(array, Geometry.from_spacing((3, 4, 5), (1, 2, 3)))
    write_label(tmp_path / f"a{suffix}", label)
    back = read_label(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(back.array, array)
    assert back.array.dtype == np.dtype(dtype)
    assert back.geometry.close_to(label.geometry)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("suffix", [*IN_SPACE, ".png", ".mgz"])
def test_channels_are_counted_from_the_header(tmp_path, suffix, count):
    path = tmp_path / f"a{suffix}"
    shape = (4, 5) if suffix == ".png" else (4, 5, 6)
    if suffix == ".mgz":
        array = np.zeros((*shape, count)[: 3 + (count > 1)], np.float32)
        nib.save(nib.MGHImage(array, np.eye(4)), path)
    else:
        array = np.zeros((count, *shape), np.uint8)
        write_volume(path, Volume(array, Geometry.from_spacing(shape, (1.0,) * len(shape))))
    assert read_channels(path) == read_volume(path).channels == count


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".tif"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.0, 4.0), "u1"),
        ((0.0, 300.0), "u2"),
        ((-3.0, 2.0), "i1"),
        ((-1.0, 200.0), "i2"),
        ((0.0, 1e9), "u4"),
    ],
)
def test_whole_floats_become_the_smallest_integers(tmp_path, suffix, values, expected):
    array = np.resize(np.array(values, dtype=np.float64), (1, 3, 4, 5))
    write_volume(tmp_path / f"a{suffix}", Volume(array, Geometry.from_spacing((3, 4, 5), (1, 2, 3))))
    back = read_label(tmp_path / f"a{suffix}").array
    assert back.dtype == np.dtype(expected)
    np.testing.assert_array_equal(back, array[0])


@pytest.mark.parametrize(
    ("value", "named"), [(0.5, "0.5"), (np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e30, "1e+30")]
)
def test_a_label_that_is_no_whole_number_is_named(tmp_path, value, named):
    array = np.zeros((1, 3, 4, 5), dtype=np.float32)
    array[0, 1, 2, 3] = value
    path = tmp_path / "mask.nii.gz"
    write_volume(path, Volume(array, Geometry.from_spacing((3, 4, 5), (1, 2, 3))))
    with pytest.raises(DataError) as error:
        read_label(path)
    told(error, path)
    assert named in str(error.value)


def test_a_label_of_several_channels_is_refused_unless_they_are_equal(tmp_path):
    geometry = Geometry.from_spacing((3, 4, 5), (1, 2, 3))
    one = np.random.default_rng(0).integers(0, 3, (3, 4, 5), dtype=np.uint8)
    path = tmp_path / "mask.nii.gz"
    write_volume(path, Volume(np.stack([one, one]), geometry))
    np.testing.assert_array_equal(read_label(path).array, one)
    write_volume(path, Volume(np.stack([one, one + 1]), geometry))
    with pytest.raises(DataError, match="2 channels"):
        read_label(path)


def test_endings_are_known_in_any_case(tmp_path):
    assert SUFFIXES[0] == ".nii.gz"
    assert is_image("A.NII.GZ")
    assert is_image(Path("x/b.Png"))
    assert not is_image("notes.txt")
    assert not is_image(".nii.gz")
    assert strip_suffix(tmp_path / "Case.01.NII.gz") == "Case.01"
    assert strip_suffix("a.nii") == "a"
    write_volume(tmp_path / "A.NII.GZ", picture(".nii.gz"))
    assert read_volume(tmp_path / "A.NII.GZ").array.shape == (1, 6, 5, 4)


def test_an_unknown_ending_lists_the_known_ones(tmp_path):
    path = tmp_path / "scan.txt"
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"\.nii\.gz, \.nii, \.nrrd") as error:
        read_volume(path)
    told(error, path)
    with pytest.raises(UsageError, match=r"\.png, \.tif"):
        write_volume(path, picture(".png"))


@pytest.mark.parametrize("suffix", sorted(set(SUFFIXES) - set(WRITABLE)))
def test_formats_that_lose_values_or_need_two_files_are_not_written(tmp_path, suffix):
    with pytest.raises(UsageError, match=r"\.nii\.gz"):
        write_volume(tmp_path / f"a{suffix}", picture(".png"))
    assert not list(tmp_path.iterdir())
