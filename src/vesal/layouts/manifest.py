"""The layout that users write themselves: a CSV or JSON file with one row or object a case."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vesal.data.dataset import Case, Dataset, SliceOf
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.files import expanded, read_json
from vesal.layouts.label_discovery import found_labels
from vesal.layouts.scan_files import (
    annotated_names,
    declared_labels,
    declared_pairs,
    found_channels,
    on_disk,
    with_threshold,
)
from vesal.volume.io import strip_suffix

_NAMES = ("manifest.csv", "manifest.json")
_KNOWN = {"id", "image", "label", "patient", "annotated", "volume", "slice", "slice_mm"}
_SEPARATORS = ",;\t"


def detect_manifest(root: Path) -> str | None:
    """manifest.csv or manifest.json in the folder, or a CSV or JSON file itself."""
    if root.is_file():
        return f"the file {root.name}"
    return next((f"a {name}" for name in _NAMES if (root / name).is_file()), None)


def read_manifest(root: Path, labels: LabelSet | None) -> Dataset:
    """Columns (CSV) or keys (JSON): id, image or image_CHANNEL for each channel, label, patient, annotated, and of
    slices volume, slice and slice_mm.

    Paths are relative to the manifest. `image` alone is needed; without `label` the case is a test scan; `patient`
    is the volume or the id if it is absent; `annotated` lists the labels that were drawn, with | between them (in JSON
    a list). `volume` names the volume that a 2D image is a slice of, `slice` is its number along it, and `slice_mm` the
    distance between slices whose numbers differ by one.
    JSON is a list of cases, or an object with 'cases' and, if wanted, 'name', 'channels', 'labels' {name: value},
    'regions' {name: [labels]}, 'ignore' (a value), 'threshold' (of soft masks of one label) and 'pairs'
    [[left, right]] in place of those guessed by name.
    """
    path = root if root.is_file() else next((root / name for name in _NAMES if (root / name).is_file()), None)
    if path is None:
        raise DataError(f"{root} has no manifest.csv or manifest.json, which layout 'manifest' needs.")
    rows, head = _rows(path)
    if not rows:
        raise DataError(f"{path} lists no case; add a row a case with id, image and label.")
    channels, ignored = _columns(rows, path)
    cases = [_case(row, number, channels, path) for number, row in enumerate(rows, start=1)]
    remarks = []
    if ignored:
        remarks.append(f"{path.name} has columns that mean nothing here: {', '.join(ignored)}.")
    labelled = [case for case in cases if case.label is not None]
    if labels is None and "labels" in head:
        labels = _declared(head, path)
    if labels is None and labelled:
        labels, remark = found_labels(labelled, path)
        remarks.append(remark)
    if labels is None:
        raise DataError(f"{path} names no label file; fill the column 'label' for the annotated cases.")
    named = head.get("channels", [])
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise DataError(f'{path}: "channels" must be a list of names such as ["T2", "ADC"].')
    return Dataset(
        name=str(head.get("name") or (path.parent.name if path.name in _NAMES else path.stem)),
        root=path.parent,
        layout="manifest",
        channels=tuple(named) or channels or found_channels(cases),
        labels=labels,
        cases=tuple(labelled),
        unlabelled=tuple(case for case in cases if case.label is None),
        remarks=tuple(remarks),
    )


def _rows(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The cases by column, and what else a JSON manifest says."""
    if path.suffix.lower() == ".json":
        json = read_json(path)
        head = json if isinstance(json, dict) else {"cases": json}
        rows = head.get("cases")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(
                f'{path} is not a manifest: it needs "cases", a list of objects with id, image and label.'
            )
        return [{_column(key): value for key, value in row.items()} for row in rows], head
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read {path}: {error}; save it as CSV in UTF-8.") from error
    first = text.split("\n", 1)[0]
    separator = max(_SEPARATORS, key=first.count)
    try:
        reader = csv.DictReader(io.StringIO(text), delimiter=separator)
        table = list(reader)
    except csv.Error as error:
        raise DataError(f"{path} is no table ({error}); save it as CSV in UTF-8.") from error
    columns = [_column(name) for name in reader.fieldnames or () if name.strip()]
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise DataError(f"{path} has two columns '{twice[0]}'; keep the one that is meant.")
    rows = [
        {_column(key): value.strip() for key, value in row.items() if isinstance(value, str)} for row in table
    ]
    return [row for row in rows if any(row.values())], {}


