"""NRRD: spaces, channels, encodings and hostile headers."""

from __future__ import annotations

import bz2
import gzip
import time

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from image_files import ARRAY, LPS, RAW, grid_of, nrrd_file

from vesal.errors import DataError
from vesal.volume.formats import raw_bytes
from vesal.volume.io import read_geometry, read_volume


@pytest.mark.parametrize(
    ("space", "world"),
    [
        ("left-posterior-superior", "LPS"),
        ("LPS", "LPS"),
        ("right-anterior-superior", "RAS"),
        ("RAS", "RAS"),
        ("left-anterior-superior", "LAS"),
    ],
)
def test_every_space_of_nrrd_lies_where_simpleitk_has_it(tmp_path, space, world):
    path = nrrd_file(tmp_path / "a.nrrd", space=space)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0], ARRAY)
    assert volume.geometry.axis_codes == world
    assert grid_of(sitk.ReadImage(str(path))).distance_mm(volume.geometry) < 1e-9


def test_a_space_that_is_no_patients_is_taken_as_itk_takes_it(tmp_path):
    path = nrrd_file(tmp_path / "a.nrrd", space="scanner-xyz")
    assert read_geometry(path).distance_mm(grid_of(sitk.ReadImage(str(path)))) < 1e-9
    unnamed = nrrd_file(tmp_path / "b.nrrd", space=None, space_dimension="3")
    assert read_geometry(unnamed).distance_mm(LPS) < 1e-9


def test_spacings_alone_give_an_upright_grid(tmp_path):
    plain = {"space": None, "space_directions": None, "space_origin": None}
    path = nrrd_file(tmp_path / "a.nrrd", spacings="0.5 0.75 nan", **plain)
    assert read_geometry(path).spacing_mm == (0.5, 0.75, 1.0)
    assert read_geometry(path).axis_codes == "LPS"


@pytest.mark.parametrize("centerings", [None, "node cell ???"])
def test_an_origin_that_older_files_state_axis_by_axis_is_where_simpleitk_has_it(tmp_path, centerings):
    plain = {"space": None, "space_directions": None, "space_origin": None, "spacings": "0.5 0.75 3"}
    path = nrrd_file(tmp_path / "a.nrrd", axis_mins="5 -6 7", centerings=centerings, **plain)
    assert read_geometry(path).distance_mm(grid_of(sitk.ReadImage(str(path)))) < 1e-9
    unknown = nrrd_file(tmp_path / "b.nrrd", axis_mins="5 nan 7", **plain)
    assert not read_geometry(unknown).affine[:3, 3].any()


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_the_axis_without_a_direction_becomes_the_channels(tmp_path, axis):
    array = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    directions = np.insert(np.diag([1.0, 2.0, 3.0]), axis, np.nan, axis=0)
    kinds = ["domain"] * 3
    kinds.insert(axis, "list")
    header = {"space": "left-posterior-superior", "space directions": directions, "kinds": kinds}
    nrrd.write(str(tmp_path / "a.nrrd"), np.moveaxis(array, 0, axis), header)
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.array, array)
    assert volume.geometry.spacing_mm == (1.0, 2.0, 3.0)


def test_the_kind_says_which_axis_holds_channels_where_no_direction_does(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    nrrd.write(str(tmp_path / "a.nrrd"), array, {"kinds": ["RGB-color", "domain", "domain"]})
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array, array)


def test_two_axes_without_a_direction_are_refused(tmp_path):
    header = {"kinds": ["vector", "list", "domain", "domain"]}
    nrrd.write(str(tmp_path / "a.nrrd"), np.zeros((2, 3, 4, 5)), header)
    with pytest.raises(DataError, match="2 axes in space and 2 others"):
        read_volume(tmp_path / "a.nrrd")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(RAW)),
        ("gz", gzip.compress(RAW)),
        ("bzip2", bz2.compress(RAW)),
        ("ascii", b" ".join(str(value).encode() for value in ARRAY.ravel(order="F"))),
        ("raw", RAW),
    ],
)
def test_every_encoding_of_nrrd_is_read(tmp_path, encoding, body):
    volume = read_volume(nrrd_file(tmp_path / "a.nrrd", body, encoding=encoding))
    np.testing.assert_array_equal(volume.array[0], ARRAY)
    assert volume.geometry.close_to(LPS)


def test_byte_and_line_skip_and_big_endian_of_nrrd_are_obeyed(tmp_path):
    path = nrrd_file(tmp_path / "a.nrrd", b"a line\nxx" + RAW, line_skip="1", byte_skip="2")
    np.testing.assert_array_equal(read_volume(path).array[0], ARRAY)
    path = nrrd_file(tmp_path / "a.nrrd", b"anything" + RAW, byte_skip="-1")
    np.testing.assert_array_equal(read_volume(path).array[0], ARRAY)
    path = nrrd_file(tmp_path / "a.nrrd", ARRAY.astype(">i2").tobytes(order="F"), endian="big")
    np.testing.assert_array_equal(read_volume(path).array[0], ARRAY)


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": None},
        {"sizes": "2 3"},
        {"sizes": "2 3 0"},
        {"sizes": "2 3 x"},
        {"sizes": "99999999999999999999 3 4"},
        {"sizes": "2 3 5"},
        {"dimension": "4"},
        {"type": "block"},
        {"type": None},
        {"endian": None},
        {"encoding": "hex"},
        {"encoding": "gzip"},
        {"encoding": "bzip2"},
        {"space_directions": "(1,0,0) (1,0,0) (0,0,2)"},
        {"space_directions": "(1,0) (0,1) (0,2)"},
        {"space_directions": "none none (0,0,2)"},
        {"space_origin": "(1,2)"},
        {"byte_skip": "-2"},
        {"byte_skip": "999999999999999"},
        {"line_skip": "99"},
    ],
)
def test_a_hostile_nrrd_header_is_told(tmp_path, changes):
    path = nrrd_file(tmp_path / "a.nrrd", **changes)
    with pytest.raises(DataError, match=r"a\.nrrd"):
        read_volume(path)


def test_a_header_that_skips_a_billion_lines_is_told_quickly(tmp_path):
    path = nrrd_file(tmp_path / "a.nrrd", line_skip=str(1 << 30))
    began = time.process_time()
    with pytest.raises(DataError, match="promises"):
        read_volume(path)
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(("encoding", "pack"), [("bzip2", bz2.compress), ("gzip", gzip.compress)])
def test_more_than_the_memory_is_not_unpacked(tmp_path, monkeypatch, encoding, pack):
    monkeypatch.setattr(raw_bytes, "available_memory", lambda: 80_000_000)
    path = nrrd_file(tmp_path / "a.nrrd", pack(bytes(90_000_000)), encoding=encoding, sizes="300 300 500")
    with pytest.raises(DataError, match=r"a\.nrrd would unpack to 0\.09 GB where 0\.08 GB .*\.$"):
        read_volume(path)
