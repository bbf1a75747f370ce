"""NIfTI: what is read is what nibabel and SimpleITK read, and what is written they read the same."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from vesal.errors import DataError
from vesal.volume.formats.nifti_header import read_header
from vesal.volume.geometry import Geometry
from vesal.volume.io import read_channels, read_geometry, read_label, read_volume, write_label, write_volume
from vesal.volume.volume import LabelMap, Volume


def oblique(seed: int, shape: tuple[int, ...] = (4, 5, 6)) -> Geometry:
    generator = np.random.default_rng(seed)
    mirror = np.diag([1.0, 1.0, (-1.0) ** seed])
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(rng=generator).as_matrix() @ mirror * generator.uniform(0.3, 4, 3)
    affine[:3, 3] = generator.uniform(-900, 900, 3)
    return Geometry(shape, affine)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None, **header: object) -> Path:
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


# --- agreement -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_oblique_grids_are_the_same_to_nibabel_and_simpleitk(tmp_path, seed):
    geometry = oblique(seed)
    array = np.random.default_rng(seed).integers(-1000, 1000, (1, 4, 5, 6), dtype=np.int16)
    path = tmp_path / "a.nii.gz"
    write_volume(path, Volume(array, geometry))

    image = nib.load(path)
    assert np.array_equal(image.affine, geometry.affine.astype(np.float32))
    assert np.array_equal(np.asanyarray(image.dataobj), array[0])
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)

    itk = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(itk).T, array[0])
    grid = Geometry.from_lps(itk.GetSize(), itk.GetSpacing(), itk.GetOrigin(), itk.GetDirection())
    assert grid.distance_mm(geometry) < 1e-3

    back = read_volume(path)
    assert np.array_equal(back.geometry.affine, geometry.affine.astype(np.float32))
    assert np.array_equal(back.array, array)


@pytest.mark.parametrize("seed", range(4))
def test_what_simpleitk_writes_is_read_on_its_grid(tmp_path, seed):
    spacing, origin, direction = oblique(seed).to_lps()
    array = np.random.default_rng(seed).normal(size=(4, 5, 6)).astype(np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction.ravel().tolist())
    path = tmp_path / "a.nii.gz"
    sitk.WriteImage(image, str(path))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0], array)
    assert volume.geometry.distance_mm(oblique(seed)) < 1e-3


def test_an_affine_far_from_right_angles_goes_into_the_sform_alone(tmp_path):
    affine = np.array([[1.0, 0.3, 0, 5], [0, 1, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])
    path = tmp_path / "a.nii.gz"
    write_volume(path, Volume(np.zeros((1, 2, 3, 4), np.uint8), Geometry((2, 3, 4), affine)))
    header = nib.load(path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    assert np.array_equal(read_geometry(path).affine, affine.astype(np.float32))


@pytest.mark.parametrize(("sform_code", "qform_code"), [(0, 0), (1, 0), (0, 1), (2, 1), (1, 2), (4, 0)])
def test_the_affine_is_the_one_that_nibabel_takes(tmp_path, sform_code, qform_code):
    header = nib.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    header.set_sform(oblique(0).affine, sform_code)
    header.set_qform(oblique(1).affine, qform_code)
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None, header), path)
    image = nib.load(path)
    assert int(image.header["sform_code"]) == sform_code
    assert np.array_equal(read_geometry(path).affine, image.affine)
    assert np.array_equal(read_volume(path).geometry.affine, image.affine)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_both_versions_and_byte_orders_are_read(tmp_path, order, kind, dtype):
    array = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype(dtype)
    header = kind.header_class(endianness=order)
    header.set_data_dtype(dtype)
    path = tmp_path / "a.nii.gz"
    nib.save(kind(array, oblique(2).affine, header), path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0], array)
    assert volume.array.dtype == np.dtype(dtype)
    assert volume.array.dtype.isnative
    assert read_geometry(path).distance_mm(oblique(2)) < 1e-3


def test_an_axis_too_long_for_version_1_is_written_as_version_2(tmp_path):
    array = np.zeros((1, 40000, 1, 2), dtype=np.uint8)
    array[0, 39999, 0, 1] = 3
    path = tmp_path / "a.nii.gz"
    write_volume(path, Volume(array, Geometry.from_spacing((40000, 1, 2), (1, 1, 1))))
    assert isinstance(nib.load(path), nib.Nifti2Image)
    np.testing.assert_array_equal(read_volume(path).array, array)


# --- values --------------------------------------------------------------------------------------------


def test_integers_without_a_scale_stay_integers(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    assert read_volume(save(tmp_path / "a.nii.gz", array)).array.dtype == np.int16
    assert read_volume(save(tmp_path / "b.nii", array.astype(np.uint8))).array.dtype == np.uint8


@pytest.mark.parametrize(
    ("slope", "inter", "dtype", "expected"),
    [
        (8.0, 0.0, np.uint8, np.float32),
        (1.0, -1024.0, np.int16, np.float32),
        (0.5, 3.25, np.int32, np.float64),
        (2.0, 1.0, np.float32, np.float32),
    ],
)
def test_slope_and_intercept_of_the_header_are_applied(tmp_path, slope, inter, dtype, expected):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    image = nib.Nifti1Image(array, np.eye(4))
    path = tmp_path / "a.nii.gz"
    nib.save(image, path)
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[112:120] = np.array([slope, inter], dtype="<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(data)))
    volume = read_volume(path)
    assert volume.array.dtype == expected
    np.testing.assert_allclose(volume.array[0], nib.load(path).get_fdata())
    np.testing.assert_allclose(volume.array[0], array * slope + inter)


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_a_slope_that_means_nothing_is_no_scale(tmp_path, slope):
    path = save(tmp_path / "a.nii", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([slope, 0.0], dtype="<f4").tobytes()
    path.write_bytes(data)
    assert read_volume(path).array.dtype == np.int16


def test_a_scaled_label_is_read_through_its_scale(tmp_path):
    """Slope 1/255 in single precision: the labels are 0 and 1.0000001."""
    path = save(tmp_path / "a.nii", np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1))
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([1 / 255, 0.0], dtype="<f4").tobytes()
    path.write_bytes(data)
    label = read_label(path)
    assert label.array.dtype == np.uint8
    assert label.array.ravel().tolist() == [0, 1]


def test_booleans_and_half_floats_are_written_as_the_nearest_type(tmp_path):
    geometry = Geometry.from_spacing((2, 1, 1), (1, 1, 1))
    path = tmp_path / "a.nii.gz"
    write_volume(path, Volume(np.array([True, False]).reshape(1, 2, 1, 1), geometry))
    assert read_volume(path).array.dtype == np.uint8
    write_volume(path, Volume(np.array([0.5, 2], np.float16).reshape(1, 2, 1, 1), geometry))
    assert read_volume(path).array.dtype == np.float32


def test_complex_numbers_are_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.ones((2, 3, 4), np.complex64))
    with pytest.raises(DataError, match="complex64"):
        read_volume(path)


def test_colours_become_three_channels(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 3), dtype=np.uint8)
    record = np.ascontiguousarray(rgb).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(record, np.eye(4)), path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, np.moveaxis(rgb, -1, 0))
    assert read_channels(path) == 3


# --- axes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ((3, 4, 5), (1, 3, 4, 5)),
        ((3, 4, 5, 1), (1, 3, 4, 5)),
        ((3, 4, 5, 2), (2, 3, 4, 5)),
        ((3, 4, 5, 1, 2), (2, 3, 4, 5)),
        ((3, 4, 1), (1, 3, 4, 1)),
        ((3, 4, 1, 2), (2, 3, 4, 1)),
        ((3, 4), (1, 3, 4)),
        ((3, 4, 1, 1, 2), (2, 3, 4)),
        ((3, 4, 5, 1, 1, 1), (1, 3, 4, 5)),
    ],
)
def test_the_fourth_or_fifth_axis_becomes_the_channels(tmp_path, stored, expected):
    array = np.arange(np.prod(stored), dtype=np.int16).reshape(stored)
    path = save(tmp_path / "a.nii.gz", array)
    volume = read_volume(path)
    assert volume.array.shape == expected
    assert read_geometry(path).shape == expected[1:]
    for channel in range(expected[0]):
        whole = array.reshape(*expected[1:], expected[0])
        np.testing.assert_array_equal(volume.array[channel], whole[..., channel])


def test_a_film_of_vectors_is_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((2, 3, 4, 5, 6), np.uint8))
    with pytest.raises(DataError, match="shape"):
        read_volume(path)


def test_a_flat_image_keeps_the_spacing_of_its_plane(tmp_path):
    level = save(tmp_path / "a.nii", np.zeros((3, 4), np.uint8), np.diag([-0.5, 0.7, 9.0, 1.0]))
    assert read_geometry(level).spacing_mm == pytest.approx((0.5, 0.7))
    assert read_geometry(level).affine[0, 0] == pytest.approx(-0.5)
    sagittal = np.array([[0, 0, 9.0, 1], [0.5, 0, 0, 2], [0, 0.7, 0, 3], [0, 0, 0, 1]])
    standing = save(tmp_path / "b.nii", np.zeros((3, 4), np.uint8), sagittal)
    assert read_geometry(standing).spacing_mm == pytest.approx((0.5, 0.7))


# --- damage --------------------------------------------------------------------------------------------


def test_a_truncated_gzip_is_named_and_explained(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(9, 9, 9)))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(
        DataError, match=r"a\.nii\.gz is cut off inside its compressed data; copy or download"
    ):
        read_volume(path)


def test_a_gzip_that_lacks_only_its_checksum_is_cut_off(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(9, 9, 9)))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match="cut off"):
        read_volume(path)


def test_a_wrong_checksum_is_found(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(9, 9, 9)))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged compressed data"):
        read_volume(path)


def test_missing_voxels_are_counted(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((4, 5, 6), np.int16))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="promises 4 x 5 x 6 x 1 = 120 voxels and holds 110"):
        read_volume(path)
    whole = save(tmp_path / "b.nii", np.zeros((4, 5, 6), np.int16)).read_bytes()
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(whole[:-20]))
    with pytest.raises(DataError, match="holds 110"):
        read_volume(packed)


def test_a_gzip_of_several_members_is_read_whole(tmp_path):
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    whole = save(tmp_path / "a.nii", array).read_bytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(
        b"".join(gzip.compress(whole[at : at + 100]) for at in range(0, len(whole), 100)) + b"\0\0"
    )
    np.testing.assert_array_equal(read_volume(path).array[0], array)


def test_bytes_after_the_voxels_do_no_harm(tmp_path):
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    whole = save(tmp_path / "a.nii", array).read_bytes() + bytes(9999)
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(whole))
    np.testing.assert_array_equal(read_volume(path).array[0], array)


def test_the_ending_may_be_wrong_about_the_compression(tmp_path):
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    plain = save(tmp_path / "a.nii", array)
    (tmp_path / "plain.nii.gz").write_bytes(plain.read_bytes())
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain.read_bytes()))
    for name in ("plain.nii.gz", "packed.nii"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array[0], array)
        assert read_geometry(tmp_path / name).shape == (4, 5, 6)


def test_header_extensions_are_stepped_over(tmp_path):
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    image = nib.Nifti1Image(array, np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 5000))
    nib.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array[0], array)


def test_a_pair_is_told(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((4, 5, 6), np.int16))
    data = bytearray(path.read_bytes())
    data[344:348] = b"ni1\0"
    path.write_bytes(data)
    with pytest.raises(DataError, match="pair"):
        read_volume(path)


def with_fields(path: Path, array: np.ndarray, affine: np.ndarray, **fields: object) -> Path:
    """Numbers in the header as no library writes them."""
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, 1)
    image.header.set_slope_inter(1, 0)
    nib.save(image, path)
    data = path.read_bytes()
    header = nib.Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + data[348:])
    return path


@pytest.mark.parametrize("bad", [np.zeros(4), [np.nan, 0, 0, 1], [np.inf, 0, 0, 0]])
def test_a_sform_that_is_no_affine_gives_way_to_a_good_qform(tmp_path, bad):
    affine = np.array([[-2.0, 0, 0, 9], [0, 2, 0, 8], [0, 0, 3, 7], [0, 0, 0, 1]])
    path = with_fields(tmp_path / "a.nii", np.zeros((4, 5, 6), np.int16), affine, sform_code=1, srow_x=bad)
    np.testing.assert_allclose(read_geometry(path).affine, affine)
    np.testing.assert_allclose(read_volume(path).geometry.affine, affine)


@pytest.mark.parametrize("bad", [np.zeros(4), [np.nan, 0, 0, 1]])
@pytest.mark.parametrize("codes", [(1, 0), (2, 0), (0, 1), (1, 1)])
def test_where_no_form_that_counts_is_an_affine_the_voxel_sizes_place_the_image(tmp_path, bad, codes):
    """As codes of 0 do (nifti1.h, method 1), in nibabel's convention."""
    fields = {
        "srow_x": bad,
        "srow_y": bad,
        "srow_z": bad,
        "quatern_b": np.nan,
        "pixdim": [1, 2, 3, 4, 1, 1, 1, 1],
    }
    codes_of = {"sform_code": codes[0], "qform_code": codes[1]}
    array = np.zeros((4, 5, 6), np.int16)
    path = with_fields(tmp_path / "a.nii", array, np.eye(4), **fields, **codes_of)
    expected = nib.Nifti1Image(array, None)
    expected.header.set_zooms((2, 3, 4))
    np.testing.assert_allclose(read_geometry(path).affine, expected.header.get_base_affine())
    assert read_header(path, path.read_bytes()).place_unknown


