"""The layouts without a description: two folders whose files match by name, as slices (png) or in general (pairs)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vesal.data.dataset import Case, Dataset, Orphan, SliceOf
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.layouts.dataset_description import labels_beside
from vesal.layouts.label_discovery import found_labels
from vesal.layouts.matching_names import (
    IMAGE_WORDS,
    LABEL_WORDS,
    PREDICTION_WORDS,
    SPLIT_FOLDERS,
    match_names,
    words_in,
)
from vesal.layouts.scan_files import (
    alone,
    by_stem,
    folders_below,
    found_channels,
    image_files,
    is_picture,
    slice_of,
    visible,
    volume_id,
)
from vesal.text import listed, plural

#: Fewer volumes cannot be split into the usual five folds; names of so few may mean something else.
_FEW_VOLUMES = 5
_DEPTH = 2  # data/train/images


def detect_png(root: Path) -> str | None:
    """images/ and labels/ or masks/ that hold slices."""
    images, labels = _slice_folders(root)
    if images is None or labels is None:
        return None
    slices = [path for folder in (images, labels) for path in image_files(folder)[:1]]
    if len(slices) == 2 and all(map(is_picture, slices)):
        return f"{images.name}/ beside {labels.name}/ with slices such as {slices[0].name}"
    return None


def read_png(root: Path, labels: LabelSet | None) -> Dataset:
    """images/ and labels/ with slices of the same names; slices of one volume, by its id in the name, stay together."""
    images, truths = _slice_folders(root)
    if images is None or truths is None:
        raise DataError(f"{root} has no folders images and labels (or masks), which layout 'png' needs.")
    _one_truth(images, truths)
    return _matched(root, "png", [(images, truths)], labels)


def _slice_folders(root: Path) -> tuple[Path | None, Path | None]:
    folders = {path.name.lower(): path for path in visible(root) if path.is_dir()}
    return folders.get("images"), folders.get("labels", folders.get("masks"))


def detect_pairs(root: Path) -> str | None:
    """Two folders side by side whose names say images and labels, and at least one file that matches."""
    found = _folder_pairs(root)
    return f"{found[0][0].relative_to(root)}/ beside {found[0][1].relative_to(root)}/" if found else None


def read_pairs(root: Path, labels: LabelSet | None) -> Dataset:
    """Two folders side by side, at most two levels down, whose files match by name.

    Words such as image, volume, seg, mask, gt or label at either end of a name are passed over where the bare
    names do not match. The files may lie one folder deeper, in folders of the same names: images/train and
    labels/train are read alone, images/p1 and labels/p1 with those of the other patients, as are p1/images and
    p1/labels.

    Raises:
        DataError: there is no such pair, or the images could belong to several folders of labels.
    """
    found = _folder_pairs(root)
    if not found:
        raise DataError(
            f"{root} has no two folders such as images and labels whose files match by name, which layout 'pairs' "
            "needs; rename them or write a manifest."
        )
    _one_truth(*found[0])
    place = _place(found[0])
    chosen = [pair for pair in found if _place(pair) == place]
    if _patient_folder(found[0]).lower() in SPLIT_FOLDERS:
        chosen = found[:1]
    taken = set(chosen)
    dataset = _matched(root, "pairs", chosen, labels)
    remarks = list(dataset.remarks)
    if len(chosen) > 1:
        names = listed([_patient_folder(pair) for pair in chosen], 4)
        remarks.append(
            f"The {len(chosen)} folders {names} count as patients; if they are sites or parts, write a manifest."
        )
    if others := [str(pair[0].relative_to(root)) for pair in found if pair not in taken]:
        remarks.append(f"Left out are the other pairs of folders: {listed(others)}.")
    if not (root / "dataset.json").exists() and found[0][0].name == "imagesTr":
        remarks.append(
            "There is no dataset.json beside imagesTr and labelsTr, so names of channels and labels are guessed."
        )
    return dataset.model_copy(update={"remarks": tuple(remarks)})


def _folder_pairs(root: Path) -> list[tuple[Path, Path]]:
    """(images, labels) folders that share at least one case; those called 'train' first, then outer ones."""
    pairs = []
    for parent in folders_below(root, _DEPTH, readable=True):
        if parent != root and (parent / "dataset.json").exists():
            continue  # a data set of its own
        folders = [path for path in visible(parent) if path.is_dir()]
        truths = _truth_folders(parent)
        others = [path for path in folders if not words_in(path.name) & LABEL_WORDS]
        images = [path for path in others if words_in(path.name) & IMAGE_WORDS]
        if not images and len(others) == 1:
            images = others
        for truth in truths:
            for image in images:
                if match_names(by_stem(image), by_stem(truth)):
                    pairs.append((image, truth))
                else:
                    pairs += _inner_pairs(image, truth)
    return sorted(pairs, key=lambda pair: "train" not in str(pair[0].relative_to(root)).lower())


def _inner_pairs(images: Path, truths: Path) -> list[tuple[Path, Path]]:
    """Folders of the same names in both that share a case: images/train and labels/train."""
    inner = [path for path in visible(images) if path.is_dir() and (truths / path.name).is_dir()]
    pairs = [(path, truths / path.name) for path in inner]
    return [(image, truth) for image, truth in pairs if match_names(by_stem(image), by_stem(truth))]


def _truth_folders(parent: Path) -> list[Path]:
    """Folders whose names say labels, and do not say predictions."""
    named = [path for path in visible(parent) if path.is_dir() and words_in(path.name) & LABEL_WORDS]
    return [path for path in named if not words_in(path.name) & PREDICTION_WORDS]


def _place(pair: tuple[Path, Path]) -> tuple[Path, ...]:
    """Where a pair of folders lies, but for the folder that may be a patient's."""
    image, truth = pair
    if image.name == truth.name:
        return image.parent, truth.parent
    return image.parent.parent, Path(image.name), Path(truth.name)


