"""The layouts that a dataset.json describes: Medical Segmentation Decathlon and nnU-Net."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from vesal.data.dataset import Case, Dataset, Orphan, SliceOf
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.files import read_json
from vesal.layouts.scan_files import (
    alone,
    annotated_names,
    by_stem,
    channel_files,
    declared_labels,
    declared_pairs,
    found_labels,
    volume_id,
)
from vesal.text import listed
from vesal.volume.io import strip_suffix

_ACDC_CASE = re.compile(r"(patient\d+)_frame\d+")


# --- Medical Segmentation Decathlon ------------------------------------------------------------------------


def detect_msd(root: Path) -> str | None:
    """A dataset.json that lists the training cases, and is not nnU-Net's."""
    if not (root / "dataset.json").is_file() or detect_nnunet(root) is not None:
        return None
    training = _description(root).get("training")
    return "a dataset.json that lists its training cases" if isinstance(training, list) else None


def read_msd(root: Path, labels: LabelSet | None) -> Dataset:
    """dataset.json with 'training': [{"image": ..., "label": ...}], 'test': [...], 'labels', 'modality'.

    An image may be 4D and hold several channels. A listed file that is absent stays a case, so that it is named
    when it is read; files that are not listed are left out and remarked.
    """
    json = _description(root)
    labels = labels or _json_labels(json, root)
    remarks = []
    cases: dict[str, Case] = {}
    for entry in _listed(json, "training", root):
        if not isinstance(entry, Mapping) or "image" not in entry or "label" not in entry:
            raise DataError(
                f"{root / 'dataset.json'} has a training entry without image and label: {entry!r}."
            )
        image = _inside(root, entry["image"])
        label = None if entry["label"] is None else _inside(root, entry["label"])
        case = _case(json, root, strip_suffix(image), (image,), label)
        remarks += _entered(cases, case, root)
    tests: dict[str, Case] = {}
    for entry in _listed(json, "test", root):
        image = _inside(root, entry["image"] if isinstance(entry, Mapping) else entry)
        if image.exists():
            remarks += _entered(tests, _case(json, root, strip_suffix(image), (image,)), root)
        else:
            remarks.append(f"dataset.json lists the test image {image}, which is not there.")
    promised = json.get("numTraining", len(cases))
    if promised != len(cases):
        remarks.append(f"dataset.json states {promised} training cases and lists {len(cases)}.")
    if foreign := [name for name in tests if name in cases and tests[name].images != cases[name].images]:
        remarks.append(f"Left out are test images with the names of training images: {listed(foreign, 5)}.")
    lone, unlisted = _unlisted(root, cases)
    if unlisted:
        remarks.append(
            f"{len(unlisted)} scans with labels are not listed in dataset.json and left out: {listed(unlisted, 5)}."
        )
    remarks += [] if "patients" in json else _maybe_one_patient(cases.values())
    return Dataset(
        name=str(json.get("name") or root.name),
        root=root,
        layout="msd",
        channels=_json_channels(json, root),
        labels=labels,
        cases=tuple(cases.values()),
        unlabelled=tuple(case for name, case in tests.items() if name not in cases),
        orphans=lone,
        remarks=tuple(remarks),
    )


def _entered(cases: dict[str, Case], case: Case, root: Path) -> list[str]:
    """Add a listed case to those before it; a remark if it is one of them."""
    known = cases.setdefault(case.id, case)
    if known is case:
        return []
    if known != case:
        first, second = (each.images[0] for each in (known, case))
        if first == second:
            first, second = (each.label or each.images[0] for each in (known, case))
        raise DataError(
            f"{root / 'dataset.json'} lists two cases called '{case.id}' ({first} and {second}); "
            "give each file its own name."
        )
    return [f"dataset.json lists {case.id} twice; it is taken once."]