def test_a_quaternion_that_is_too_long_is_read_as_a_unit(tmp_path):
    affine = np.diag([-1.0, -1, 1, 1])  # half a turn about z: quaternion 0, 0, 1
    path = with_fields(
        tmp_path / "a.nii", np.zeros((4, 5, 6), np.int16), affine, sform_code=0, quatern_d=1.01
    )
    np.testing.assert_allclose(read_geometry(path).affine, affine, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, np.nan])
def test_a_voxel_size_that_is_none_counts_as_one_millimetre(tmp_path, size):
    pixdim = [1, 2, size, 3, 1, 1, 1, 1]
    for code in (0, 1):
        path = with_fields(
            tmp_path / "a.nii",
            np.zeros((4, 5, 6), np.int16),
            np.eye(4),
            sform_code=0,
            qform_code=code,
            pixdim=pixdim,
        )
        assert read_geometry(path).spacing_mm == (2, 1, 3)


@pytest.mark.parametrize("inter", [np.nan, np.inf])
def test_an_intercept_that_is_no_number_counts_as_zero(tmp_path, inter):
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    one = with_fields(tmp_path / "a.nii", array, np.eye(4), scl_slope=1, scl_inter=inter)
    assert read_volume(one).array.dtype == np.int16
    two = with_fields(tmp_path / "b.nii", array, np.eye(4), scl_slope=2, scl_inter=inter)
    np.testing.assert_array_equal(read_volume(two).array[0], array * 2)


