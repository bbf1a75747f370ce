"""The layout whose files say by a word what they are: a folder a case (image, label), or all in one (x, x_seg)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vesal.data.dataset import Case, Dataset, Orphan
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.layouts.by_case.organ_masks import label_of_folder, organ_labels, with_lone_masks, with_organs
from vesal.layouts.dataset_description import labels_beside
from vesal.layouts.folders import volumes_remarks
from vesal.layouts.label_discovery import found_labels
from vesal.layouts.matching_names import (
    IMAGE_WORDS,
    LABEL_WORDS,
    PREDICTION_WORDS,
    ROLE_WORDS,
    SPLIT_FOLDERS,
    TRAIN_FOLDERS,
    any_of,
    words_in,
)
from vesal.layouts.scan_files import by_stem, found_channels, is_picture, slice_of, visible, volume_id
from vesal.text import listed

#: Words that name a channel.
CHANNEL_WORDS = {
    "ct", "ncct", "cect", "cta", "ctp", "pet", "suv", "mr", "mri", "mra", "t1", "t1w", "t1n", "t1c", "t1ce", "t1gd",
    "t2", "t2w", "t2f", "flair", "pd", "adc", "dwi", "swi", "dce", "lge", "cbf", "cbv", "mtt", "tmax",
}  # fmt: skip
_LAST_WORDS = ROLE_WORDS | CHANNEL_WORDS
_ROLE = any_of(ROLE_WORDS)
_GLUED = re.compile(rf"^({_ROLE})(?=\d{{2}})|(?<=\d)(?=({_ROLE})$)", re.IGNORECASE)
_DECIDE = (
    "say which is meant in manifest.csv, with the columns id, image (or image_CHANNEL), label and patient"
)


@dataclass(frozen=True)
class _File:
    """A file, the words of channels in its name, and its name without any word at its ends."""

    path: Path
    kind: str  # 'image', 'label' or 'prediction'
    channels: tuple[str, ...]
    rest: str

    @classmethod
    def of(cls, stem: str, path: Path) -> _File:
        rest, ends = split_words(stem)
        tokens = re.split(r"[_\-. ]+", stem.lower())
        kind = "prediction" if ends & PREDICTION_WORDS else "label" if ends & LABEL_WORDS else "image"
        return cls(path, kind, tuple(word for word in tokens if word in CHANNEL_WORDS), rest)


@dataclass(frozen=True)
class _Group:
    """The files of one case, of a folder of its own or not."""

    id: str
    patient: str
    files: tuple[_File, ...]

    def of(self, kind: str) -> list[_File]:
        return [file for file in self.files if file.kind == kind]

    @property
    def whole(self) -> bool:
        return bool(self.of("image") and self.of("label"))


def split_words(stem: str) -> tuple[str, frozenset[str]]:
    """A name without the words at its ends that say what the file is, and those words.

    Words of channels are taken off the end alone: CT_001 is a name.

    >>> [split_words(name)[0] for name in ("p0_CT_seg", "image", "img0001", "p01mask", "CT_12", "Patient_7")]
    ['p0', '', '0001', 'p01', 'CT_12', 'Patient_7']
    """
    bare = _GLUED.sub(lambda match: f"{match[1] or ''}_", stem)
    parts = re.split(r"([_\-. ]+)", bare)
    found: set[str] = set()
    while parts and (not parts[-1] or parts[-1].lower() in _LAST_WORDS):
        found.add(parts[-1].lower())
        parts = parts[:-2]
    while parts and (not parts[0] or parts[0].lower() in ROLE_WORDS):
        found.add(parts[0].lower())
        parts = parts[2:]
    return "".join(parts), frozenset(found)


def detect_cases(root: Path) -> str | None:
    """A folder a case, or all cases in one folder, where a word tells labels from images."""
    groups, _ = _groups(root)
    whole = next((group for group in groups if group.whole), None)
    if whole is None:
        return None
    image, label = (whole.of(kind)[0].path for kind in ("image", "label"))
    return f"{image.relative_to(root)} beside {label.name}"


def read_cases(root: Path, labels: LabelSet | None) -> Dataset:
    """p0/image.nii.gz and p0/label.nii.gz, or x.nii.gz and x_seg.nii.gz, in the folder or in its train/.

    A file with a word such as label, mask, seg or gt at an end of its name is a label, all others are images. Several
    images of a case are its channels if words of channels (ct, pet, t1, t2, adc, ...) tell them apart. A folder may
    hold several cases of a patient, p0/a.nii.gz and p0/a_seg.nii.gz. The label may be a folder of masks, one a label:
    s0001/segmentations/liver.nii.gz.

    Raises:
        DataError: the files of a case can be read in two ways.
    """
    groups, remarks = _groups(root)
    groups, previews = _without_previews(groups)
    if previews:
        remarks.append(f"Left out are pictures beside volumes, without a label: {listed(previews, 5)}.")
    scans = [group for group in groups if group.of("image")]
    for group in groups:
        _one_reading(group)
    counts = Counter(file.channels for group in scans for file in group.of("image"))
    several = any(len(group.of("image")) > 1 for group in scans)
    # A channel that most cases lack is no channel of this data set; one that few lack is missing there.
    wanted = sorted(words for words, count in counts.items() if 2 * count > len(scans)) if several else []
    cases, tests, orphans = _cases(groups, wanted)
    cases = with_lone_masks(cases)
    if predictions := [group.id for group in groups if group.of("prediction")]:
        remarks.append(f"Left out are files with the name of a prediction: {listed(predictions, 5)}.")
    labels = labels or labels_beside(root)
    organs = any(case.label is not None and case.label.is_dir() for case in cases)
    if labels is None and organs:
        labels = organ_labels(cases, root)
    elif labels is None:
        labels, remark = found_labels(cases, root)
        remarks.append(remark)
    dataset = Dataset(
        name=root.name,
        root=root,
        layout="cases",
        channels=_channel_names(cases, counts, wanted),
        labels=labels,
        cases=tuple(cases),
        unlabelled=tuple(tests),
        orphans=tuple(orphans),
        remarks=(*remarks, *volumes_remarks(cases)),
    )
    return with_organs(dataset, root / "meta.csv") if organs else dataset


def _without_previews(groups: Sequence[_Group]) -> tuple[list[_Group], list[str]]:
    """The groups without pictures that have no label, where what has one is a volume; and the pictures' names."""
    if any(is_picture(file.path) for group in groups if group.whole for file in group.of("image")):
        return list(groups), []
    previews = [
        group.id
        for group in groups
        if not group.of("label") and all(is_picture(file.path) for file in group.files)
    ]
    left_out = set(previews)
    return [group for group in groups if group.id not in left_out], previews


