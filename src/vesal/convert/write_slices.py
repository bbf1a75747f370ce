"""Writer of slices: images/ and labels/ with PNG files, the sidecar slices.json and a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vesal.convert.records import Described, Scan, Task, Written, manifest_entry
from vesal.convert.slices import (
    SIDECAR,
    SlicedVolume,
    SliceIndex,
    choose_window,
    cut,
    resolve_axis,
    to_pixels,
)
from vesal.convert.write_volumes import describe_manifest, off_grid
from vesal.errors import DataError
from vesal.files import atomic_path
from vesal.volume.formats.raster import encode_png
from vesal.volume.geometry import Array, Geometry
from vesal.volume.volume import Volume

_ENDING = ".png"


def write_pictures(scan: Scan, task: Task, folders: Mapping[str, str]) -> Written:
    """Each slice as a picture a channel (three channels of an 8-bit picture in one), and its mask.

    Raises:
        DataError: image and label are not on one grid, or the label holds undeclared values.
    """
    assert scan.image is not None
    if gap := off_grid(scan):
        raise DataError(f"Case {scan.case.id}: {gap}; resample one onto the other before cutting slices.")
    image = scan.image
    axis = resolve_axis(task.axis, image.geometry)
    windows = tuple(
        choose_window(channel, task.window, bits=task.bits, name=name)
        for channel, name in zip(image.array, task.channels, strict=True)
    )
    rows, mask, own_rows = _rows(image.geometry), None, None
    if scan.label is not None:
        # By the image's axes, as both are put together again: those of a grid at 45 degrees may round to others.
        mask = cut(task.relabelling.apply(scan.label.array), image.geometry, axis)
        own_rows = _rows(scan.label.geometry)
    part = "test_" if scan.test else ""
    record = SlicedVolume(
        patient=scan.case.patient,
        annotated=task.relabelling.annotated(scan.case.annotated),
        test=scan.test,
        images=folders[f"{part}images"],
        labels=None if mask is None else folders[f"{part}labels"],
        shape=image.geometry.shape,
        affine=rows,
        label_affine=None if own_rows == rows else own_rows,
        nifti=_forms(image.geometry),
        label_nifti=_forms((scan.label or image).geometry),
        axis=axis,
        windows=windows,
        bits=task.bits,
        colour=axis is None and image.channels == 3 and task.bits == 8,
        dtype=image.array.dtype.name,
        label_dtype=None if scan.label is None else scan.label.array.dtype.name,
        written=_kept(mask, task, depth=len(cut(image.array[0], image.geometry, axis))),
    )
    files = _save(scan, record, mask, task)
    remark = ""
    if mask is not None and not record.written:
        remark = f"Case {scan.case.id} has no foreground, so none of its slices was written."
    return Written.of(scan, task, files, ndim=image.geometry.ndim, volume=record, remark=remark)


def describe_pictures(out: Path, described: Described, folders: Mapping[str, str]) -> list[str]:
    """slices.json for the way back, and manifest.json with every slice as a case of its volume's patient."""
    index = SliceIndex(
        name=described.name,
        channels=described.channels,
        labels=described.labels,
        original=dict(described.original),
        volumes={one.id: one.volume for one in described.written if one.volume is not None},
    )
    index.save(out / SIDECAR)
    entries = []
    for one in described.written:
        record = index.volumes[one.id]
        for number in record.written:
            images = [f"{record.images}/{name}{_ENDING}" for name in record.picture_names(one.id, number)]
            name = record.slice_id(one.id, number)
            label = None if one.test else f"{record.labels}/{name}{_ENDING}"
            place = record.place(one.id, number) or one.slice_of
            entries.append(manifest_entry(one, name, images, label, place))
    return describe_manifest(out, described, entries)


def _kept(mask: Array | None, task: Task, *, depth: int) -> tuple[int, ...]:
    if mask is None or task.keep_empty:
        return tuple(range(depth))
    background = task.relabelling.target.background
    return tuple(number for number, plane in enumerate(mask) if (plane != background).any())


def _save(scan: Scan, record: SlicedVolume, mask: Array | None, task: Task) -> list[str]:
    assert scan.image is not None
    plane = record.plane
    stacks = [cut(channel, record.geometry, record.axis) for channel in scan.image.array]
    files: list[str] = []
    for number in record.written:
        shown = [
            to_pixels(stack[number], window, record.bits)[None]
            for stack, window in zip(stacks, record.windows, strict=True)
        ]
        pictures = [np.concatenate(shown)] if record.colour else shown
        for name, pixels in zip(record.picture_names(scan.case.id, number), pictures, strict=True):
            _put(task.out, f"{record.images}/{name}{_ENDING}", pixels, plane, files)
        if mask is not None:
            name = f"{record.labels}/{record.slice_id(scan.case.id, number)}{_ENDING}"
            _put(task.out, name, mask[number][None], plane, files)
    return files


def _put(out: Path, name: str, pixels: Array, plane: Geometry, files: list[str]) -> None:
    data = encode_png(out / name, Volume(np.ascontiguousarray(pixels), plane))
    # Not synchronised one by one, which takes longer than all else; on resume the digests are compared.
    with atomic_path(out / name) as temporary:
        temporary.write_bytes(data)
    files.append(name)


def _rows(geometry: Geometry) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in geometry.affine.tolist())


def _forms(geometry: Geometry) -> dict[str, Any] | None:
    return None if geometry.nifti is None else geometry.nifti.to_dict()