def _unlisted(root: Path, cases: Mapping[str, Case]) -> tuple[tuple[Orphan, ...], list[str]]:
    """Files without a partner, and whole cases, that dataset.json does not list."""
    taken = {path for case in cases.values() for path in (*case.images, case.label)}
    images, labels = by_stem(root / "imagesTr"), by_stem(root / "labelsTr")
    both = [name for name, path in images.items() if name in labels and path not in taken]
    lone = alone(images, labels, "label") + alone(labels, images, "image")
    return tuple(orphan for orphan in lone if orphan.path not in taken), both


# --- nnU-Net -----------------------------------------------------------------------------------------------


def detect_nnunet(root: Path) -> str | None:
    """imagesTr/CASE_0000 beside labelsTr/CASE, or a dataset.json that says how nnU-Net's files end."""
    images, labels = by_stem(root / "imagesTr"), by_stem(root / "labelsTr")
    named = set(channel_files(images.values()))
    if named & set(labels):
        return "imagesTr/CASE_0000 beside labelsTr/CASE"
    if (root / "dataset.json").is_file():
        json = _description(root)
        named |= set(_channels_in(root / "imagesTs"))
        if isinstance(json.get("dataset"), Mapping) or (named and "file_ending" in json):
            return "a dataset.json as nnU-Net writes it"
    return None


def read_nnunet(root: Path, labels: LabelSet | None) -> Dataset:
    """imagesTr/CASE_0000.nii.gz (one file a channel), labelsTr/CASE.nii.gz, imagesTs; dataset.json of version 1 or 2.

    Without dataset.json the channels get numbers for names and the label values are found by reading.
    """
    described = (root / "dataset.json").is_file()
    json = _description(root) if described else {}
    images, truths = _channels_in(root / "imagesTr"), by_stem(root / "labelsTr")
    if isinstance(json.get("dataset"), Mapping):
        cases, lone = _nnunet_listed(json, root), list[Orphan]()
    else:
        cases, lone = _nnunet_found(json, root, images, truths)
    tests = [_case(json, root, name, files) for name, files in _channels_in(root / "imagesTs").items()]
    remarks = []
    if described:
        labels, channels = labels or _json_labels(json, root), _json_channels(json, root)
    else:
        remarks.append("There is no dataset.json, so channels have numbers for names.")
        channels = tuple(f"channel_{i}" for i in range(max((len(case.images) for case in cases), default=1)))
    if labels is None:
        labels, remark = found_labels(cases, root)
        remarks.append(remark)
    remarks += [] if "patients" in json else _maybe_one_patient(cases)
    known = {case.id for case in cases}
    return Dataset(
        name=str(json.get("name") or root.name),
        root=root,
        layout="nnunet",
        channels=channels,
        labels=labels,
        cases=tuple(cases),
        unlabelled=tuple(case for case in tests if case.id not in known),
        orphans=tuple(lone),
        remarks=tuple(remarks),
    )


def _nnunet_found(
    json: Mapping[str, Any], root: Path, images: Mapping[str, dict[int, Path]], truths: Mapping[str, Path]
) -> tuple[list[Case], list[Orphan]]:
    cases, lone = [], []
    expected = sorted({channel for files in images.values() for channel in files})
    for name, files in images.items():
        absent = [f"channel {channel:04d}" for channel in expected if channel not in files]
        if missing := "label" if name not in truths else next(iter(absent), None):
            lone.append(Orphan(id=name, path=next(iter(files.values())), missing=missing))
        else:
            cases.append(_case(json, root, name, files, truths[name]))
    return cases, lone + alone(truths, images, "image")


def _nnunet_listed(json: Mapping[str, Any], root: Path) -> list[Case]:
    """Version 2's optional 'dataset': {CASE: {"images": [...], "label": ...}}."""
    cases = []
    for name, entry in json["dataset"].items():
        if not isinstance(entry, Mapping) or not entry.get("images") or "label" not in entry:
            raise DataError(f"{root / 'dataset.json'}: case {name} needs 'images' and 'label'.")
        files = [_inside(root, image) for image in entry["images"]]
        cases.append(_case(json, root, name, files, _inside(root, entry["label"])))
    return cases


def _channels_in(folder: Path) -> dict[str, dict[int, Path]]:
    return channel_files(by_stem(folder).values())