def test_the_grid_is_read_from_the_first_bytes_alone(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(60, 60, 60)), oblique(3).affine)
    path.write_bytes(path.read_bytes()[:70000])
    assert read_geometry(path).shape == (60, 60, 60)


def test_compression_is_one_that_zlib_undoes(tmp_path):
    label = LabelMap(np.ones((30, 30, 30), np.uint8), Geometry.from_spacing((30, 30, 30), (1, 1, 1)))
    write_label(tmp_path / "a.nii.gz", label)
    data = (tmp_path / "a.nii.gz").read_bytes()
    assert len(zlib.decompress(data, 31)) == 352 + 27000
    assert len(data) < 1000


# --- real scans ----------------------------------------------------------------------------------------


def test_real_scans_have_the_voxels_and_affines_that_nibabel_reads(data_dir):
    paths = [
        *sorted(data_dir.glob("Task*/imagesTr/[a-z]*.nii.gz"))[::40],
        *sorted(data_dir.glob("Task*/labelsTr/[a-z]*.nii.gz"))[::40],
        *sorted(data_dir.glob("ACDC/training/*/*frame01*.nii.gz"))[:4],
        *sorted(data_dir.glob("BraTS2018/**/*.nii*"))[:3],
    ]
    assert len(paths) > 8
    for path in paths:
        image = nib.load(path)
        expected = np.atleast_3d(np.asanyarray(image.dataobj))
        volume = read_volume(path)
        found = np.moveaxis(volume.array, 0, -1) if expected.ndim == 4 else volume.array[0]
        np.testing.assert_array_equal(found, expected)
        assert np.array_equal(volume.geometry.affine, image.affine)
        assert np.array_equal(read_geometry(path).affine, image.affine)


def test_the_heart_is_read_through_its_slope_of_8(data_dir):
    path = sorted((data_dir / "Task02_Heart" / "imagesTr").glob("la_*.nii.gz"))[0]
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    assert volume.array.max() > 255
    assert not (volume.array % 8).any()
