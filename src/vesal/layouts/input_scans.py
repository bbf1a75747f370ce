"""Files and folders that are named for a prediction -> cases."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError, VesalError
from vesal.layouts.dicom.chosen_series import WantedScan, dicom_cases
from vesal.layouts.dicom.dicom_studies import detect_dicom
from vesal.layouts.matching_names import is_folder_of_labels, is_named_as_label
from vesal.layouts.registry import is_recognised, load_dataset
from vesal.layouts.scan_files import channel_files, folders_below, image_files, visible
from vesal.outputs import predicted_files
from vesal.text import plural
from vesal.volume.dicom.source import is_dicom_file
from vesal.volume.io import SUFFIXES, is_image, read_channels, strip_suffix
from vesal.volume.unread_formats import unread_format

#: Ending of a scan (lower case) -> that of its result, for scans that are no NIfTI. JPEG changes values.
_RESULT_ENDINGS = {
    ".png": ".png", ".jpg": ".png", ".jpeg": ".png", ".bmp": ".png", ".gif": ".png", ".tif": ".tif", ".tiff": ".tif",
    ".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha",
}  # fmt: skip

#: Levels of folders below the one that is named.
_DEPTH = 8
#: Folders below one of scans in which more are looked for, only to say so.
_MOST_FOLDERS = 1000
#: Other files of a folder without scans that are looked into.
_LOOKED_AT = 20
#: Files that are no images among which DICOM objects are looked for.
_MOST_FILES = 1000

#: In these layouts a file holds all channels of its case, so one without a label can be predicted all the same.
_WHOLE_FILES = ("msd", "acdc", "png", "pairs")


def default_ending(case: Case) -> str:
    """Of the result, in the scan's own format: '.png' for pictures, '.tif', '.nrrd', '.mha', else '.nii.gz'."""
    return _RESULT_ENDINGS.get(case.images[0].suffix.lower(), ".nii.gz")


@dataclass(frozen=True)
class ChannelFiles:
    """Which files make a scan.

    Attributes:
        count: channels of the model.
        missing: places of those that no scan has, or whose files are not to be taken.
        optional: a scan may be without some of the others.
    """

    count: int
    missing: tuple[int, ...] = ()
    optional: bool = False

    @property
    def wanted(self) -> set[int]:
        """Places of the channels that are looked for."""
        return set(range(self.count)) - set(self.missing)


def cases_to_predict(
    inputs: Sequence[Path],
    channels: int | ChannelFiles,
    labels: LabelSet | None = None,
    *,
    dicom: WantedScan | None = None,
    remark: Callable[[str], object] = str,
) -> list[Case]:
    """Cases in files and folders. No image is read, nor a label where `labels` are known; headers of numbered files
    are, where channels are optional.

    A file is a case. In a folder with images every image is a case, but CASE_0000, CASE_0001, ... are one where
    they are just as many as the model has channels. Files that were named one by one count as a folder's where
    the model has several channels. Any other folder is read as a data set, all its scans are taken, or its folders
    are searched. There, what by its name is a label map or what a prediction wrote is left out, unless there is
    nothing else. Whether a case has the channels that the model wants is found out when it is read.

    Args:
        inputs: files and folders, or the manifest of a data set.
        channels: how many the model wants, and which may be missing; in a folder where every number is 0000, CASE_0000
            is the case CASE for a model of one. Where others are higher they count slices, and results are named as
            the files.
        dicom: what a study has to hold, where the inputs may be DICOM.
        labels: of the model, so that the label maps of a data set need not be looked through for theirs.
        remark: is told what was left out.

    Raises:
        UsageError: nothing is there, or two inputs have the same name.
    """
    channels = ChannelFiles(channels) if isinstance(channels, int) else channels
    cases: list[Case] = []
    named: dict[Path, list[Path]] = {}
    once: dict[str, Path] = {}
    for path in inputs:
        once.setdefault(os.path.abspath(path), path)
    for path in once.values():
        if not path.exists():
            raise UsageError(f"There is no {path}; name a scan or a folder of scans.")
        if dicom is not None and _is_dicom(path):
            cases += dicom_cases(path, dicom, remark)
            continue
        if path.is_file() and not _is_manifest(path, inputs):
            named.setdefault(path.parent, []).append(path)
        elif path.is_dir() and image_files(path):
            cases += _flat(path, channels, remark)
        elif is_recognised(path):
            cases += _of_dataset(path, channels.count, labels, remark)
        else:
            cases += _nested(path, channels, remark)
        if dicom is not None and path.is_dir():
            _tell_of_dicom(path, remark)
    for files in named.values():
        cases += _grouped(files, channels) if channels.count > 1 else [_alone(file) for file in files]
    if not cases:
        raise UsageError(f"No scan was found; readable endings are {', '.join(SUFFIXES)}.")
    return _each_once(cases)