def _column(name: object) -> str:
    """Columns in any case; a channel's name keeps its own, because CT is not ct."""
    text = str(name).strip()
    return "image_" + text[6:] if text.lower().startswith("image_") else text.lower()


def _text(value: object) -> str:
    """'' where nothing is given; in JSON a name may be a number, and that 0."""
    return "" if value is None else str(value)


def _columns(rows: Sequence[Mapping[str, Any]], path: Path) -> tuple[tuple[str, ...], list[str]]:
    """Names of the channels in image_CHANNEL columns, and columns that mean nothing."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    channels = tuple(column.removeprefix("image_") for column in columns if column.startswith("image_"))
    if "image" in columns and channels:
        raise DataError(f"{path} has both 'image' and 'image_{channels[0]}'; keep one form.")
    if "image" not in columns and not channels:
        raise DataError(
            f"{path} has no column 'image' (it has {', '.join(columns)}); name the column of the scans so."
        )
    return channels, [name for name in columns if name not in _KNOWN and not name.startswith("image_")]


def _case(row: Mapping[str, Any], number: int, channels: Sequence[str], path: Path) -> Case:
    given = [row.get(f"image_{name}") for name in channels] if channels else row.get("image")
    files = given if isinstance(given, list) else [given]
    if not files or not all(isinstance(name, str) and name for name in files):
        raise DataError(f"Case {number} of {path} does not name all of its images; fill the row.")
    images = tuple(_path(str(entry), path) for entry in files)
    name = _text(row.get("id")) or strip_suffix(images[0])
    label = row.get("label")
    annotated = row.get("annotated")
    if isinstance(annotated, str):
        annotated = [part.strip() for part in annotated.split("|") if part.strip()] or None
    place = _slice_of(row, f"Case {number} of {path}")
    return Case(
        id=name,
        images=images,
        label=_path(str(label), path) if label else None,
        patient=_text(row.get("patient")) or (place.volume if place else name),
        annotated=annotated_names(annotated, f"Case {number} of {path}"),
        slice_of=place,
    )


def _slice_of(row: Mapping[str, Any], where: str) -> SliceOf | None:
    """Which slice of which volume a row is; None where it names no volume.

    Raises:
        DataError: the slice has no whole number, or its distance is no length.
    """
    volume, number, distance = (row.get(key) for key in ("volume", "slice", "slice_mm"))
    if volume in (None, ""):
        return None
    try:
        if not str(number).lstrip("-").isdecimal():
            raise ValueError("no whole number")
        stated = None if distance in (None, "") else float(str(distance))
        return SliceOf(volume=str(volume), number=int(str(number)), distance_mm=stated)
    except ValueError as error:
        raise DataError(
            f"{where} is a slice of '{volume}' but has slice '{number}' and slice_mm '{distance}'; slice is a whole "
            "number, slice_mm a distance in mm above 0 or empty."
        ) from error


def _path(entry: str, manifest: Path) -> Path:
    """As the manifest means it: relative to its folder unless absolute.

    Raises:
        DataError: no file can be called so.
    """
    if "\0" in entry:
        raise DataError(f"{manifest} names the file {entry!r}, and no name has such a character; correct it.")
    return on_disk(manifest.parent / expanded(Path(entry)))


def _declared(head: Mapping[str, Any], path: Path) -> LabelSet:
    values, regions, ignore = head["labels"], head.get("regions") or {}, head.get("ignore")
    whole = isinstance(values, dict) and all(type(value) is int for value in values.values())
    lists = isinstance(regions, dict) and all(isinstance(members, list) for members in regions.values())
    if not whole or not lists or not (ignore is None or type(ignore) is int):
        raise DataError(
            f'{path}: "labels" must be an object such as {{"tumour": 1}}, "regions" one of lists of names, '
            '"ignore" a whole number.'
        )
    pairs = declared_pairs(head, path)
    return with_threshold(
        declared_labels(values, path, regions=regions, ignore=ignore, pairs=pairs), head, path
    )
