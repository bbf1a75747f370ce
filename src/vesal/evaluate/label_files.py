"""Which label maps a folder holds that is named for an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vesal.data.dataset import Dataset
from vesal.errors import DataError, UsageError
from vesal.layouts.by_case.case_roles import detect_cases
from vesal.layouts.registry import load_dataset
from vesal.layouts.scan_files import by_stem, image_files, visible
from vesal.layouts.unrecognised import left_alone
from vesal.text import listed
from vesal.volume.io import is_image, strip_suffix


def label_files(folder: Path, labels: Sequence[str] = ()) -> dict[str, Path]:
    """Case -> file, of every readable image in a folder or of one, sorted by name.

    Where the folder holds none, but folders with one each, these are the cases. So are folders of masks, one a label,
    that are called as the `labels` are, as TotalSegmentator writes them.

    Raises:
        UsageError: there is no such folder.
        DataError: two files are one case, or folders hold several files.
    """
    if folder.is_file() and is_image(folder):
        return {strip_suffix(folder.name): folder}
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}; name one that holds label maps.")
    return by_stem(folder) or _in_folders(folder, set(labels))


def _in_folders(folder: Path, labels: set[str]) -> dict[str, Path]:
    inner = {path.name: image_files(path) for path in visible(folder) if path.is_dir()}
    inner = {name: files for name, files in inner.items() if files}
    if inner and all(labels & set(map(strip_suffix, files)) for files in inner.values()):
        return {name: folder / name for name in inner}
    if several := [name for name, files in inner.items() if len(files) > 1]:
        raise DataError(
            f"{folder} holds no label map itself, but in folders ({listed(several, 3)}); put the label maps into one "
            "folder, each under the name of its case."
        )
    return {name: files[0] for name, files in inner.items()}


def data_set_of(truth: Path) -> Dataset | None:
    """The data set in a folder, with labels; None where the folder holds label maps alone, or fits no layout."""
    if not truth.is_dir() or (image_files(truth) and detect_cases(truth) is None):
        return None
    try:
        dataset = load_dataset(truth)
    except (DataError, UsageError):
        return None
    return dataset if dataset.cases else None


def what_is_there(folder: Path) -> str:
    """What to add to a sentence on a folder that holds no label map: which files are there instead; or ''."""
    there = left_alone([folder], folder) if folder.is_dir() else ""
    return f" {there}" if there else ""
