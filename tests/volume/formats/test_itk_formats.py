"""NRRD and MetaImage: the same voxels at the same places as SimpleITK and pynrrd read and write them."""

from __future__ import annotations

import bz2
import gzip
import time
import zlib
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from vesal.errors import DataError
from vesal.volume.formats import raw_bytes as payload
from vesal.volume.geometry import Geometry
from vesal.volume.io import data_files, read_geometry, read_volume, write_volume
from vesal.volume.volume import Volume

BOTH = [".nrrd", ".mha"]
MHA = {
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "1 2 3",
    "ElementSpacing": "1 1 2",
    "DimSize": "2 3 4",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}
NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "2 3 4",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}
ARRAY = np.arange(24, dtype="<i2").reshape(2, 3, 4)
RAW = ARRAY.tobytes(order="F")
LPS = Geometry.from_lps((2, 3, 4), (1, 1, 2), (1, 2, 3), np.eye(3))


def mha(path: Path, body: bytes = RAW, **changes: str | None) -> Path:
    fields = {key: value for key, value in {**MHA, **changes}.items() if value is not None}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    path.write_bytes("".join(f"{key} = {value}\n" for key, value in fields.items()).encode() + body)
    return path


def nrrd_file(path: Path, body: bytes = RAW, **changes: str | None) -> Path:
    changed = {key.replace("_", " "): value for key, value in changes.items()}
    fields = {key: value for key, value in {**NRRD, **changed}.items() if value is not None}
    lines = "".join(f"{key}: {value}\n" for key, value in fields.items())
    path.write_bytes(f"NRRD0004\n{lines}\n".encode() + body)
    return path


def oblique(seed: int, ndim: int = 3) -> Geometry:
    generator = np.random.default_rng(seed)
    if ndim == 2:
        angle = generator.uniform(0, 6)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return Geometry.from_lps((4, 5), (0.5, 0.7), (3.0, -4.0), turn)
    mirror = np.diag([1.0, 1.0, (-1.0) ** seed])
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(rng=generator).as_matrix() @ mirror * generator.uniform(0.3, 4, 3)
    affine[:3, 3] = generator.uniform(-900, 900, 3)
    return Geometry((4, 5, 6), affine)


def grid_of(image: sitk.Image) -> Geometry:
    return Geometry.from_lps(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def itk_image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """SimpleITK's image of an array (C, *S)."""
    whole = (
        array[0].T
        if array.shape[0] == 1
        else np.moveaxis(array, 0, -1).transpose(*reversed(range(geometry.ndim)), geometry.ndim)
    )
    image = sitk.GetImageFromArray(np.ascontiguousarray(whole), isVector=array.shape[0] > 1)
    spacing, origin, direction = geometry.to_lps()
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction.ravel().tolist())
    return image


def itk_array(image: sitk.Image) -> np.ndarray:
    """(C, *S) of SimpleITK's image."""
    whole = sitk.GetArrayFromImage(image)
    return whole.T[None] if image.GetNumberOfComponentsPerPixel() == 1 else whole.T


# --- agreement with SimpleITK --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", BOTH)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("ndim", "channels"), [(3, 1), (3, 3), (2, 1), (2, 2)])
def test_simpleitk_reads_what_is_written(tmp_path, suffix, seed, ndim, channels):
    geometry = oblique(seed, ndim)
    array = np.random.default_rng(seed).normal(size=(channels, *geometry.shape)).astype(np.float32)
    write_volume(tmp_path / f"a{suffix}", Volume(array, geometry))
    image = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(itk_array(image), array)
    assert grid_of(image).distance_mm(geometry) < 1e-6


@pytest.mark.parametrize("suffix", [*BOTH, ".nhdr", ".mhd"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("ndim", "channels"), [(3, 1), (3, 3), (2, 1)])
def test_what_simpleitk_writes_is_read(tmp_path, suffix, compressed, ndim, channels):
    geometry = oblique(7, ndim)
    array = np.random.default_rng(7).integers(-999, 999, (channels, *geometry.shape), dtype=np.int16)
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(itk_image(array, geometry), str(path), useCompression=compressed)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == np.int16
    assert volume.geometry.distance_mm(geometry) < 1e-5
    assert np.array_equal(read_geometry(path).affine, volume.geometry.affine)


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


# --- channels ------------------------------------------------------------------------------------------


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


def test_the_fourth_axis_of_a_metaimage_becomes_the_channels(tmp_path):
    array = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    image = sitk.JoinSeries([itk_image(array[..., time][None], Geometry.from_spacing((2, 3, 4), (1, 2, 3)))
                             for time in range(5)])  # fmt: skip
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    volume = read_volume(tmp_path / "a.mha")
    np.testing.assert_array_equal(volume.array, np.moveaxis(array, -1, 0))
    assert volume.geometry.distance_mm(Geometry.from_spacing((2, 3, 4), (1, 2, 3))) < 1e-9


# --- ways to store -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({}, RAW),
        ({"CompressedData": "True"}, zlib.compress(RAW)),
        ({"CompressedData": "True"}, gzip.compress(RAW)),
        ({"BinaryDataByteOrderMSB": "True"}, ARRAY.astype(">i2").tobytes(order="F")),
        ({"BinaryData": "False"}, b" ".join(str(value).encode() for value in ARRAY.ravel(order="F"))),
        ({"HeaderSize": "-1"}, b"junk" + RAW),
        ({"HeaderSize": "4"}, b"junk" + RAW),
        ({"Offset": None, "Position": "1 2 3"}, RAW),
    ],
)
def test_every_way_of_metaimage_is_read(tmp_path, changes, body):
    volume = read_volume(mha(tmp_path / "a.mha", body, **changes))
    np.testing.assert_array_equal(volume.array[0], ARRAY)
    assert volume.geometry.close_to(LPS)