def _is_dicom(path: Path) -> bool:
    """A DICOM object, or a folder of such without images of another kind."""
    if path.is_file():
        return not is_image(path) and is_dicom_file(path)
    return not image_files(path) and detect_dicom(path) is not None


def _tell_of_dicom(root: Path, remark: Callable[[str], object]) -> None:
    """Images are meant where DICOM objects lie beside or below them; that these are not taken is said."""
    folders = itertools.islice(folders_below(root, _DEPTH, readable=True), _MOST_FOLDERS)
    files = (file for folder in folders for file in visible(folder) if not is_image(file))
    made = _predicted_files(root)
    others = (file for file in itertools.islice(files, _MOST_FILES) if file not in made)
    if found := next(filter(is_dicom_file, others), None):
        remark(
            f"{root} holds images, so its DICOM objects were not taken, such as {found}; put them into a folder of "
            "their own and name that, if they are meant."
        )


def _is_manifest(path: Path, inputs: Sequence[Path]) -> bool:
    """A table of scans counts where it is all that was named, and not among the files of a folder."""
    return len(inputs) == 1 and path.suffix.lower() in (".csv", ".json")


def _each_once(cases: Sequence[Case]) -> list[Case]:
    """A scan that was named twice, as with its folder, is one.

    Raises:
        UsageError: two scans have one name.
    """
    found: dict[str, Case] = {}
    for case in cases:
        other = found.setdefault(case.id, case)
        if [*map(os.path.abspath, other.images)] != [*map(os.path.abspath, case.images)]:
            raise UsageError(
                f"Several scans are named {case.id} ({other.images[0]} and {case.images[0]}), their results would "
                "overwrite each other; predict them into two folders."
            )
    return list(found.values())


def _of_dataset(
    folder: Path, channels: int, labels: LabelSet | None, remark: Callable[[str], object]
) -> list[Case]:
    """All scans of a data set, also those whose label is not there; what a prediction wrote into it is none."""
    try:
        dataset = load_dataset(folder, labels=labels)
    except DataError:
        # Its own labels may be others than the model's, which matters to those who score, not here.
        dataset = load_dataset(folder)
    cases = [*dataset.cases, *dataset.unlabelled]
    if channels == 1 or dataset.layout in _WHOLE_FILES:
        lone = [orphan for orphan in dataset.orphans if orphan.missing == "label"]
        cases += [Case(id=orphan.id, images=(orphan.path,), patient=orphan.id) for orphan in lone]
    made = set[Path]().union(*map(_predicted_files, {file.parent for case in cases for file in case.images}))
    results = [file for case in cases for file in case.images if file in made]
    if not results or len(results) == sum(len(case.images) for case in cases):
        return cases
    _Sorted([], [], results).tell(remark)
    return [case for case in cases if not made & {*case.images}]


def _flat(root: Path, channels: ChannelFiles, remark: Callable[[str], object]) -> list[Case]:
    """The scans directly in a folder; those in folders below are not taken, and said to be there."""
    found = _sorted([root], root)
    found.tell(remark)
    # With `root` itself, whose record knows the folders of overlays and probabilities.
    all_there = _sorted(itertools.islice(folders_below(root, _DEPTH, readable=True), _MOST_FOLDERS), root)
    below = [file for file in all_there.scans if file.parent != root]
    if below and not all_there.lone:
        remark(
            f"{root} holds scans itself, so those in the folders below it were not taken, such as {below[0]}; "
            "name their folders, too, if they are meant."
        )
    return _grouped(found.scans, channels)


def _nested(root: Path, channels: ChannelFiles, remark: Callable[[str], object]) -> list[Case]:
    """The scans of all folders below; where several have one name, the folders' names stand before it.

    Raises:
        UsageError: there is none.
    """
    there = _sorted(folders_below(root, _DEPTH), root)
    there.tell(remark)
    by_folder: dict[Path, list[Path]] = {}
    for file in there.scans:
        by_folder.setdefault(file.parent, []).append(file)
    found = [
        (case, folder.relative_to(root).parts)
        for folder, files in by_folder.items()
        for case in _grouped(files, channels)
    ]
    if not found:
        raise UsageError(f"No scan was found in {root} and the folders below it; {_instead(root)}")
    counts = Counter(case.id for case, _ in found)
    return [
        case if counts[case.id] == 1 else case.model_copy(update={"id": "_".join((*parts, case.id))})
        for case, parts in found
    ]


