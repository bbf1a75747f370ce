"""Scans and masks on this disk, as the viewer takes them: NIfTI, with names, colours and volumes of what they hold."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from vesal.data.case import read_image
from vesal.data.dataset import Case
from vesal.data.labels import Label, LabelSet
from vesal.data.value_tables import value_counts
from vesal.errors import DataError, UsageError
from vesal.layouts.dicom.chosen_series import series_named
from vesal.layouts.dicom.dicom_studies import detect_dicom, scan_cases
from vesal.record import Record
from vesal.report.figures.colours import class_colours
from vesal.text import listed, plural
from vesal.volume.dicom.series import read_study
from vesal.volume.dicom.source import open_source
from vesal.volume.io import read_label, read_segments, read_volume, strip_suffix, write_label, write_volume
from vesal.volume.volume import Volume
from vesal.workflow.deployment.served_models import ServedLabel

_LOG = logging.getLogger(__name__)

_NIFTI = ".nii"
#: Where the server has the files.
ROUTE = "/api/view/files"


class ViewedScan(Record):
    """A picture: where the viewer fetches it, and its name."""

    url: str
    name: str


class ViewedMask(Record):
    """A label map.

    Attributes:
        labels: of its values.
        volumes_ml: label -> millilitres.
        role: prediction or truth.
    """

    url: str
    name: str
    labels: tuple[ServedLabel, ...]
    volumes_ml: dict[str, float]
    role: str


class ViewAnswer(Record):
    """What is shown.

    Attributes:
        uncertainty: of the first mask, 0 to 1, or None.
        reason: why the result is to be reviewed, or ''.
    """

    scan: ViewedScan
    masks: tuple[ViewedMask, ...]
    uncertainty: ViewedScan | None = None
    reason: str = ""


@dataclass(frozen=True)
class Viewed:
    """What the command line names.

    Attributes:
        scan: a file, or a folder of DICOM.
        masks: label maps of it.
        truth: the true label map, or None.
        uncertainty: a map of it, or None.
        labels: of the masks, where a model names them.
        series: of a study of several, its number, UID or a part of its description; '' where there is one.
    """

    scan: Path
    masks: tuple[Path, ...] = ()
    truth: Path | None = None
    uncertainty: Path | None = None
    labels: LabelSet | None = None
    series: str = ""


def prepare_view(viewed: Viewed, folder: Path) -> ViewAnswer:
    """Write what is to be shown into a folder, as NIfTI.

    Args:
        viewed: what the command line names.
        folder: there and empty.

    Raises:
        UsageError: a file is not there.
        DataError: a file cannot be read, is in 2D, or a mask lies on another grid than the scan.
    """
    scan = _read_scan(viewed)
    if scan.geometry.ndim != 3:
        raise DataError(
            f"{viewed.scan} is a picture in 2D, and the viewer shows volumes; open it in any other."
        )
    shown = _written(folder, 0, _name(viewed.scan), Volume(scan.array[:1], scan.geometry))
    roles = [*((path, "prediction") for path in viewed.masks)]
    roles += [] if viewed.truth is None else [(viewed.truth, "truth")]
    masks = tuple(
        _mask(path, role, scan, viewed.labels, folder, number)
        for number, (path, role) in enumerate(roles, start=1)
    )
    uncertainty = None
    if viewed.uncertainty is not None:
        found = read_volume(viewed.uncertainty)
        _check_grid(viewed.uncertainty, found.geometry.shape, scan)
        uncertainty = _written(folder, len(masks) + 1, _name(viewed.uncertainty), found)
    return ViewAnswer(scan=shown, masks=masks, uncertainty=uncertainty)


def _read_scan(viewed: Viewed) -> Volume:
    path = viewed.scan
    if not path.exists():
        raise UsageError(f"There is no {path}; check the path.")
    if not path.is_dir():
        return read_image(Case(id=_name(path), images=(path,), patient=""))
    if not detect_dicom(path):
        raise UsageError(f"{path} is a folder without DICOM; name the file of a scan.")
    study = read_study(open_source(path))
    series = series_named(study.series, viewed.series) if viewed.series else list(study.series)
    if len(series) != 1:
        which = listed([f"number {one.number} ({one.modality})" for one in series])
        raise UsageError(f"{path} holds {plural(len(series), 'series')}: {which}; choose one by --series.")
    remarks: list[str] = []
    volumes = list(scan_cases(study, series, remarks, fill=False))
    if not volumes:
        raise DataError(f"{path} holds no scan that can be shown. {' '.join(remarks)}")
    if len(volumes) > 1:
        phases = [scan.stack.phase for _, scan in volumes]
        _LOG.warning("%s holds %d phases (%s); the first is shown.", path, len(phases), listed(phases))
    return read_image(volumes[0][0])


def _mask(
    path: Path, role: str, scan: Volume, named: LabelSet | None, folder: Path, number: int
) -> ViewedMask:
    label = read_label(path)
    _check_grid(path, label.geometry.shape, scan)
    counts = {value: count for value, count in value_counts(label.array).items() if value}
    labels = _labels(path, named, sorted(counts))
    ml = label.geometry.voxel_volume_mm3 / 1000.0
    target = folder / str(number)
    target.mkdir()
    write_label(target / f"{_name(path)}{_NIFTI}", label)
    return ViewedMask(
        url=_url(number, _name(path)),
        name=path.name,
        labels=labels,
        volumes_ml={one.name: round(counts.get(one.value, 0) * ml, 4) for one in labels},
        role=role,
    )


def _labels(path: Path, named: LabelSet | None, values: Sequence[int]) -> tuple[ServedLabel, ...]:
    """Names and colours: the model's, else those in the file's header, else numbers."""
    if named is None:
        segments = {one.value: one.name for one in read_segments(path)} if path.is_file() else {}
        found = tuple(Label(name=segments.get(value, f"label {value}"), value=value) for value in values)
        named = LabelSet(labels=found)
    named = named.model_copy(update={"regions": ()})
    return tuple(
        ServedLabel(name=label.name, value=label.value, colour=colour)
        for label, colour in zip(named.labels, class_colours(named), strict=True)
    )


def _check_grid(path: Path, shape: tuple[int, ...], scan: Volume) -> None:
    if shape != scan.geometry.shape:
        theirs, ours = (" x ".join(map(str, of)) for of in (shape, scan.geometry.shape))
        raise DataError(f"{path} has {theirs} voxels and the scan {ours}; name a map of this scan.")


def _written(folder: Path, number: int, name: str, volume: Volume) -> ViewedScan:
    target = folder / str(number)
    target.mkdir()
    array = volume.array
    # The viewer's graphics take no 64-bit numbers.
    if array.dtype.itemsize > 4:
        volume = replace(volume, array=array.astype(np.float32))
    write_volume(target / f"{name}{_NIFTI}", volume)
    return ViewedScan(url=_url(number, name), name=name)


def _url(number: int, name: str) -> str:
    return f"{ROUTE}/{number}/{quote(name + _NIFTI)}"


def _name(path: Path) -> str:
    return strip_suffix(path) or path.resolve().name
