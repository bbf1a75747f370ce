"""The fixed copy of a data set: the same folders and names, other contents where something was fixed.

Files that need no change are copied byte for byte. They are never hard links: whoever edits the copy would edit the
original.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vesal.convert.records import Described, credits_of, manifest_entry
from vesal.convert.write_volumes import describe_manifest
from vesal.data.case import read_case_label
from vesal.data.dataset import Case, Dataset
from vesal.errors import DataError, VesalError
from vesal.files import atomic_path, read_json, write_json
from vesal.layouts.registry import load_dataset
from vesal.layouts.scan_files import is_picture, visible
from vesal.run_files import OUTPUTS
from vesal.volume.io import FORMATS, data_files, is_image, read_volume, write_segmentation, write_volume
from vesal.volume.volume import LabelMap, Volume

#: Files beside the scans (licence, Info.cfg, tables) that go along, up to this size.
_MOST_BYTES = 10 << 20
#: Written anew, or not at all.
_DESCRIPTIONS = ("dataset.json", "manifest.json", "manifest.csv", "slices.json", "splits_final.json")
#: Of verbs that wrote a data set: what they tell is not about the copy.
_RECORDS = (OUTPUTS, "conversion.jsonl", "fixing.jsonl", "changes.json", "changes.md")
#: Of a file that was of a kind that is only read.
_ENDING = ".nii.gz"


@dataclass(frozen=True)
class Places:
    """Where the files of a data set go.

    Attributes:
        root: of the data set.
        out: of the fixed copy.
        names: file of the data set -> its place below `out`.
        mirrored: the places are those that the files have below `root`.
    """

    root: Path
    out: Path
    names: Mapping[Path, str]
    mirrored: bool

    def of(self, path: Path) -> str:
        """The place of a file, or of one beside it that did not exist before."""
        if path in self.names:
            return self.names[path]
        # A channel that was split off lies beside the first one.
        beside = next((name for known, name in self.names.items() if known.parent == path.parent), path.name)
        return (PurePosixPath(beside).parent / path.name).as_posix()

    def of_part(self, part: Path, path: Path) -> str:
        """The place of one of the files that hold a scan, of which `path` is the first."""
        if part == path:
            return self.of(path)
        if self.mirrored:
            return part.relative_to(self.root).as_posix()
        # What says a TIFF's spacing lies beside it by its name.
        return PurePosixPath(self.of(path)).with_suffix(part.suffix).as_posix()


def plan_places(dataset: Dataset, cases: Sequence[Case], changing: Iterable[str], out: Path) -> Places:
    """The same places as in the data set; where that cannot be, images/ and labels/ with the cases' names.

    It cannot be where files lie outside the data set's folder, where two cases share one, where a case that may change
    has a file of a kind that is read but not written (JPEG, .mhd), and where labels are folders of masks.
    """
    changing = set(changing)
    files = [(case, path) for case in cases for path in case.files]
    below = all(path.is_relative_to(dataset.root) for _, path in files)
    once = len({path for _, path in files}) == len(files)
    writable = all(_ending(path) for case, path in files if case.id in changing)
    single = not any(path.is_dir() for _, path in files)
    if below and once and writable and single:
        names = {path: path.relative_to(dataset.root).as_posix() for _, path in files}
        return Places(dataset.root, out, names, True)
    names = {}
    for case in cases:
        for number, path in enumerate(case.images):
            part = f"_{number:04d}" if len(case.images) > 1 else ""
            names[path] = f"images/{case.id}{part}{_ending(path) or _other_ending(path)}"
        if case.label is not None:
            names[case.label] = f"labels/{case.id}{_ending(case.label) or _other_ending(case.label)}"
    return Places(dataset.root, out, names, False)


def _other_ending(path: Path) -> str:
    return ".png" if is_picture(path) else _ENDING


def _ending(path: Path) -> str:
    """Of a file of a kind that can be written; '' of one that is only read."""
    ending = next((ending for ending in FORMATS if path.name.lower().endswith(ending)), "")
    return ending if ending and FORMATS[ending].encode is not None else ""


def write_fixed(case: Case, files: Mapping[Path, Volume], places: Places) -> tuple[str, ...]:
    """Write the files of a case that changed, copy the others; each is whole or absent.

    Returns:
        Their places below the folder.

    Raises:
        VesalError: the folder cannot be written.
    """
    written: list[str] = []
    for path, volume in files.items():
        name = places.of(path)
        if path == case.label:
            fixed = LabelMap(volume.array[0], volume.geometry)
            write_segmentation(places.out / name, fixed, path, case.segments)
        else:
            write_volume(places.out / name, volume)
        written.append(name)
    for path in case.files:
        if path in files:
            continue
        name = places.of(path)
        if not places.mirrored and not _ending(path):
            write_volume(places.out / name, _reread(path, case))
            written.append(name)
            continue
        for part in data_files(path):
            place = places.of_part(part, path)
            copy(part, places.out / place)
            written.append(place)
    return tuple(written)


def places_there(dataset: Dataset, cases: Sequence[Case], places: Places) -> list[Path]:
    """Files of the fixed copy that are there and would be written for these cases, or with what describes them all."""
    names = {*_DESCRIPTIONS}
    for case in cases:
        for path in case.files:
            parts = _parts(path) if places.mirrored or _ending(path) else (path,)
            names |= {places.of(path), *(places.of_part(part, path) for part in parts)}
    if places.mirrored:
        names |= {path.relative_to(dataset.root).as_posix() for path in _files_beside(dataset, dataset.cases)}
    return [places.out / name for name in sorted(names) if os.path.lexists(places.out / name)]


def _reread(path: Path, case: Case) -> Volume:
    if path != case.label:
        return read_volume(path)
    label = read_case_label(case)
    return Volume(label.array[None], label.geometry)


def copy(source: Path, target: Path) -> None:
    """A copy of its own of a file, whole or absent.

    Raises:
        DataError: the source cannot be read.
    """
    if not source.is_file():
        raise DataError(f"{source} is not there any more; restore it and add --resume.")
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


# --- descriptions ------------------------------------------------------------------------------------------


def describe_fixed(dataset: Dataset, cases: Sequence[Case], places: Places) -> Dataset:
    """Write what describes the fixed cases, copy what lies beside the scans, and read the folder back.

    Args:
        dataset: the original.
        cases: those that are in the fixed copy, with the files that they had.
        places: where their files went.

    Raises:
        DataError: the folder does not read back as these cases.
    """
    dataset = _made_hard(dataset)
    if places.mirrored:
        _beside(dataset, cases, places)
        if dataset.layout in ("msd", "nnunet") and (dataset.root / "dataset.json").is_file():
            _dataset_json(dataset, {case.id for case in cases}, places.out)
    if not places.mirrored or dataset.layout == "manifest" or not _reads_back(dataset, cases, places):
        # Patients, partly annotated cases and label values that others only guess are all in a manifest.
        _manifest(dataset, cases, places)
    return load_dataset(places.out)


def _made_hard(dataset: Dataset) -> Dataset:
    """Without the threshold of soft masks: those in the copy hold their one value."""
    if dataset.labels.threshold is None:
        return dataset
    return dataset.with_labels(dataset.labels.hard)


def _reads_back(dataset: Dataset, cases: Sequence[Case], places: Places) -> bool:
    try:
        found = load_dataset(places.out)
    except VesalError:
        return False
    wanted, there = (
        {case.id: (case.patient, case.annotated, case.label is None) for case in of}
        for of in (cases, found.cases + found.unlabelled)
    )
    same = found.layout == dataset.layout and found.channels == dataset.channels
    return same and found.labels == dataset.labels and wanted == there


def _dataset_json(dataset: Dataset, names: set[str], out: Path) -> None:
    """dataset.json without the cases that were left out."""
    json: dict[str, Any] = read_json(dataset.root / "dataset.json")
    training = [case for case in dataset.cases if case.id in names]
    tests = [case for case in dataset.unlabelled if case.id in names]
    for key, cases in (("training", training), ("test", tests)):
        if isinstance(json.get(key), list):
            kept = {case.images[0].relative_to(dataset.root).as_posix() for case in cases}
            if dataset.layout == "nnunet":  # version 1 lists a case without the channel
                kept |= {name.replace("_0000.", ".") for name in kept}
            json[key] = [entry for entry in json[key] if _image_of(entry) in kept]
    if isinstance(json.get("test"), list):
        json["numTest"] = len(json["test"])
    if isinstance(json.get("dataset"), dict):
        json["dataset"] = {name: entry for name, entry in json["dataset"].items() if name in names}
    json["numTraining"] = len(training)
    write_json(out / "dataset.json", json)


def _image_of(entry: Any) -> str:
    name = str(entry.get("image") if isinstance(entry, dict) else entry)
    return name.replace("\\", "/").removeprefix("./")


def _manifest(dataset: Dataset, cases: Sequence[Case], places: Places) -> None:
    entries = []
    for case in cases:
        label = None if case.label is None else places.of(case.label)
        images = [places.of(path) for path in case.images]
        entries.append(manifest_entry(case, case.id, images, label, case.slice_of))
    described = Described(dataset.name, dataset.channels, dataset.labels, {}, (), credits_of(dataset.root))
    describe_manifest(places.out, described, entries)


def _beside(dataset: Dataset, cases: Sequence[Case], places: Places) -> None:
    for path in _files_beside(dataset, cases):
        copy(path, places.out / path.relative_to(dataset.root))


def _files_beside(dataset: Dataset, cases: Sequence[Case]) -> Iterator[Path]:
    """Licence, Info.cfg and the like: what is no image, in the root and where the scans are."""
    folders = {dataset.root} | {path.parent for case in cases for path in case.files}
    taken = {part for case in cases for path in case.files for part in _parts(path)}
    for folder in sorted(folders):
        for path in visible(folder):
            # What lies beside a TIFF may say more than its spacing, and a TIFF that is written anew is but one file.
            part = path in taken and path.suffix.lower() != ".json"
            if is_image(path) or part or not path.is_file() or path.name in _DESCRIPTIONS + _RECORDS:
                continue
            if path.stat().st_size <= _MOST_BYTES and path.suffix.lower() not in (".raw", ".img", ".zraw"):
                yield path


def _parts(path: Path) -> tuple[Path, ...]:
    with contextlib.suppress(VesalError):
        return data_files(path)
    return (path,)