def _patient_folder(pair: tuple[Path, Path]) -> str:
    image, truth = pair
    return image.name if image.name == truth.name else image.parent.name


def _one_truth(images: Path, truth: Path) -> None:
    """Refuse images beside which two folders of labels lie: both match, or the other one matches nothing.

    As in DRIVE, where mask/ is the field of view and matches by name, and 1st_manual/ is the truth and does not.
    """
    others = [path for path in _truth_folders(images.parent) if path != truth]
    if images.name == truth.name or not others:
        return
    beside = [path for path in folders_below(images.parent, 1, readable=True) if path != images.parent]
    stems = {path: by_stem(path) for path in beside if path != truth}
    for other in others:
        files = stems.get(other)
        if not files:
            continue
        rivals = [path for path in stems if path != other and match_names(stems[path], files)]
        if images in rivals or not rivals:
            raise DataError(
                f"The labels of {images} may be {truth.name}/ or {other.name}/; move one of them elsewhere, or write "
                "manifest.csv with the columns id, image, label and patient."
            )


def _matched(
    root: Path, layout: str, folders: Sequence[tuple[Path, Path]], labels: LabelSet | None
) -> Dataset:
    """The cases of pairs of folders; of several, each is a patient whose name stands before those of the files."""
    cases: list[Case] = []
    orphans: list[Orphan] = []
    for image_folder, label_folder in folders:
        images, truths = by_stem(image_folder), by_stem(label_folder)
        partner = match_names(images, truths)
        patient, place = _patients(images)
        folder = _patient_folder((image_folder, label_folder))
        before = f"{folder}_" if len(folders) > 1 else ""
        cases += [
            Case(
                id=before + name,
                images=(images[name],),
                label=truths[partner[name]],
                patient=folder if before else patient[name],
                slice_of=_placed(place[name], before),
            )
            for name in images
            if name in partner
        ]
        orphans += alone(images, partner, "label") + alone(truths, set(partner.values()), "image")
    image_folder, label_folder = folders[0]
    remarks = []
    labels = labels or labels_beside(root)
    if cases and labels is None:
        labels, remark = found_labels(cases, label_folder)
        remarks.append(remark)
    if not cases or labels is None:
        raise DataError(
            f"No file of {image_folder} matches one of {label_folder} by name; "
            "name images and labels alike or write a manifest."
        )
    remarks += volumes_remarks(cases)
    return Dataset(
        name=root.name,
        root=root,
        layout=layout,
        channels=found_channels(cases, colours=True),
        labels=labels,
        cases=tuple(cases),
        orphans=tuple(orphans),
        remarks=tuple(remarks),
    )


def _placed(place: SliceOf | None, before: str) -> SliceOf | None:
    """A slice's place, with its volume called like its case."""
    return place and place.model_copy(update={"volume": before + place.volume})


def volumes_remarks(cases: Sequence[Case]) -> list[str]:
    """How many volumes the names of slices give, and what helps where they seem to be numbers of something else."""
    volumes = sorted({case.patient for case in cases})
    if len(volumes) == len(cases):
        return []
    remark = (
        f"The {len(cases)} images are of {plural(len(volumes), 'volume')} by their names, such as "
        f"{cases[0].patient} for {cases[0].images[0].name}; those of one volume stay together."
    )
    if len(volumes) < _FEW_VOLUMES and any(case.slice_of is None for case in cases):
        remark += (
            f" If {listed(volumes, 4)} {'is a site or a year' if len(volumes) == 1 else 'are sites or years'} and no "
            "patient, write manifest.csv with the columns id, image, label and patient."
        )
    return [remark]


def _patients(images: Mapping[str, Path]) -> tuple[dict[str, str], dict[str, SliceOf | None]]:
    """Name of an image -> the patient, and the place of a slice in its volume; a file that is a volume is its own.

    _0000 is the channel where every name ends so, else it is a slice's number.
    """
    channel = all(name.endswith("_0000") for name in images)
    patients: dict[str, str] = {}
    places: dict[str, SliceOf | None] = {}
    for name, path in images.items():
        parts = re.split(r"([_\-. ]+)", name.removesuffix("_0000") if channel else name)
        while len(parts) > 2 and parts[-1].lower() in IMAGE_WORDS:
            parts = parts[:-2]
        patients[name] = volume_id("".join(parts)) if is_picture(path) else name
        places[name] = slice_of("".join(parts)) if is_picture(path) else None
    return patients, places
