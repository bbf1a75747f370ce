"""The layouts that a dataset.json describes: Medical Segmentation Decathlon and nnU-Net."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vesal.data.dataset import Case, Dataset, Orphan, SliceOf
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.layouts.dataset_description import description, inside, json_channels, json_labels, listed_entries
from vesal.layouts.label_discovery import found_labels
from vesal.layouts.scan_files import (
    alone,
    annotated_names,
    by_stem,
    channel_files,
    found_channels,
    volume_id,
)
from vesal.text import listed, plural
from vesal.volume.io import strip_suffix

_ACDC_CASE = re.compile(r"(patient\d+)_frame\d+")


# --- Medical Segmentation Decathlon ------------------------------------------------------------------------


def detect_msd(root: Path) -> str | None:
    """A dataset.json that lists the training cases, and is not nnU-Net's."""
    if not (root / "dataset.json").is_file() or detect_nnunet(root) is not None:
        return None
    training = description(root).get("training")
    return "a dataset.json that lists its training cases" if isinstance(training, list) else None


def read_msd(root: Path, labels: LabelSet | None) -> Dataset:
    """dataset.json with 'training': [{"image": ..., "label": ...}], 'test': [...], 'labels', 'modality'.

    An image may be 4D and hold several channels. A listed file that is absent stays a case, so that it is named
    when it is read; files that are not listed are left out and remarked.
    """
    json = description(root)
    labels = labels or json_labels(json, root / "dataset.json")
    remarks = []
    cases: dict[str, Case] = {}
    for entry in listed_entries(json, "training", root):
        if not isinstance(entry, Mapping) or "image" not in entry or "label" not in entry:
            raise DataError(
                f"{root / 'dataset.json'} has a training entry without image and label: {entry!r}."
            )
        image = inside(root, entry["image"])
        label = None if entry["label"] is None else inside(root, entry["label"])
        case = _case(json, root, strip_suffix(image), (image,), label)
        remarks += _entered(cases, case, root)
    tests: dict[str, Case] = {}
    for entry in listed_entries(json, "test", root):
        image = inside(root, entry["image"] if isinstance(entry, Mapping) else entry)
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
        channels=json_channels(json, root),
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
    named = set(_channels_in(root / "imagesTr"))
    if named & set(by_stem(root / "labelsTr")):
        return "imagesTr/CASE_0000 beside labelsTr/CASE"
    json = description(root) if (root / "dataset.json").is_file() else {}
    if _lists_its_files(json, root):
        return None
    if named & set(_truths(root / "labelsTr", named)):
        return "imagesTr/CASE_0000 beside labelsTr/CASE_0000"
    if json:
        if any(named & set(_truths(folder, named)) for folder in _label_folders(json, root)):
            return "imagesTr/CASE_0000 beside the labels that dataset.json lists"
        named |= set(_channels_in(root / "imagesTs"))
        if isinstance(json.get("dataset"), Mapping) or (named and "file_ending" in json):
            return "a dataset.json as nnU-Net writes it"
    return None


def read_nnunet(root: Path, labels: LabelSet | None) -> Dataset:
    """imagesTr/CASE_0000.nii.gz (one file a channel), labelsTr/CASE.nii.gz, imagesTs; dataset.json of version 1 or 2.

    Without dataset.json the channels get numbers for names and the label values are found by reading.
    """
    described = (root / "dataset.json").is_file()
    json = description(root) if described else {}
    images, remarks = _channels_in(root / "imagesTr"), list[str]()
    truths = _labels_of(json, root, images, remarks)
    if isinstance(json.get("dataset"), Mapping):
        cases, lone = _nnunet_listed(json, root), list[Orphan]()
    else:
        cases, lone = _nnunet_found(json, root, images, truths)
    tests = [_case(json, root, name, files) for name, files in _channels_in(root / "imagesTs").items()]
    if described:
        labels, channels = labels or json_labels(json, root / "dataset.json"), json_channels(json, root)
        remarks += _contradicted(json, channels, cases, root)
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


