"""NIfTI-1 and NIfTI-2, plain or compressed: .nii and .nii.gz.

The header is nibabel's; the voxels are unpacked here, by the ISA-L library, several times faster than by zlib.

Which affine: nibabel's rule. The sform where its code is above 0, else the qform where its code is above 0,
else the voxel sizes alone with the origin in the volume's middle and the first axis flipped (`get_base_affine`).
A sform that is no affine (singular, not finite) gives way to a qform that is one, and that to the voxel sizes (the
standard's method 1), which `place_unknown` tells: nibabel gives the singular matrix there, ITK refuses the file.
As in nibabel, the affine is taken as millimetres whatever unit the header names. Where the scale is not finite, there
is none, and an intercept that is not finite is 0, as in the standard's own reader (nifti1_io.c).

What is written on the grid of a NIfTI file takes over both of its forms, both codes, the voxel sizes and the unit, so
that every reader finds scan and mask at one place, whichever form it prefers. Any other grid is written as sform and
qform alike, both with code 1 (scanner). Where its axes are not at right angles the qform is the nearest that fits: it
counts (code 1) where it is the same place to a hundredth of a voxel, and not (code 0) elsewhere.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from isal import igzip
from nibabel.nifti1 import Nifti1Header

from vesal.errors import DataError
from vesal.volume.formats.raw_bytes import count_voxels, inflate, is_gzip, read_bytes, storable, voxels
from vesal.volume.geometry import Array, Geometry
from vesal.volume.nifti_forms import NiftiForms
from vesal.volume.volume import Volume

# Repairs that nibabel makes in a header are its own business; they go to this logger, silent unless asked for.
_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())

_HEADER_BYTES = 540
_VECTOR = 1007
_MOST_NIFTI1 = 32767
#: What a compressed header may need before its first 540 bytes come out: gzip's own header with long names.
HEAD_BYTES = 1 << 16
#: Voxels: a sform and the nearest qform that lie less apart at the farthest corner are one place.
_SAME_PLACE = 0.01


def read(path: Path, data: bytes) -> Volume:
    """Read an image from the file's bytes.

    Array (C, X, Y, Z): a fourth (time, channel) or fifth (vector) axis becomes the channels. A file of two
    axes, or of a vector of them (X, Y, 1, 1, C), becomes (C, X, Y). Integers without a scale keep their type;
    with scl_slope and scl_inter they become floats.

    Raises:
        DataError: not NIfTI, damaged, cut off, or of a kind that no image is (complex numbers).
    """
    found = described(path, data)
    shape = (*found.geometry.shape, found.channels)
    if is_gzip(data):
        count = count_voxels(shape, path)
        data = inflate(data, path, found.offset + count * found.dtype.itemsize)
    array = voxels(data, path, found.dtype, shape, found.offset)
    if found.coloured:  # one voxel of RGB24 or RGBA32 is a record; alpha is no intensity
        array = np.concatenate([array[name] for name in ("R", "G", "B")], axis=-1)
    return Volume(scaled(found.header, np.moveaxis(array, -1, 0)), found.geometry)


@dataclass(frozen=True, eq=False)
class Described:
    """What the header of a file says of its voxels.

    Attributes:
        dtype: of a voxel in the file.
        offset: of the first voxel in the (unpacked) file, in bytes.
        coloured: a voxel is a record of colours.
    """

    header: Nifti1Header
    geometry: Geometry
    channels: int
    dtype: np.dtype
    offset: int
    coloured: bool


def described(path: Path, data: bytes) -> Described:
    """The header, from the file's bytes or the first of them.

    Raises:
        DataError: as `read`.
    """
    header, forms = _header(path, _beginning(path, data))
    _, channels, geometry = _layout(path, header, forms)
    dtype = header.get_data_dtype()
    coloured = dtype.names is not None and dtype.names[:3] == ("R", "G", "B")
    if not coloured and (dtype.kind not in "uif" or dtype.itemsize > 8):
        raise DataError(f"{path} holds numbers of type {dtype}; convert it to integers or real numbers.")
    try:
        offset = max(int(header["vox_offset"]), header.structarr.dtype.itemsize + 4)
    except (ValueError, OverflowError) as error:
        raise _damaged(path, error) from error
    return Described(header, geometry, channels, dtype, offset, coloured)


def read_geometry(path: Path) -> Geometry:
    """The grid, from the first bytes of the file alone.

    Raises:
        DataError: not NIfTI, or damaged.
    """
    beginning = _beginning(path, read_bytes(path, HEAD_BYTES))
    return _layout(path, *_header(path, beginning))[2]


def read_channels(path: Path) -> int:
    """How many channels, from the first bytes of the file alone.

    Raises:
        DataError: not NIfTI, or damaged.
    """
    found = described(path, read_bytes(path, HEAD_BYTES))
    return found.channels * len("RGB") if found.coloured else found.channels


def encode(path: Path, volume: Volume) -> bytes:
    """The bytes of an image's file, compressed where the name ends in .gz; NIfTI-2 where an axis needs it.

    bool becomes uint8 and float16 float32, which NIfTI does not have; every other type is kept. C channels
    become the fourth axis; those of a 2D image a vector.

    Raises:
        DataError: a type that NIfTI cannot hold.
    """
    array = storable(volume.array, path, "NIfTI")
    content = b"".join((encode_header(volume, array.dtype), np.moveaxis(array, 0, -1).tobytes(order="F")))
    return igzip.compress(content, 1, mtime=0) if path.name.lower().endswith(".gz") else content


def encode_header(volume: Volume, dtype: np.dtype) -> bytes:
    """What comes before the voxels of an image, which are of that type in the file."""
    geometry = volume.geometry
    shape = list(geometry.shape)
    if volume.channels > 1:
        shape += [1, 1, volume.channels] if geometry.ndim == 2 else [volume.channels]
    # As precise as the scan's: some readers ask for the same numbers to a millionth.
    double = geometry.nifti is not None and geometry.nifti.version == 2
    kind = nibabel.Nifti2Header if double or max(shape) > _MOST_NIFTI1 else nibabel.Nifti1Header
    header = kind()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    if geometry.ndim == 2 and volume.channels > 1:
        header["intent_code"] = _VECTOR
    if geometry.nifti is None:
        _place(header, geometry)
    else:
        geometry.nifti.write(header.structarr)
    header.set_slope_inter(1.0, 0.0)
    header["vox_offset"] = header.structarr.dtype.itemsize + 4
    return bytes(header.binaryblock) + bytes(4)


def _place(header: Nifti1Header, geometry: Geometry) -> None:
    """The affine as both forms, in millimetres."""
    affine = np.eye(4)
    affine[: geometry.ndim, : geometry.ndim] = geometry.affine[:-1, :-1]
    affine[: geometry.ndim, 3] = geometry.affine[:-1, -1]
    header.set_xyzt_units("mm")
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1, strip_shears=True)
    shape = (*geometry.shape, 1)[:3]
    straight = Geometry(shape, header.get_qform())
    if Geometry(shape, affine).distance_mm(straight) > _SAME_PLACE * min(geometry.spacing_mm):
        header["qform_code"] = 0


def _beginning(path: Path, data: bytes) -> bytes:
    """The first bytes of the file, unpacked where they are packed."""
    if is_gzip(data):
        return inflate(data[:HEAD_BYTES], path, _HEADER_BYTES, partial=True)
    return data[:_HEADER_BYTES]


def _header(path: Path, beginning: bytes) -> tuple[Nifti1Header, NiftiForms]:
    """The header, repaired as nibabel does, and what the file itself says of the place."""
    one = beginning[344:348]
    two = beginning[4:8]
    if one == b"ni1\0" or two == b"ni2\0":
        raise DataError(f"{path} is the header of a .hdr/.img pair; convert the pair to one .nii.gz file.")
    if one == b"n+1\0":
        kind = nibabel.Nifti1Header
    elif two == b"n+2\0" and len(beginning) >= _HEADER_BYTES:
        kind = nibabel.Nifti2Header
    else:
        raise DataError(f"{path} is not a NIfTI file; check what it is, or copy or download it again.")
    try:
        with np.errstate(all="ignore"):
            # Without the extensions that may follow it: they are nothing to us, and may be damaged.
            header = kind(beginning[: kind.template_dtype.itemsize], check=False)
            forms = NiftiForms.from_header(header)
            sizes = header["pixdim"][1:4]
            sizes[~np.isfinite(sizes)] = 1.0  # nibabel does so with zeros alone
            header.check_fix(logger=_LOG, error_level=40)
    except Exception as error:  # a damaged header makes nibabel raise whatever it stumbles over
        raise _damaged(path, error) from error
    return header, forms


def _layout(path: Path, header: Nifti1Header, forms: NiftiForms) -> tuple[tuple[int, ...], int, Geometry]:
    """(spatial shape, channels, geometry) of a header."""
    try:
        with np.errstate(all="ignore"):
            shape = tuple(int(size) for size in header.get_data_shape())
            affine = _best_affine(header, forms)
    except Exception as error:
        raise _damaged(path, error) from error
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    count_voxels(shape, path)
    if len(shape) == 5 and shape[2:4] == (1, 1):
        spatial: tuple[int, ...] = shape[:2]
        channels = shape[4]
    elif len(shape) in (2, 3):
        spatial, channels = shape, 1
    elif len(shape) == 4 or (len(shape) == 5 and shape[3] == 1):
        spatial, channels = shape[:3], shape[-1]
    else:
        raise DataError(f"{path} has shape {shape}, no image in 2D or 3D with channels; split it up.")
    try:
        affine = affine if len(spatial) == 3 else _in_plane(affine)
        return spatial, channels, Geometry(spatial, affine, forms)
    except ValueError as error:
        raise DataError(f"{path} has no usable position in space ({error}); correct its affine.") from error


def _best_affine(header: Nifti1Header, forms: NiftiForms) -> Array:
    """(4, 4), by the rule above."""
    if forms.sform_used:
        return forms.sform_affine
    if forms.qform_used:
        try:
            return np.asarray(header.get_qform(), dtype=np.float64)
        except ValueError:
            # A quaternion that is longer than 1 by more than rounding: the standard makes it 1.
            return forms.qform_affine
    return np.asarray(header.get_base_affine(), dtype=np.float64)


def _in_plane(affine: Array) -> Array:
    """The 3x3 affine of a 2D image: as it is in the world's x-y plane, else its spacing alone."""
    plane = affine[np.ix_((0, 1, 3), (0, 1, 3))]
    if np.allclose(affine[2, :2], 0.0):
        return plane
    return np.diag([*np.sqrt((affine[:3, :2] ** 2).sum(axis=0)), 1.0])


def scaled(header: Nifti1Header, array: Array) -> Array:
    """File values -> intensities, where the header has a scale; else the array itself."""
    slope, inter = (float(header[name]) for name in ("scl_slope", "scl_inter"))
    inter = inter if np.isfinite(inter) else 0.0
    if slope == 0 or not np.isfinite(slope) or (slope, inter) == (1.0, 0.0):
        return array
    # float32 holds every 16-bit integer exactly; wider ones are scaled in double precision.
    exact = array.dtype.itemsize <= 2 or array.dtype == np.float32
    kind = np.float32 if exact else np.float64
    result: Array = array.astype(kind)
    with np.errstate(all="ignore"):
        np.multiply(result, kind(slope), out=result)
        np.add(result, kind(inter), out=result)
    return result


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} has a damaged NIfTI header ({error}); copy or download it again.")
