"""Volumes from their slices: by the sidecar of a conversion, or by the numbers in the names of the files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from vesal.convert.records import Job, Scan, Source, credits_of
from vesal.convert.relabel import Relabelling, unchanged
from vesal.convert.slices import SIDECAR, SlicedVolume, SliceIndex, join_images, join_masks, uncut
from vesal.data.case import VOXEL_BYTES, read_case_label, read_image
from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.layouts.scan_files import by_stem, is_picture
from vesal.text import times
from vesal.volume.geometry import Array, Geometry
from vesal.volume.io import read_geometry, read_label, read_volume
from vesal.volume.volume import LabelMap, Volume

#: Slices of one volume have voxels of one size but for rounding (relative).
_SAME_SPACING = 1e-3

# --- pictures with their sidecar ---------------------------------------------------------------------------


def sliced(root: Path, index: SliceIndex) -> Source:
    """Volumes out of the pictures that a conversion made of them."""
    jobs = []
    for name, record in index.volumes.items():
        images = [
            _inside(root, record.images, f"{picture}.png")
            for number in record.written
            for picture in record.picture_names(name, number)
        ]
        masks = [
            _inside(root, record.labels, f"{record.slice_id(name, number)}.png")
            for number in record.written
            if record.labels is not None
        ]
        jobs.append(_job(index, name, images, masks))
    remarks = [f"Pictures are put together as {SIDECAR} says; volumes: {len(jobs)}."]
    if lost := sum(len(record.written) < record.depth for record in index.volumes.values()):
        remarks.append(
            f"Empty slices were left out (volumes: {lost}): they come back without label, and without what "
            "the image showed there."
        )
    read_as = f"pictures with {SIDECAR}"
    return _source(index, jobs, read_as, remarks=tuple(remarks), credits=credits_of(root))


def names_slices(root: Path, index: SliceIndex) -> bool:
    """Whether a file in the folder is named as one of the slices or of their pictures."""
    files = by_stem(root)
    return any(
        picture in files
        for name, record in index.volumes.items()
        for number in record.written
        for picture in (record.slice_id(name, number), *record.picture_names(name, number))
    )


def masks(root: Path, index: SliceIndex, sidecar: Path) -> Source:
    """Label maps out of masks alone, such as predictions for the slices."""
    if root.parent == sidecar.parent and root.name in {one.images for one in index.volumes.values()}:
        raise DataError(f"{root} holds the images alone; give {root.parent}, or a folder of masks.")
    files = by_stem(root) if root.is_dir() else {}
    jobs = []
    for name, record in index.volumes.items():
        wanted = [record.slice_id(name, number) for number in record.written]
        if any(stem in files for stem in wanted):
            planes = [files.get(stem, root / f"{stem}.png") for stem in wanted]
            jobs.append(_job(index, name, None, planes))
    if not jobs:
        raise DataError(
            f"No file of {root} is named as a slice in {sidecar}; give the folder of the masks, or the whole "
            "folder that was converted."
        )
    remark = f"Masks are put together as {sidecar} says; label maps: {len(jobs)}."
    return _source(index, jobs, f"masks with {SIDECAR}", masks_only=True, remarks=(remark,))


def _job(index: SliceIndex, name: str, images: Sequence[Path] | None, masks: Sequence[Path]) -> Job:
    """A volume out of its pictures and masks, or a label map alone where `images` is None."""
    record = index.volumes[name]
    annotated = None if images is None else record.annotated
    case = Case(id=name, images=(), patient=record.patient, annotated=annotated)
    read = partial(_read_sliced, case, record, index, images, masks)
    needed = math.prod(record.shape) * max(1, len(record.windows)) * VOXEL_BYTES
    return Job(case, images is not None and record.test, read, (*(images or ()), *masks), needed)


def _source(index: SliceIndex, jobs: Sequence[Job], read_as: str, **more: Any) -> Source:
    return Source(index.name, index.channels, _back(index).target, tuple(jobs), read_as, **more)


def _read_sliced(
    case: Case,
    record: SlicedVolume,
    index: SliceIndex,
    images: Sequence[Path] | None,
    masks: Sequence[Path],
) -> Scan:
    """The volume out of its pictures (None: masks alone) and masks, with its own label values."""
    image = label = None
    plane = record.plane.shape
    if images is not None:
        channels = 3 if record.colour else 1
        pictures = [_sized(case, path, read_volume(path).array, (channels, *plane)) for path in images]
        each = len(record.picture_names(case.id, 0))
        starts = range(0, len(pictures), each)
        image = join_images(record, [np.concatenate(pictures[start : start + each]) for start in starts])
    if record.labels is not None:
        planes = [_sized(case, path, read_label(path).array, plane) for path in masks]
        joined = join_masks(record, planes, index.labels.background)
        back = _back(index)
        values = back.apply(joined.array)
        kind = np.dtype(record.label_dtype or values.dtype)
        if kind.kind in "ui" and all(
            np.iinfo(kind).min <= value <= np.iinfo(kind).max for value in back.target.values
        ):
            values = values.astype(kind)
        label = LabelMap(values, joined.geometry)
    return Scan(case, record.test, image, label)


def _sized(case: Case, path: Path, picture: Array, shape: tuple[int, ...]) -> Array:
    """The picture, if it has the shape of the volume's slices."""
    if picture.shape != shape:
        sizes = " and not ".join(map(times, (picture.shape, shape)))
        raise DataError(
            f"Case {case.id}: {path} has {sizes} pixels, as its volume's slices do; convert it again."
        )
    return picture