def _cases(
    groups: Sequence[_Group], wanted: Sequence[tuple[str, ...]]
) -> tuple[list[Case], list[Case], list[Orphan]]:
    """Cases with a label, without one (where none has one), and files whose partner is absent."""
    cases: list[Case] = []
    tests: list[Case] = []
    orphans: list[Orphan] = []
    labelled = any(group.whole for group in groups)
    for group in groups:
        images = {file.channels: file.path for file in group.of("image")}
        label = next((file.path for file in group.of("label")), None)
        absent = [" ".join(words) for words in wanted if words not in images]
        missing = "image" if not images else absent[0] if absent else "label" if label is None else ""
        if missing and (missing != "label" or labelled):
            if group.of("image") or group.of("label"):
                first = next(file.path for file in group.files if file.kind != "prediction")
                orphans.append(Orphan(id=group.id, path=first, missing=missing))
            continue
        picture = next(iter(images.values()))
        case = Case(
            id=group.id,
            images=tuple(images[words] for words in wanted or images),
            label=label,
            patient=group.patient,
            slice_of=slice_of(group.id) if is_picture(picture) else None,
        )
        (tests if label is None else cases).append(case)
    return cases, tests, orphans


def _channel_names(
    cases: Sequence[Case], counts: Mapping[tuple[str, ...], int], wanted: Sequence[tuple[str, ...]]
) -> tuple[str, ...]:
    """Of several files a case their words, of one its word if all have the same; else what the files hold."""
    if wanted:
        return tuple(_named(words) for words in wanted)
    found = found_channels(cases, colours=True)
    only = next(iter(counts)) if len(counts) == 1 else ()
    return (_named(only),) if only and len(found) == 1 else found


def _named(words: Sequence[str]) -> str:
    """As people write it; CT selects the CT normalisation.

    >>> _named(["ct"]), _named(["t1ce"]), _named(["flair"])
    ('CT', 'T1CE', 'FLAIR')
    """
    return " ".join(words).upper() or "image"