# --- one case ----------------------------------------------------------------------------------------------


def _patient(name: str) -> str:
    """The case itself, but for ACDC's frames, which others keep under their names.

    >>> _patient("patient001_frame12"), _patient("la_003")
    ('patient001', 'la_003')
    """
    match = _ACDC_CASE.fullmatch(name)
    return match[1] if match else name


def _case(
    json: Mapping[str, Any],
    root: Path,
    name: str,
    images: Sequence[Path] | Mapping[int, Path],
    label: Path | None = None,
) -> Case:
    """A case, with Vesal's own entries: "patients": {case: patient}, "annotated": {case: [names]}, and "slices": {case:
    fields of `SliceOf`}.
    """
    patients, annotated = json.get("patients", {}), json.get("annotated", {})
    if not isinstance(patients, Mapping) or not isinstance(annotated, Mapping):
        raise DataError(
            f'{root / "dataset.json"}: "patients" gives cases their patients and "annotated" their lists of '
            "label names; correct or remove them."
        )
    try:
        place = json.get("slices", {}).get(name)
        slice_of = None if place is None else SliceOf.model_validate(place)
    except (AttributeError, ValidationError) as error:
        raise DataError(
            f'{root / "dataset.json"}: "slices" gives cases their place, such as {{"volume": "p1", "number": 12, '
            '"distance_mm": 5}; correct or remove it.'
        ) from error
    return Case(
        id=name,
        images=tuple(images[i] for i in sorted(images)) if isinstance(images, Mapping) else tuple(images),
        label=label,
        patient=str(patients.get(name, _patient(name))),
        annotated=annotated_names(annotated.get(name), f"Case {name} of {root / 'dataset.json'}"),
        slice_of=slice_of,
    )


def _maybe_one_patient(cases: Iterable[Case]) -> list[str]:
    """A remark if names look like several scans of one patient, such as p1_01 and p1_02, and count as several."""
    first: dict[str, str] = {}
    for case in cases:
        stem = volume_id(case.id)
        if case.patient != case.id or stem == case.id:
            continue
        if stem in first:
            return [
                f"Each case counts as its own patient, though {first[stem]} and {case.id} may be of one by their "
                "names; if so, say it in a manifest with the column patient."
            ]
        first[stem] = case.id
    return []


# --- dataset.json ------------------------------------------------------------------------------------------