def _back(index: SliceIndex) -> Relabelling:
    """From the values of masks to those of the volumes' label maps.

    Raises:
        DataError: the sidecar contradicts itself.
    """
    try:
        back = unchanged(index.labels).renumbered(index.original)
        LabelSet.model_validate(back.target.model_dump())
    except (KeyError, ValidationError) as error:
        raise DataError(
            f"{SIDECAR} does not say which label values the masks' values stood for; convert the volumes again."
        ) from error
    return back


def _inside(root: Path, folder: str, name: str) -> Path:
    if Path(folder).name != folder or folder in ("", ".", ".."):
        raise DataError(f"{root / SIDECAR} names the folder '{folder}', which is not in its own; correct it.")
    return root / folder / name


# --- pictures without a sidecar ----------------------------------------------------------------------------


def series(source: Source) -> dict[str, list[Job]]:
    """Volume (patient, where none is known) -> pictures, where these are such and some belong together; else {}."""
    found: dict[str, list[Job]] = {}
    for job in source.jobs:
        place = job.case.slice_of
        found.setdefault(place.volume if place else job.case.patient, []).append(job)
    if len(found) == len(source.jobs) or not is_picture(source.jobs[0].case.images[0]):
        return {}
    try:
        flat = read_geometry(source.jobs[0].case.images[0]).ndim == 2
    except DataError:
        flat = True
    return found if flat else {}


def placed(pictures: Mapping[str, list[Job]]) -> bool:
    """Whether each picture is said to be a slice at a stated distance from the next."""
    places = [job.case.slice_of for slices in pictures.values() for job in slices]
    return all(place is not None and place.distance_mm is not None for place in places)


def stacked(
    source: Source, pictures: Mapping[str, list[Job]], spacing_mm: Sequence[float] | None = None
) -> Source:
    """Volumes out of pictures by the numbers of the slices, which stand in their names or a manifest; axial, upright.

    Args:
        source: the pictures as they were found.
        pictures: those of each volume, from `series`.
        spacing_mm: of columns, rows and slices; None where the pictures are `placed`.
    """
    jobs = []
    for name, slices in pictures.items():
        ordered = sorted(slices, key=lambda job: _number(job.case))
        drawn = [set(job.case.annotated) for job in ordered if job.case.annotated is not None]
        # What was not drawn in each slice was not drawn in the volume.
        annotated = tuple(sorted(set.intersection(*drawn))) if drawn else None
        case = Case(id=name, images=(), patient=ordered[0].case.patient, annotated=annotated)
        read = partial(_read_stacked, case, [job.case for job in ordered], spacing_mm)
        files = tuple(file for job in ordered for file in job.files)
        jobs.append(Job(case, all(job.test for job in ordered), read, files))
    return replace(
        source,
        jobs=tuple(jobs),
        dataset=None,
        remarks=(
            *source.remarks,
            f"Pictures are put together by the numbers of the slices (volumes: {len(jobs)}), taken for axial "
            "slices from inferior to superior with the patient's right on the left.",
        ),
    )


def _read_stacked(volume: Case, ordered: Sequence[Case], spacing_mm: Sequence[float] | None) -> Scan:
    numbers = [_number(case) for case in ordered]
    for before, after in pairwise(numbers):
        if after != before + 1:
            what = f"slice {after} twice" if after == before else f"no slice {before + 1}"
            raise DataError(f"Case {volume.id} has {what}; complete the pictures or correct their names.")
    images: list[Array] = []
    masks: list[Array] = []
    given = spacing_mm
    for case in ordered:
        read = read_image(case, floating=False)
        picture, place = read.array, case.slice_of
        if given is None and place is not None and place.distance_mm is not None:
            own = (*read.geometry.spacing_mm, place.distance_mm)
            spacing_mm = spacing_mm or own
            if not np.allclose(own, spacing_mm, rtol=_SAME_SPACING):
                raise DataError(
                    f"Case {volume.id}: its first slice states voxels of {times(spacing_mm)} mm and those of {case.id} "
                    f"of {times(own)} mm; correct the manifest, or give --spacing X,Y,Z."
                )
        mask = None if case.label is None else read_case_label(case).array
        first = images[0].shape if images else picture.shape
        if picture.shape != first or (mask is not None and mask.shape != first[1:]):
            raise DataError(
                f"Case {volume.id}: the pictures or masks differ in size, such as those of {case.id}; "
                "put only slices of one size together."
            )
        images.append(picture)
        masks += [] if mask is None else [mask]
    if masks and len(masks) < len(images):
        lone = next(case.id for case in ordered if case.label is None)
        raise DataError(
            f"Case {volume.id} has masks of {len(masks)} of its {len(images)} slices, and none of {lone}; add the "
            "others, empty where nothing is to be drawn, or take these away."
        )
    columns, rows = images[0].shape[1:]
    assert spacing_mm is not None
    grid = Geometry.from_spacing((columns, rows, len(images)), spacing_mm)
    image = np.stack([uncut(channel, grid, "z") for channel in np.stack(images, axis=1)])
    label = LabelMap(uncut(np.stack(masks), grid, "z"), grid) if masks else None
    return Scan(volume, False, Volume(image, grid), label)


def _number(case: Case) -> int:
    """The slice's number: its place's, or the last one in the picture's name.

    >>> [_number(Case(id=name, images=(), patient="")) for name in ("lung_001_slice_0042", "p7_3_image")]
    [42, 3]
    """
    if case.slice_of is not None:
        return case.slice_of.number
    found = re.findall(r"\d+", case.id)
    return int(found[-1]) if found else 0