def test_byte_and_line_skip_and_big_endian_of_nrrd_are_obeyed(tmp_path):
    path = nrrd_file(tmp_path / "a.nrrd", b"a line\nxx" + RAW, line_skip="1", byte_skip="2")
    np.testing.assert_array_equal(read_volume(path).array[0], ARRAY)
    path = nrrd_file(tmp_path / "a.nrrd", b"anything" + RAW, byte_skip="-1")
    np.testing.assert_array_equal(read_volume(path).array[0], ARRAY)
    path = nrrd_file(tmp_path / "a.nrrd", ARRAY.astype(">i2").tobytes(order="F"), endian="big")
    np.testing.assert_array_equal(read_volume(path).array[0], ARRAY)


def test_windows_line_ends_are_read(tmp_path):
    data = mha(tmp_path / "a.mha", b"").read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "a.mha").write_bytes(data + RAW)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mha").array[0], ARRAY)
    data = nrrd_file(tmp_path / "a.nrrd", b"").read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "a.nrrd").write_bytes(data + RAW)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array[0], ARRAY)


# --- hostile headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../secret.raw", "/etc/passwd", "sub/a.raw", "..", "", "LIST", "a%03d.raw 1 3 1"]
)
def test_voxels_in_another_folder_are_never_read(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.raw").write_bytes(RAW)
    header = mha(tmp_path / "in" / "a.mhd", b"", ElementDataFile=name)
    with pytest.raises(DataError, match="own folder"):
        read_volume(header)
    if name:
        header = nrrd_file(tmp_path / "in" / "a.nhdr", b"", data_file=name)
        with pytest.raises(DataError, match="own folder"):
            read_volume(header)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_the_second_file_of_a_header_is_told(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix in (".mha", ".mhd"):
        alone, header = mha(path), mha(tmp_path / f"b{suffix}", b"", ElementDataFile="b.raw")
    else:
        alone, header = nrrd_file(path), nrrd_file(tmp_path / f"b{suffix}", b"", data_file="b.raw")
    assert data_files(alone) == (alone,)
    assert data_files(header) == data_files(header, header.read_bytes()) == (header, tmp_path / "b.raw")


def test_a_missing_data_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no file .*a\.raw"):
        read_volume(mha(tmp_path / "a.mhd", b"", ElementDataFile="a.raw"))
    with pytest.raises(DataError, match=r"no file .*a\.raw"):
        read_volume(nrrd_file(tmp_path / "a.nhdr", b"", data_file="a.raw"))


@pytest.mark.parametrize(
    "changes",
    [
        {"DimSize": None},
        {"DimSize": "2 3"},
        {"DimSize": "2 3 0"},
        {"DimSize": "2 3 -4"},
        {"DimSize": "2 3 x"},
        {"DimSize": "9999999999999 9999999999999 9999999999"},
        {"DimSize": "2 3 5"},
        {"NDims": "7"},
        {"ElementType": "MET_STRING"},
        {"ElementNumberOfChannels": "-1"},
        {"ElementNumberOfChannels": "1000000"},
        {"ElementSpacing": "0 1 1"},
        {"ElementSpacing": "nan 1 1"},
        {"ElementSpacing": "1 1"},
        {"Offset": "inf 0 0"},
        {"TransformMatrix": "1 0 0 1 0 0 0 0 1"},
        {"TransformMatrix": "1 0 0 1"},
        {"HeaderSize": "many"},
        {"CompressedData": "True"},
        {"BinaryData": "False"},
    ],
)
def test_a_hostile_metaimage_header_is_told(tmp_path, changes):
    path = mha(tmp_path / "a.mha", **changes)
    with pytest.raises(DataError, match=r"a\.mha"):
        read_volume(path)


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
    monkeypatch.setattr(payload, "available_memory", lambda: 80_000_000)
    path = nrrd_file(tmp_path / "a.nrrd", pack(bytes(90_000_000)), encoding=encoding, sizes="300 300 500")
    with pytest.raises(DataError, match=r"a\.nrrd would unpack to 0\.09 GB where 0\.08 GB .*\.$"):
        read_volume(path)


def test_a_header_without_an_end_is_told_quickly(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"a:=b\n" * 10**6)
    (tmp_path / "a.mha").write_bytes(b"NDims = 3\n" + b"Comment = x\n" * 10**6)
    for suffix in BOTH:
        with pytest.raises(DataError, match="header"):
            read_volume(tmp_path / f"a{suffix}")