@dataclass(frozen=True)
class _Sorted:
    """Image files by what their names and the records of predictions say.

    Attributes:
        lone: `scans` are label maps or results, as there is nothing else.
    """

    scans: list[Path]
    labels: list[Path]
    results: list[Path]
    lone: bool = False

    def tell(self, remark: Callable[[str], object]) -> None:
        """What was left out."""
        for files, what in ((self.labels, "label maps by name"), (self.results, "results of vesal predict")):
            if files:
                which = f"Left out {plural(len(files), 'file')} ({what})"
                remark(f"{which}, such as {files[0]}; name such a file itself to predict it.")


def _sorted(folders: Iterable[Path], root: Path) -> _Sorted:
    """The image files directly in each of the folders, which are `root` and those below, outer first."""
    scans: list[Path] = []
    labels: list[Path] = []
    results: list[Path] = []
    made: set[Path] = set()
    for folder in folders:
        made |= _predicted_files(folder)
        of_labels = any(map(is_folder_of_labels, folder.relative_to(root).parts))
        for file in image_files(folder):
            if file in made:
                results.append(file)
            elif of_labels or is_named_as_label(strip_suffix(file)):
                labels.append(file)
            else:
                scans.append(file)
    if scans:
        return _Sorted(scans, labels, results)
    return _Sorted(labels, [], results, lone=True) if labels else _Sorted(results, [], [], lone=True)


def _predicted_files(folder: Path) -> set[Path]:
    """What predictions into a folder wrote there and below."""
    return {folder / name for name in predicted_files(folder)}


def _instead(root: Path) -> str:
    """What is there in the place of scans, and what to do."""
    files = [path for folder in folders_below(root, _DEPTH) for path in visible(folder) if not path.is_dir()]
    if gone := [path for path in files if path.is_symlink() and not path.exists()]:
        return (
            f"{plural(len(gone), 'file')} there are links whose targets are gone, such as {gone[0]} -> "
            f"{os.readlink(gone[0])}; restore what they point to, or name the folder that holds the scans."
        )
    if known := next(filter(None, map(_known, files[:_LOOKED_AT])), None):
        return f"{known}."
    there = f"there are other files, such as {files[0]}, but " if files else ""
    return f"{there}readable endings are {', '.join(SUFFIXES)}."


def _known(file: Path) -> str | None:
    what = unread_format(file)
    return what and f"{file} {what}"


def _grouped(files: Sequence[Path], channels: ChannelFiles) -> list[Case]:
    """CASE_0000 to CASE_<channels - 1> are one case; a file whose name only ends in such digits is its own.

    Without those that are missing, and, where all are optional, with any of them. Then the numbers alone do not tell
    channels from patients, such as BRATS_0001, whose files hold all channels, so their headers are asked.
    """
    # A number after the word is a slice's, also where a folder has but the first.
    groups = {
        name: members for name, members in channel_files(files).items() if not name.lower().endswith("slice")
    }
    wanted, every = channels.wanted, set(range(channels.count))
    if len(wanted) == 1 and any(set(members) not in (wanted, every) for members in groups.values()):
        groups = {}  # numbers of slices or patients, also where one of them has but its first
    if channels.optional:
        groups = {
            name: members for name, members in groups.items() if not any(map(_holds_all, members.values()))
        }
    whole = {
        name: members
        for name, members in groups.items()
        if wanted <= set(members) <= every
        or (channels.optional and wanted & set(members) and set(members) <= every)
    }
    cases = [
        Case(
            id=name,
            images=tuple(members[k] for k in sorted(wanted & set(members))),
            patient=name,
            lacking=tuple(sorted(wanted - set(members))),
        )
        for name, members in whole.items()
    ]
    taken = {file for members in whole.values() for file in members.values()}
    cases += [_alone(file) for file in files if file not in taken]
    return sorted(cases, key=lambda case: case.id)


def _holds_all(file: Path) -> bool:
    """Whether an image has several channels itself; one that cannot be read is met where it is predicted."""
    try:
        return read_channels(file) > 1
    except (VesalError, OSError):
        return False


def _alone(file: Path) -> Case:
    return Case(id=strip_suffix(file), images=(file,), patient=strip_suffix(file))