def _one_reading(group: _Group) -> None:
    """Refuse a case with two labels, or with images that no channel tells apart."""
    images, labels = group.of("image"), group.of("label")
    if len(labels) > 1:
        names = listed([file.path.name for file in labels], 4, last=" and ")
        raise DataError(
            f"Case {group.id} has several labels beside {images[0].path if images else labels[0].path.parent} "
            f"({names}); join them, move masks of one label each into a folder segmentations/ there, or {_DECIDE}."
        )
    channels = [file.channels for file in images]
    if len(images) > 1 and (len(set(channels)) < len(channels) or () in channels):
        names = listed([file.path.name for file in images], 4, last=" and ")
        where = labels[0].path if labels else images[0].path.parent
        raise DataError(f"Case {group.id} has several images beside {where} ({names}); {_DECIDE}.")


# --- which files are of one case ---------------------------------------------------------------------------


def _groups(root: Path) -> tuple[list[_Group], list[str]]:
    """The cases in a folder, or else in its folder of the training data, and remarks.

    Raises:
        DataError: there are cases side by side and cases in folders.
    """
    folders = {path.name.lower(): path for path in visible(root) if path.is_dir()}
    inner = next((folders[name] for name in TRAIN_FOLDERS if name in folders), None)
    for top in (root, inner):
        if top is None:
            continue
        beside = _side_by_side(top)
        inside = [group for path in visible(top) if _may_hold_a_case(path) for group in _in_folder(path)]
        if any(group.whole for group in beside) and any(group.whole for group in inside):
            raise DataError(
                f"{top} holds cases side by side ({beside[0].id}) and in folders ({inside[0].id}); put them apart and "
                "give one folder of the two, or write a manifest."
            )
        groups = beside if any(group.whole for group in beside) else inside
        if any(group.whole for group in groups):
            others = [path.name for name, path in folders.items() if name in SPLIT_FOLDERS and path != top]
            left = [f"Left out are the folders beside {top.name}: {listed(others, 4)}."] if others else []
            return groups, left
    return [], []


def _may_hold_a_case(path: Path) -> bool:
    """A folder that is not named for a split or for the images or labels of all cases."""
    words = words_in(path.name)
    return (
        path.is_dir() and path.name.lower() not in SPLIT_FOLDERS and not words & (IMAGE_WORDS | LABEL_WORDS)
    )


def _side_by_side(folder: Path) -> list[_Group]:
    """Files of a folder by what their names have in common."""
    return [
        _Group(name, volume_id(name) if is_picture(files[0].path) else name, tuple(files))
        for name, files in _by_rest(folder).items()
        if name
    ]


def _in_folder(folder: Path) -> list[_Group]:
    """The cases of a patient's folder: those whose names have something in common, else one of all files.

    Without a label there, nothing says that files of different names are of one case; names that differ by a number
    alone say that they are not.
    """
    by_rest = _by_rest(folder)
    groups = [
        _Group(_joined(folder.name, rest), folder.name, tuple(files)) for rest, files in by_rest.items()
    ]
    labelled = any(group.of("label") for group in groups) or label_of_folder(folder) is not None
    if len(groups) > 1 and (any(group.whole for group in groups) or not labelled or _of_two_numbers(groups)):
        return groups
    files = tuple(file for group in groups for file in group.files)
    if files and (inner := label_of_folder(folder)) is not None:
        files = (*files, _File(inner, "label", (), ""))
    return [_Group(folder.name, folder.name, files)] if files else []


def _of_two_numbers(groups: Sequence[_Group]) -> bool:
    """Whether the name of an image is that of a label but for a number: visit_1 and visit_2_seg are no case."""
    images, labels = (
        {file.rest for group in groups for file in group.of(kind)} for kind in ("image", "label")
    )
    return not {re.sub(r"\d+", "0", name) for name in images if name not in labels}.isdisjoint(
        re.sub(r"\d+", "0", name) for name in labels if re.search(r"\d", name)
    )


def _joined(folder: str, rest: str) -> str:
    """A name for one of several cases in a folder.

    >>> _joined("p0", "a"), _joined("p0", "p0_a"), _joined("p0", "")
    ('p0_a', 'p0_a', 'p0')
    """
    return rest if rest.startswith(folder) else "_".join(filter(None, (folder, rest)))


def _by_rest(folder: Path) -> dict[str, list[_File]]:
    """Files by what is left of their names; a _0000 is the channel where that gives an image its label."""
    files = [_File.of(stem, path) for stem, path in by_stem(folder).items()]
    labelled = {file.rest for file in files if file.kind == "label"}
    found: dict[str, list[_File]] = {}
    for file in files:
        bare = split_words(re.sub(r"_0000$", "", file.rest))[0]
        rest = bare if file.rest not in labelled and bare in labelled else file.rest
        found.setdefault(rest, []).append(file)
    return found
