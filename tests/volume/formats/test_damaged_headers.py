"""Which damages of a header are refused, with which words, and which are read, with which finding."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from image_files import picture, told

from vesal.errors import DataError, VesalError
from vesal.volume.formats.nifti_header import Header, read_header
from vesal.volume.io import FORMATS, read_geometry, read_label, read_volume, write_volume

READERS = (read_volume, read_label, read_geometry)
DAMAGED = "has a damaged NIfTI header"

#: Fields of a NIfTI header (`dim__1` is the second of `dim`), and the words of the refusal. The header alone is not
#: enough for those of `VOXELS`.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another magic": ({"magic": b"n+9"}, "is not a NIfTI file"),
    "no axes": ({"dim__0": 0}, "has an axis of 0 voxels"),
    "nine axes": ({"dim__0": 9}, DAMAGED),
    "an axis of no voxel": ({"dim__1": 0}, "has an axis of 0 voxels"),
    "an axis of -6 voxels": ({"dim__1": -6}, "has an axis of -6 voxels"),
    "an unknown type": ({"datatype": 3}, "data code 3 not recognized"),
    "voxels that begin before the file": ({"vox_offset": -8}, DAMAGED),
}
VOXELS: dict[str, tuple[dict[str, Any], str]] = {
    "more voxels than the file has": ({"dim__1": 7}, "promises 7 x 5 x 4 x 1 = 140 voxels and holds 120"),
    "a larger type": ({"datatype": 4}, "promises 6 x 5 x 4 x 1 = 120 voxels and holds 60"),
    "complex numbers": ({"datatype": 32}, "holds numbers of type complex64"),
    "voxels that begin behind the file": ({"vox_offset": 1e9}, "holds 0"),
    "voxels that begin nowhere": ({"vox_offset": np.nan}, DAMAGED),
}
#: What is read, voxel for voxel: the fields of `Header`, of which each makes a finding, and the spacing that is taken.
OWN = (0.5, 0.75, 2.0)
UNIT = (1.0, 0.75, 2.0)
TAKEN: dict[str, tuple[dict[str, Any], set[str], tuple[float, ...]]] = {
    "the header's own size": ({"sizeof_hdr": 0}, set(), OWN),
    "bits that are not the type's": ({"bitpix": 16}, set(), OWN),
    "slope not a number": ({"scl_slope": np.nan}, set(), OWN),
    "slope infinite": ({"scl_slope": np.inf}, set(), OWN),
    "slope 0": ({"scl_slope": 0}, set(), OWN),
    "intercept not a number": ({"scl_inter": np.nan}, {"intercept_unset"}, OWN),
    "sform of zeros": ({"srow_x": 0, "srow_y": 0, "srow_z": 0}, {"sform_unusable"}, OWN),
    "sform not a number": ({"srow_x": np.nan}, {"sform_unusable"}, OWN),
    "no place: zeros": ({"srow_x": 0, "qform_code": 0}, {"place_unknown"}, OWN),
    "no place: quaternion not a number": ({"quatern_b": np.nan, "sform_code": 0}, {"place_unknown"}, OWN),
    "no place: offset not a number": ({"qoffset_x": np.nan, "sform_code": 0}, {"place_unknown"}, OWN),
    "sizes that part from the sform": ({"pixdim__1": 3.0}, {"forms_apart_mm"}, OWN),
    "a size of 0 under the sform": ({"pixdim__1": 0}, {"forms_apart_mm"}, OWN),
    "a size of 0": ({"pixdim__1": 0, "sform_code": 0}, {"pixdim_unset"}, UNIT),
    "a size that is no number": ({"pixdim__1": np.nan, "sform_code": 0}, {"pixdim_unset"}, UNIT),
    "a size of 0 and no form": (
        {"pixdim__1": 0, "sform_code": 0, "qform_code": 0},
        {"pixdim_unset", "pixdim_mm", "sform_mm", "pixdim_apart_voxels"},
        UNIT,
    ),
    "a negative size": ({"pixdim__1": -0.5, "sform_code": 0}, set(), OWN),
    "quaternion longer than 1": ({"quatern_b": 2.0, "sform_code": 0}, set(), OWN),
    "a code that no standard knows": ({"sform_code": 9}, set(), OWN),
    "a handedness of 5": ({"pixdim__0": 5, "sform_code": 0}, set(), OWN),
    "a unit that no standard knows": ({"xyzt_units": 63}, set(), OWN),
}


def damaged(path: Path, fields: dict[str, Any]) -> bytes:
    """A small sound NIfTI file with other values in some fields of its header."""
    write_volume(path, picture(".nii"))
    data = bytearray(path.read_bytes())
    header = np.frombuffer(data, nib.Nifti1Header.template_dtype, count=1)
    for name, value in fields.items():
        field, _, place = name.partition("__")
        if place:
            header[field][0, int(place)] = value
        else:
            header[field][0] = value
    path.write_bytes(data)
    return bytes(data)


@pytest.mark.parametrize("name", [*REFUSED, *VOXELS])
def test_a_nifti_header_that_cannot_be_read_is_refused_with_its_cause(tmp_path: Path, name: str) -> None:
    path = tmp_path / "scan.nii"
    fields, words = (REFUSED | VOXELS)[name]
    damaged(path, fields)
    for read in READERS if name in REFUSED else READERS[:2]:
        with pytest.raises(DataError) as error:
            read(path)
        told(error, path)
        assert words in str(error.value)


@pytest.mark.parametrize("name", TAKEN)
def test_a_nifti_header_that_can_be_read_is_with_its_finding(tmp_path: Path, name: str) -> None:
    path = tmp_path / "scan.nii"
    fields, flags, spacing_mm = TAKEN[name]
    data = damaged(path, fields)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, picture(".nii").array)
    np.testing.assert_array_equal(read_label(path).array, picture(".nii").array[0])
    assert volume.geometry.spacing_mm == pytest.approx(spacing_mm)
    assert read_geometry(path).distance_mm(volume.geometry) == 0
    header = read_header(path, data)
    assert header is not None
    sound = Header(unit=header.unit)
    assert {
        field for field in Header.model_fields if getattr(header, field) != getattr(sound, field)
    } == flags


def without(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return change


#: Ending, damage -> what is done to the file, and the words of the refusal; None where it is read as before.
OTHERS: dict[tuple[str, str], tuple[Callable[[bytes], bytes], str | None]] = {
    (".nrrd", "magic"): (without(b"NRRD", b"XRRD"), "is not an NRRD file"),
    (".nrrd", "type"): (without(b"uint8", b"uint9"), "holds 'uint9', no known type of number"),
    (".nrrd", "wider type"): (without(b"uint8", b"int16"), "does not say whether its bytes are little or"),
    (".nrrd", "axes"): (without(b"dimension: 3", b"dimension: 4"), "damaged NRRD header"),
    (".nrrd", "no sizes"): (without(b"sizes:", b"seizes:"), "damaged NRRD header"),
    (".nrrd", "negative size"): (without(b"sizes: 6", b"sizes: -6"), "has an axis of -6 voxels"),
    (".nrrd", "larger size"): (without(b"sizes: 6", b"sizes: 7"), "promises 7 x 5 x 4 = 140 voxels and hol"),
    (".nrrd", "encoding"): (without(b"gzip", b"gzyp"), "unknown encoding 'gzyp'"),
    (".nrrd", "direction"): (without(b"(-0.5", b"(-0.x"), "damaged NRRD header"),
    (".mha", "axes"): (without(b"NDims = 3", b"NDims = 4"), "NDims 4 and DimSize 6 5 4"),
    (".mha", "type"): (without(b"MET_UCHAR", b"MET_UCHUR"), "unknown ElementType 'MET_UCHUR'"),
    (".mha", "wider type"): (without(b"MET_UCHAR", b"MET_SHORT"), "holds 60"),
    (".mha", "larger size"): (without(b"DimSize = 6", b"DimSize = 7"), "= 140 voxels and holds 120"),
    (".mha", "negative size"): (without(b"DimSize = 6", b"DimSize = -6"), "has an axis of -6 voxels"),
    (".mha", "no data"): (without(b"ElementDataFile", b"ElementDataFyle"), "damaged MetaImage header"),
    (".mha", "spacing 0"): (without(b"Spacing = 0.5", b"Spacing = 0.0"), "the affine is singular"),
    (".mha", "offset"): (without(b"Offset = ", b"Offset = 1 "), "Offset has 4 numbers where 3 are needed"),
    (".png", "magic"): (without(b"PNG", b"PNX"), "is not an image of PNG"),
    (".png", "checksum of the header"): (lambda data: data[:29] + bytes([data[29] ^ 1]) + data[30:], "is not an image"),
    (".png", "pixels"): (lambda data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:], "cannot be read as an image"),
    (".png", "no end"): (lambda data: data[:-12], None),
    (".png", "more behind it"): (lambda data: data + b"xx", None),
    (".tif", "magic"): (lambda data: b"XX" + data[2:], "is not an image of PNG"),
    (".tif", "place of the header"): (lambda data: data[:4] + b"\xff\xff\xff\x7f" + data[8:], "cannot be read"),
    (".tif", "more behind it"): (lambda data: data + b"xx", None),
}  # fmt: skip


@pytest.mark.parametrize(("suffix", "name"), OTHERS)
def test_a_damaged_file_of_another_format_is_refused_with_its_cause_or_read_as_before(
    tmp_path: Path, suffix: str, name: str
) -> None:
    path = tmp_path / f"scan{suffix}"
    write_volume(path, picture(suffix))
    change, words = OTHERS[suffix, name]
    path.write_bytes(change(path.read_bytes()))
    for read in (read_volume, read_label):
        if words is None:
            np.testing.assert_array_equal(np.squeeze(read(path).array), np.squeeze(picture(suffix).array))
            continue
        with pytest.raises(DataError) as error:
            read(path)
        told(error, path)
        assert words in str(error.value)


@pytest.mark.parametrize(
    "suffix", [name for name, form in FORMATS.items() if form.encode is not None and name != ".tiff"]
)
def test_bytes_changed_at_random_never_raise_anything_but_one_sentence_of_our_own(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"scan{suffix}"
    write_volume(path, picture(suffix))
    whole = path.read_bytes()
    generator = random.Random(suffix)
    refusals: list[str] = []
    start = time.perf_counter()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(generator.choice((1, 1, 2, 8))):
            place = generator.randrange(min(len(data), generator.choice((24, 348, 600))))
            data[place] = generator.choice((0, 255, data[place] ^ (1 << generator.randrange(8)), ord("9")))
        path.write_bytes(data)
        for read in READERS:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(path)
            except VesalError as error:
                refusals.append(str(error))
    assert refusals
    assert not [words for words in refusals if "\n" in words]
    assert time.perf_counter() - start < 60
