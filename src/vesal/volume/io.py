"""Images from and to files of any known format, chosen by the ending of the name.

Every failure of a file is a DataError of one sentence: what is wrong, which path, the fix.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from vesal.errors import DataError, UsageError
from vesal.files import atomic_path, write_bytes
from vesal.memory_limit import array_like, limit, require
from vesal.volume.dicom import series_file
from vesal.volume.dicom.source import is_dicom_file
from vesal.volume.formats import by_nibabel, metaimage, nifti, nifti_slabs, nrrd, raster, tiff, tiff_spacing
from vesal.volume.formats.raw_bytes import read_bytes
from vesal.volume.geometry import Array, Geometry
from vesal.volume.mask_folder import join_masks
from vesal.volume.segments import Segment, join_layers, part_layers
from vesal.volume.unread_formats import unread_format
from vesal.volume.volume import LabelMap, Volume

#: How far a label stored as a float may be from a whole number: a scale in single precision rounds this much.
_WHOLE = 1e-3

#: Bytes that a voxel takes while a format is read as a whole: the file, and what comes out of it.
_READ_BYTES = 12

#: No header that names a second file is longer.
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Format:
    """How one format is read and written.

    Attributes:
        read: (path, the file's bytes) -> Volume.
        read_geometry: path -> Geometry, from the header alone where the format allows.
        read_channels: path -> how many channels, from the header alone.
        encode: (path, Volume) -> the file's bytes; None where the format is only read.
        read_label: as `read`, for segmentations, where the two differ.
        segments: (path, the file's first bytes) -> the named segments that it holds, where the format has such.
        data_file: (path, the file's first bytes) -> the second file, where a header may name one.
        all_files: path -> all files that make the scan, where there may be many, that one first.
        read_named: (path, name of a segment -> value, or None for all) -> label map, where a file may name its segments
            and nothing else in it is a segmentation.
        open: path -> Volume whose voxels may lie on the disk, under a limit of memory; None where it has to be read.
        write: (path, Volume, packed: as the name ends in .gz) writes slab by slab what `encode` gives.
    """

    read: Callable[[Path, bytes], Volume]
    read_geometry: Callable[[Path], Geometry]
    read_channels: Callable[[Path], int]
    encode: Callable[[Path, Volume], bytes] | None
    read_label: Callable[[Path, bytes], Volume] | None = None
    segments: Callable[[Path, bytes], tuple[Segment, ...]] | None = None
    data_file: Callable[[Path, bytes], Path | None] | None = None
    all_files: Callable[[Path], tuple[Path, ...]] | None = None
    read_named: Callable[[Path, Mapping[str, int] | None], LabelMap] | None = None
    open: Callable[[Path], Volume | None] | None = None
    write: Callable[..., None] | None = None


def _refuse_lossy(path: Path, _: bytes) -> Volume:
    raise DataError(
        f"{path} is a JPEG, whose lossy compression changes label values; save it as PNG from the original."
    )


_NIFTI = Format(
    nifti.read,
    nifti.read_geometry,
    nifti.read_channels,
    nifti.encode,
    open=nifti_slabs.open_on_disk,
    write=nifti_slabs.write,
)
_NRRD = Format(
    nrrd.read,
    nrrd.read_geometry,
    nrrd.read_channels,
    nrrd.encode,
    segments=nrrd.segments,
    data_file=nrrd.data_file,
)
_META = Format(
    metaimage.read,
    metaimage.read_geometry,
    metaimage.read_channels,
    metaimage.encode,
    data_file=metaimage.data_file,
)
_PNG = Format(
    raster.read,
    raster.read_geometry,
    lambda path: raster.read_header(path).channels,
    raster.encode_png,
    partial(raster.read, mask=True),
)
_DICOM = Format(
    series_file.read,
    series_file.read_geometry,
    lambda _path: 1,
    None,
    all_files=series_file.files,
    read_named=series_file.read_named,
)
_BY_NIBABEL = Format(by_nibabel.read, by_nibabel.read_geometry, by_nibabel.read_channels, None)
_TIFF = replace(_PNG, encode=tiff.encode_tiff, all_files=tiff_spacing.files)

#: Ending (lower case) -> format; an ending that contains another comes first.
FORMATS = {
    ".nii.gz": _NIFTI,
    ".nii": _NIFTI,
    ".nrrd": _NRRD,
    ".nhdr": replace(_NRRD, encode=None),
    ".mha": _META,
    ".mhd": replace(_META, encode=None),
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    # JPEG changes values, so it is only read, and no segmentation.
    ".jpg": replace(_PNG, encode=None, read_label=_refuse_lossy),
    ".jpeg": replace(_PNG, encode=None, read_label=_refuse_lossy),
    ".bmp": replace(_PNG, encode=None),
    ".gif": replace(_PNG, encode=None),
    ".hdr": replace(_BY_NIBABEL, data_file=by_nibabel.data_file),
    ".mgz": _BY_NIBABEL,
    ".mgh": _BY_NIBABEL,
}

#: All known endings, '.nii.gz' first.
SUFFIXES = tuple(FORMATS)


def is_image(path: str | Path) -> bool:
    """Whether the name ends as a known format does, in any case.

    >>> is_image("scans/A.NII.GZ"), is_image("notes.txt"), is_image(".nii")
    (True, False, False)
    """
    return bool(_suffix(Path(path).name))


def strip_suffix(path: str | Path) -> str:
    """The file's name without its folder and its known ending, as composed Unicode (NFC).

    macOS and some archives write é as e with an accent (NFD), which is the same name.

    >>> strip_suffix("scans/la_003.nii.gz"), strip_suffix("a.b.png"), strip_suffix("notes.txt")
    ('la_003', 'a.b', 'notes.txt')
    """
    name = Path(path).name
    suffix = _suffix(name)
    return unicodedata.normalize("NFC", name[: -len(suffix)] if suffix else name)


def read_volume(path: str | Path, data: bytes | None = None) -> Volume:
    """Read an image, in the file's own type: integers stay integers where the file does not scale them.

    Args:
        path: the file; its ending says the format.
        data: the file's bytes, where they were read already.

    Raises:
        DataError: the file is absent, unreadable, damaged, or of an unknown format.
    """
    path = Path(path)
    form = _format(path)
    return form.read(path, read_bytes(path) if data is None else data)


def open_volume(path: str | Path) -> Volume:
    """As `read_volume`, under a limit of memory: where it has no room for the voxels, they lie on the disk and are read
    when they are looked at. They are not to be written to.

    Raises:
        DataError: as `read_volume`; or the format has to be read as a whole, which the limit has no room for.
        VesalError: the disk has no room for what is unpacked.
    """
    path = Path(path)
    form = _format(path)
    if form.open is not None and (volume := form.open(path)) is not None:
        return volume
    voxels = math.prod(form.read_geometry(path).shape)
    require(_READ_BYTES * voxels, f"To read {path}", "convert it to .nii.gz, which is read in parts")
    volume = form.read(path, read_bytes(path))
    on_disk = array_like(volume.array, volume.array.dtype)
    on_disk[...] = volume.array
    return replace(volume, array=on_disk)


def read_label(
    path: str | Path, data: bytes | None = None, values: Mapping[str, int] | None = None
) -> LabelMap:
    """Read a segmentation: integers of any size and sign, as the file has them.

    Whole numbers that are stored as floats become the smallest integer type that holds them. A colour image
    whose channels are equal counts as the gray one that it shows.

    Args:
        path: the file; its ending says the format. Or a folder of masks, one a label, called as the label is.
        data: the file's bytes, where they were read already.
        values: name of a segment -> value in the label map, for files that name their segments (3D Slicer's
            .seg.nrrd): see `join_layers`, for DICOM: see `join_named`, and for folders: see `join_masks`. Others keep
            their values.

    Raises:
        DataError: as `read_volume`; or several channels, or a value that is no whole number.
    """
    path = Path(path)
    if values is not None and path.is_dir():
        return join_masks(path, mask_files(path), values, read_label)
    form = _format(path)
    if form.read_named is not None:
        return form.read_named(path, values)
    data = read_bytes(path) if data is None else data
    volume = (form.read_label or form.read)(path, data)
    if form.segments is not None and (segments := form.segments(path, data)):
        joined = join_layers(volume.array, segments, path, values)
        return LabelMap(joined, volume.geometry, volume.placed)
    return LabelMap(_whole_numbers(_one_channel(volume, path), path), volume.geometry, volume.placed)


def read_stored_label(path: str | Path, data: bytes | None = None) -> Volume:
    """What a segmentation's file holds, (1, *spatial), also where that is no label map: real numbers, JPEG's shades.

    Raises:
        DataError: as `read_volume`; or channels that differ.
    """
    path = Path(path)
    form = _format(path)
    lossy = form.read_label is _refuse_lossy
    read = form.read if lossy or form.read_label is None else form.read_label
    volume = read(path, read_bytes(path) if data is None else data)
    if not lossy:
        return Volume(_one_channel(volume, path)[None], volume.geometry, volume.placed)
    # Loss leaves the channels of a gray picture a little apart.
    return Volume(np.rint(volume.array.mean(axis=0, keepdims=True)).astype(np.uint8), volume.geometry, False)


def read_segments(path: str | Path) -> tuple[Segment, ...]:
    """The segments that a segmentation names, from its header; () where it names none.

    Raises:
        DataError: the file is absent, unreadable, damaged, or of an unknown format.
    """
    path = Path(path)
    find = _format(path).segments
    return () if find is None else find(path, read_bytes(path, _HEAD_BYTES))


def read_geometry(path: str | Path) -> Geometry:
    """The grid of an image, from its header alone where the format allows.

    Raises:
        DataError: the file is absent, unreadable, damaged, or of an unknown format.
    """
    path = Path(path)
    if path.is_dir() and (masks := mask_files(path)):
        path = next(iter(masks.values()))
    return _format(path).read_geometry(path)


def read_channels(path: str | Path) -> int:
    """How many channels an image has, from its header alone.

    Raises:
        DataError: the file is absent, unreadable, damaged, or of an unknown format.
    """
    path = Path(path)
    return _format(path).read_channels(path)


def mask_files(folder: Path) -> dict[str, Path]:
    """The images in a folder by their names without ending, in the order of these; hidden ones are none."""
    found = [path for path in folder.iterdir() if is_image(path) and not path.name.startswith(".")]
    return {strip_suffix(path): path for path in sorted(found) if path.is_file()}


def data_files(path: str | Path, data: bytes | None = None) -> tuple[Path, ...]:
    """The files that hold an image: its own and, where that is a header alone (.mhd, .nhdr), that of the voxels.

    Of a folder of masks, all of them; of a TIFF also the JSON file that says its spacing.

    Args:
        path: the file; its ending says the format.
        data: the file's bytes, where they were read already.

    Raises:
        DataError: the header is absent, damaged, of an unknown format, or names a file elsewhere.
    """
    path = Path(path)
    # What is called like an image is asked often and is no folder of masks.
    if data is None and not is_image(path) and path.is_dir() and (masks := mask_files(path)):
        return tuple(masks.values())
    form = _format(path)
    if form.all_files is not None:
        return form.all_files(path)
    find = form.data_file
    second = None if find is None else find(path, read_bytes(path, _HEAD_BYTES) if data is None else data)
    return (path,) if second is None else (path, second)


def is_readable(path: Path) -> bool:
    """Whether something can be read of a file: of an image the voxels, of any other a byte."""
    try:
        if is_image(path):
            read_volume(path)
            return True
        return path.stat().st_size > 0
    except (DataError, OSError):
        return False


def write_volume(path: str | Path, volume: Volume) -> None:
    """Write an image, whole or not at all, in the format that the ending names; the array's type is kept.

    Raises:
        UsageError: the ending names no format that can be written.
        DataError: the format cannot hold this array.
        VesalError: the place cannot be written.
    """
    path = Path(path)
    suffix = _suffix(path.name)
    form = FORMATS.get(suffix)
    if form is None or form.encode is None:
        writable = ", ".join(ending for ending, form in FORMATS.items() if form.encode is not None)
        raise UsageError(f"Cannot write {path}: choose a name that ends in one of {writable}.")
    if limit() is None:
        write_bytes(path, form.encode(path, volume))
    elif form.write is not None:
        with atomic_path(path, durable=True) as temporary:
            form.write(temporary, volume, packed=suffix.endswith(".gz"))
    else:
        require(
            3 * volume.array.nbytes, f"To write {path}", "write NIfTI (--to nifti), which is written in parts"
        )
        write_bytes(path, form.encode(path, volume))


def write_segmentation(
    path: str | Path, label: LabelMap, like: str | Path, values: Mapping[str, int] | None
) -> None:
    """Write a label map as the file `like`, from which it was read, holds one: of named segments with their names,
    colours and tags, in layers where they overlap; else as `write_label`.

    Args:
        path: the new file; where its format knows no segments, a label map is written.
        label: what it holds now.
        like: the file that it comes from.
        values: name of a segment -> value in the label map, as for `read_label`.

    Raises:
        UsageError, DataError, VesalError: as `write_volume` and `read_segments`.
    """
    # A file that is edited may be a folder of masks.
    knows = all(FORMATS.get(_suffix(Path(name).name)) is _NRRD for name in (path, like))
    segments = read_segments(like) if knows else ()
    if not segments:
        write_label(path, label)
        return
    layers, segments = part_layers(label.array, segments, values)
    write_bytes(path, nrrd.encode(Path(path), Volume(layers, label.geometry), segments))


def write_label(path: str | Path, label: LabelMap) -> None:
    """Write a segmentation, whole or not at all; values and integer type are kept.

    Raises:
        UsageError, DataError, VesalError: as `write_volume`.
    """
    write_volume(path, Volume(label.array[None], label.geometry))


def _suffix(name: str) -> str:
    lower = name.lower()
    return next((ending for ending in SUFFIXES if lower.endswith(ending) and len(lower) > len(ending)), "")


def _format(path: Path) -> Format:
    suffix = _suffix(path.name)
    if not suffix:
        if path.is_dir():
            raise DataError(f"{path} is a folder where one image file was expected; name a file.")
        if path.name.lower().endswith((".img", ".img.gz")):
            raise DataError(f"{path} holds the voxels of a pair; name its header, which ends in .hdr.")
        if is_dicom_file(path):
            return _DICOM
        if known := unread_format(path):
            raise DataError(f"{path} {known}.")
        raise DataError(f"{path} is of no known format; convert it to one of {', '.join(SUFFIXES)}.")
    return FORMATS[suffix]


def _one_channel(volume: Volume, path: Path) -> Array:
    first: Array = volume.array[0]
    if not all(np.array_equal(first, other) for other in volume.array[1:]):
        raise DataError(
            f"{path} has {volume.channels} channels where a segmentation has one; "
            "store one label value for each voxel."
        )
    return first


def _whole_numbers(array: Array, path: Path) -> Array:
    """Integers as they are; whole floats in the smallest integer type that holds them."""
    if array.dtype.kind in "ui":
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    lowest, highest = array.min(), array.max()  # NaN anywhere makes both NaN
    if not (np.isfinite(lowest) and np.isfinite(highest) and lowest > -(2.0**62) and highest < 2.0**62):
        strange = array[~(np.abs(array) < 2.0**62)].flat[0]
        raise DataError(
            f"{path} holds {strange:g} where a segmentation has whole numbers; correct those voxels."
        )
    low, high = int(np.rint(lowest)), int(np.rint(highest))
    dtype = np.min_scalar_type(high if low >= 0 else min(low, -high - 1))
    whole = np.empty_like(array, dtype=dtype)
    # Slice by slice along the last axis, so that a large map needs no second copy in floats.
    for index in range(array.shape[-1]):
        part = array[..., index]
        rounded = np.rint(part)
        off = np.abs(part - rounded) > _WHOLE
        if off.any():
            raise DataError(
                f"{path} holds {part[off].flat[0]:g} where a segmentation has whole numbers; "
                "it may be an image or an interpolated mask, so take the mask itself."
            )
        whole[..., index] = rounded
    return whole
