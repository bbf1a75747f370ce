"""NRRD and MetaImage: the same voxels at the same places as SimpleITK and pynrrd read and write them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from image_files import ARRAY, RAW, grid_of, mha, nrrd_file
from scipy.spatial.transform import Rotation

from vesal.errors import DataError
from vesal.volume.geometry import Geometry
from vesal.volume.io import data_files, read_geometry, read_volume, write_volume
from vesal.volume.volume import Volume

BOTH = [".nrrd", ".mha"]


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


# --- channels ------------------------------------------------------------------------------------------


def test_the_fourth_axis_of_a_metaimage_becomes_the_channels(tmp_path):
    array = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    image = sitk.JoinSeries([itk_image(array[..., time][None], Geometry.from_spacing((2, 3, 4), (1, 2, 3)))
                             for time in range(5)])  # fmt: skip
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    volume = read_volume(tmp_path / "a.mha")
    np.testing.assert_array_equal(volume.array, np.moveaxis(array, -1, 0))
    assert volume.geometry.distance_mm(Geometry.from_spacing((2, 3, 4), (1, 2, 3))) < 1e-9


# --- ways to store -------------------------------------------------------------------------------------


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


def test_a_header_without_an_end_is_told_quickly(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"a:=b\n" * 10**6)
    (tmp_path / "a.mha").write_bytes(b"NDims = 3\n" + b"Comment = x\n" * 10**6)
    for suffix in BOTH:
        with pytest.raises(DataError, match="header"):
            read_volume(tmp_path / f"a{suffix}")