def _contradicted(
    json: Mapping[str, Any], channels: Sequence[str], cases: Sequence[Case], root: Path
) -> list[str]:
    """What dataset.json says of the files that is not so: how many a case has, and how their names end."""
    remarks = []
    files = Counter(len(case.images) for case in cases).most_common(1)
    if files and (there := files[0][0]) != len(channels):
        of_them = [case for case in cases if len(case.images) == there]
        # A single file may hold all channels, as a colour picture does.
        if there > 1 or len(found_channels(of_them, colours=True)) != len(channels):
            numbers = {number for found in channel_files(of_them[0].images).values() for number in found}
            absent = ", ".join(f"_{i:04d} for {name}" for i, name in enumerate(channels) if i not in numbers)
            remarks.append(
                f"dataset.json declares {plural(len(channels), 'channel')} ({listed(channels)}), but "
                f"{plural(len(of_them), 'case')} of {len(cases)} have {plural(there, 'file')}, such as "
                f"{of_them[0].images[-1].name}; "
                + (
                    f"add the files {absent}, or correct channel_names."
                    if absent
                    else "correct channel_names."
                )
            )
    ending = json.get("file_ending")
    if isinstance(ending, str) and cases:
        others = [path for case in cases for path in case.images if not path.name.endswith(ending)]
        if others:
            remarks.append(
                f"dataset.json says that files end in '{ending}', and {plural(len(others), 'image')} do not, such as "
                f"{others[0].name}; they are read as they end, but nnU-Net will not find them."
            )
    return remarks


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
        files = [inside(root, image) for image in entry["images"]]
        cases.append(_case(json, root, name, files, inside(root, entry["label"])))
    return cases


def _labels_of(
    json: Mapping[str, Any], root: Path, images: Container[str], remarks: list[str]
) -> dict[str, Path]:
    """Label files by case: of labelsTr, or of the folders that version 1's 'training' lists in its place.

    Where several of these hold a label of one case, it is the one that is listed.

    Raises:
        DataError: two of a case are listed.
    """
    entries = _listed_labels(json, root)
    listed_folders = _label_folders(json, root)
    truths: dict[str, Path] = {}
    for folder in listed_folders or [root / "labelsTr"]:
        for name, path in _truths(folder, images).items():
            other = truths.setdefault(name, path)
            if path in entries and other is not path:
                if other in entries:
                    raise DataError(
                        f"{root / 'dataset.json'} lists two labels of {name} ({other} and {path}); keep the one that "
                        "is meant."
                    )
                truths[name] = path
    if listed_folders and (root / "labelsTr").is_dir():
        names = " and ".join(folder.name for folder in listed_folders)
        remarks.append(f"dataset.json lists labels in {names}; those in labelsTr are left out.")
    if numbered := [name for name, path in truths.items() if strip_suffix(path) != name]:
        remarks.append(
            f"The labels of {plural(len(numbered), 'case')} are called like the first channel, with _0000; "
            "they were taken for the labels that they are by their folder."
        )
    return truths


def _lists_its_files(json: Mapping[str, Any], root: Path) -> bool:
    """Whether 'training' lists images as they are called, which are then the Decathlon's, with any names."""
    training = json.get("training")
    first = training[0] if isinstance(training, list) and training else None
    image = first.get("image") if isinstance(first, Mapping) else None
    return isinstance(image, str) and inside(root, image).is_file()


def _listed_labels(json: Mapping[str, Any], root: Path) -> dict[Path, None]:
    """Label files that version 1's 'training' lists, in its order."""
    training = json.get("training")
    return {
        inside(root, entry["label"]): None
        for entry in (training if isinstance(training, list) else ())
        if isinstance(entry, Mapping) and isinstance(entry.get("label"), str)
    }


def _label_folders(json: Mapping[str, Any], root: Path) -> list[Path]:
    """Folders other than labelsTr, which exist and in which version 1's 'training' says that labels lie."""
    found = dict.fromkeys(path.parent for path in _listed_labels(json, root))
    return [folder for folder in found if folder != root / "labelsTr" and folder.is_dir()]


def _truths(folder: Path, images: Container[str]) -> dict[str, Path]:
    """Label files of a folder by case; where all are called CASE_0000, and no image is CASE_0000_0000, they are
    the labels of CASE.
    """
    found = by_stem(folder)
    cases = {stem.removesuffix("_0000"): path for stem, path in found.items() if stem.endswith("_0000")}
    numbered = len(cases) == len(found) and not any(stem in images for stem in found)
    return cases if numbered and all(case in images for case in cases) else found


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