def _description(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    if not path.is_file() and (root / "imagesTr").is_dir() and (root / "labelsTr").is_dir():
        raise DataError(
            f"{root} has imagesTr and labelsTr but no dataset.json; add it, or read the folder with layout 'pairs', "
            "which finds the label values itself."
        )
    if not path.is_file():
        raise DataError(f"{root} has no dataset.json, which layout 'msd' needs; give the folder that has it.")
    json = read_json(path)
    if not isinstance(json, dict):
        raise DataError(
            f"{path} is not a description of a data set: it needs 'training', 'labels' and 'modality'."
        )
    return json


def _listed(json: Mapping[str, Any], key: str, root: Path) -> Sequence[Any]:
    entries = json.get(key, [])
    if not isinstance(entries, list):
        raise DataError(f"'{key}' in {root / 'dataset.json'} is not a list.")
    return entries


def _inside(root: Path, entry: object) -> Path:
    """The path of an entry such as './imagesTr/a.nii.gz', which may not lead out of the folder."""
    path = PurePosixPath(str(entry))
    if path.is_absolute() and path.is_relative_to(root.as_posix()):
        path = path.relative_to(root.as_posix())
    bad = not isinstance(entry, str) or path.is_absolute() or ".." in path.parts or not path.parts
    if bad or "\0" in str(entry):
        raise DataError(
            f"{root / 'dataset.json'} names {entry!r}, which is not a file in its folder; correct the entry."
        )
    return root.joinpath(*path.parts)


def _json_channels(json: Mapping[str, Any], root: Path) -> tuple[str, ...]:
    named = json.get("channel_names", json.get("modality"))
    if isinstance(named, Mapping):
        named = [named[key] for key in sorted(named, key=lambda key: (len(str(key)), str(key)))]
    if isinstance(named, str):
        named = [named]
    if not isinstance(named, list) or not named:
        raise DataError(
            f'{root / "dataset.json"} does not name its channels; add "modality": {{"0": "MRI"}}.'
        )
    return tuple(str(name) for name in named)


def _json_labels(json: Mapping[str, Any], root: Path) -> LabelSet:
    """Labels in either direction: {"0": "background"} as MSD has them or {"background": 0} as nnU-Net 2 has them.

    A list of values is a region, as in nnU-Net 2; the plain names beside it are then regions of one value.
    """
    path = root / "dataset.json"
    named = json.get("labels")
    if not isinstance(named, Mapping) or not named:
        raise DataError(
            f'{path} does not declare its labels; add "labels": {{"0": "background", "1": "..."}}.'
        )
    entries: dict[str, list[int]] = {}
    for key, value in named.items():
        values, name = (value, key) if isinstance(value, list) else ([value], key)
        if _is_integer(key) and not isinstance(value, list) and not _is_integer(value):
            values, name = [key], value
        if str(name) in entries:
            raise DataError(f"{path} calls two label values '{name}'; give each its own name.")
        entries[str(name)] = [_integer(item, path) for item in values]
    if all(len(values) == 1 for values in entries.values()):
        return declared_labels(
            {name: values[0] for name, values in entries.items()},
            path,
            regions=_named_regions(json, path),
            pairs=declared_pairs(json, path),
        )
    named = json.get("label_names", {})
    if not isinstance(named, Mapping):
        raise DataError(f'{path}: "label_names" gives each label its value, such as {{"oedema": 2}}.')
    return _region_labels(
        entries,
        json.get("regions_class_order"),
        path,
        declared_pairs(json, path),
        {_integer(value, path): str(name) for name, value in named.items()},
    )


def _named_regions(json: Mapping[str, Any], path: Path) -> dict[str, list[str]] | None:
    """Vesal's own "regions": {"whole tumour": ["oedema", ...]}, outer before inner, beside plain labels."""
    regions = json.get("regions")
    if regions is None:
        return None
    if not isinstance(regions, Mapping) or not all(isinstance(members, list) for members in regions.values()):
        raise DataError(f'{path}: "regions" gives each region a list of label names; correct or remove it.')
    return {str(name): [str(member) for member in members] for name, members in regions.items()}


def _region_labels(
    entries: Mapping[str, list[int]],
    order: object,
    path: Path,
    pairs: Sequence[tuple[str, str]] | None,
    label_names: Mapping[int, str],
) -> LabelSet:
    """Where a region holds several values that no inner one has, `regions_class_order` says which is painted:
    that one comes first. `label_names` are Vesal's own, for nnU-Net names regions alone.
    """
    special = {
        name: values[0] for name, values in entries.items() if name.lower() in ("background", "ignore")
    }
    regions = {name: sorted(values) for name, values in entries.items() if name not in special}
    singles = {values[0]: name for name, values in regions.items() if len(values) == 1}
    every = sorted({value for values in regions.values() for value in values} | set(label_names))
    names = {value: label_names.get(value) or singles.get(value, f"label_{value}") for value in every}
    if isinstance(order, list) and len(order) == len(regions):
        for values, painted in zip(regions.values(), order, strict=True):
            if painted in values:
                values.insert(0, values.pop(values.index(painted)))
    return declared_labels(
        special | {names[value]: value for value in every},
        path,
        regions={name: [names[value] for value in values] for name, values in regions.items()},
        pairs=pairs,
    )


def _is_integer(value: object) -> bool:
    try:
        return float(str(value)).is_integer()
    except ValueError:
        return False


def _integer(value: object, path: Path) -> int:
    if isinstance(value, bool) or not _is_integer(value):
        raise DataError(f"{path} gives {value!r} as a label value; a whole number is wanted.")
    return int(float(str(value)))
