"""Formats that nibabel reads whole: pairs of .hdr and .img (Analyze, SPM, NIfTI) and FreeSurfer's .mgh and .mgz.

They are only read; what is made of such a scan is NIfTI. Where an Analyze header says nothing of the place, nibabel's
rule holds: the voxel sizes, the origin in the volume's middle, the first axis towards the patient's left.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from vesal.errors import DataError
from vesal.volume.formats.raw_bytes import count_voxels, refuse_beyond_memory
from vesal.volume.geometry import Geometry
from vesal.volume.nifti_forms import NiftiForms
from vesal.volume.volume import Volume

#: Names of the file that holds the voxels of a header.
_VOXELS = (".img", ".IMG", ".img.gz")


def read(path: Path, _: bytes) -> Volume:
    """Read an image: (C, X, Y, Z), a fourth axis becomes the channels; integers without a scale keep their type.

    Raises:
        DataError: the file, or the one with its voxels, is absent, damaged or of a kind that no image is.
    """
    image = _open(path)
    channels, geometry = _layout(path, image)
    refuse_beyond_memory(math.prod(image.shape) * image.get_data_dtype().itemsize, path)
    try:
        array = np.asanyarray(image.dataobj)
    except Exception as error:  # of a damaged file nibabel raises whatever it stumbles over
        raise _damaged(path, error) from error
    if array.dtype.kind not in "uif":
        raise DataError(
            f"{path} holds numbers of type {array.dtype}; convert it to integers or real numbers."
        )
    array = np.moveaxis(array.reshape(*geometry.shape, channels), -1, 0)
    return Volume(array.astype(array.dtype.newbyteorder("="), copy=False), geometry)


def read_geometry(path: Path) -> Geometry:
    """The grid, from the header.

    Raises:
        DataError: as `read`.
    """
    return _layout(path, _open(path))[1]


def read_channels(path: Path) -> int:
    """How many channels, from the header.

    Raises:
        DataError: as `read`.
    """
    return _layout(path, _open(path))[0]


def data_file(path: Path, _: bytes) -> Path:
    """The .img of a .hdr.

    Raises:
        DataError: there is none beside it.
    """
    for ending in _VOXELS:
        if (found := path.with_name(path.name[: -len(path.suffix)] + ending)).is_file():
            return found
    raise DataError(f"{path} has no {path.stem}.img beside it, which holds its voxels; copy it there.")


def _open(path: Path) -> Any:
    import nibabel

    if path.suffix.lower() == ".hdr":
        data_file(path, b"")
    try:
        with np.errstate(all="ignore"):
            return nibabel.load(path)
    except Exception as error:
        raise _damaged(path, error) from error


def _layout(path: Path, image: Any) -> tuple[int, Geometry]:
    """(channels, geometry) of an image."""
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    count_voxels(shape, path)
    if len(shape) not in (3, 4):
        raise DataError(f"{path} has shape {shape}, no volume with channels; convert it to .nii.gz.")
    try:
        affine = np.asarray(image.affine, dtype=np.float64)
        placed = "sform_code" in image.header
        forms = NiftiForms.from_header(image.header) if placed else None
        return shape[3] if len(shape) == 4 else 1, Geometry(shape[:3], affine, forms)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} has no usable position in space ({error}); correct its header.") from error


def _damaged(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"{path} cannot be read ({reason}); check what it is, or copy or download it again.")
