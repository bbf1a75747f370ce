"""What layouts look at: the visible image files of folders, what names say, and what descriptions declare."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vesal.data.dataset import COLOURS, Case, Orphan, SliceOf
from vesal.data.labels import LabelSet
from vesal.errors import DataError, VesalError, reason_of
from vesal.volume.io import is_image, read_volume, strip_suffix

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
#: Cases that are tried to find out how many channels a scan has.
_TRIED = 5


def visible(folder: Path) -> list[Path]:
    """Entries of a folder in the order of their names, without hidden ones; [] if it is no folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror or error}.") from error


def image_files(folder: Path) -> list[Path]:
    """Image files directly in a folder, in the order of their names; hidden ones, such as ._x.nii.gz, are not."""
    return [path for path in visible(folder) if is_image(path) and path.is_file()]


def on_disk(path: Path) -> Path:
    """The path as the disk spells it, where that differs in the Unicode form of accents alone; else as it is."""
    if str(path).isascii() or path.exists():
        return path
    folder, wanted = on_disk(path.parent), unicodedata.normalize("NFC", path.name)
    found = (entry for entry in visible(folder) if unicodedata.normalize("NFC", entry.name) == wanted)
    return next(found, path)


def is_picture(path: Path) -> bool:
    """Whether the name is that of a 2D picture, which may be a slice."""
    return path.name.lower().endswith((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff"))


def by_stem(folder: Path) -> dict[str, Path]:
    """Image files directly in a folder by their names without ending.

    A folder that is called like an image (x.nii) and holds just one stands for it: some archives unpack so.

    Raises:
        DataError: two files differ only in the ending.
    """
    found: dict[str, Path] = {}
    for path in visible(folder):
        if not is_image(path) or (file := path if path.is_file() else _only_image(path)) is None:
            continue
        stem = strip_suffix(path)
        if stem in found:
            raise DataError(
                f"{found[stem]} and {file} have the same name but for the ending or the form of its accents; "
                "remove one of them."
            )
        found[stem] = file
    return found


def _only_image(folder: Path) -> Path | None:
    files = image_files(folder)
    return files[0] if len(files) == 1 else None


def folders_below(root: Path, depth: int, *, readable: bool = False) -> Iterator[Path]:
    """`root` and its visible folders down to `depth` levels, outer first; if so wanted, those that can be listed.

    A folder that links lead to again is given once, so that a link upwards ends.
    """
    level, seen = [root], set[tuple[int, int]]()
    for _ in range(depth + 1):
        if readable:
            level = [folder for folder in level if os.access(folder, os.R_OK | os.X_OK)]
        level = [folder for folder in level if _is_new(folder, seen)]
        yield from level
        level = [path for folder in level for path in visible(folder) if path.is_dir()]


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder was not met before; now it was."""
    try:
        state = folder.stat()
    except OSError:
        return True  # listing it says what is wrong
    known = (state.st_dev, state.st_ino) in seen
    seen.add((state.st_dev, state.st_ino))
    return not known


def channel_files(paths: Iterable[Path]) -> dict[str, dict[int, Path]]:
    """CASE_0000, CASE_0001, ... -> {CASE: {0: path, 1: path}}; files that are not named so are left out."""
    found: dict[str, dict[int, Path]] = {}
    for path in paths:
        if match := _CHANNEL.fullmatch(strip_suffix(path)):
            found.setdefault(match["case"], {})[int(match["channel"])] = path
    return found


def found_channels(cases: Sequence[Case], *, colours: bool = False) -> tuple[str, ...]:
    """'image', or numbered names, by the first case that can be read; with `colours` three of a picture are those."""
    for case in cases[:_TRIED]:
        try:
            count = sum(read_volume(path).channels for path in case.images)
        except (VesalError, OSError):
            continue
        return unnamed_channels(count, colours=colours and is_picture(case.images[0]))
    return unnamed_channels(1)


def unnamed_channels(count: int, *, colours: bool = False) -> tuple[str, ...]:
    """What so many channels are called that nobody named; `colours`: three are those of a picture.

    >>> unnamed_channels(1), unnamed_channels(2), unnamed_channels(3, colours=True)
    (('image',), ('channel_0', 'channel_1'), ('red', 'green', 'blue'))
    """
    if count == 1:
        return ("image",)
    return COLOURS if colours and count == 3 else tuple(f"channel_{i}" for i in range(count))


def alone(files: Mapping[str, Path], partners: Container[str], missing: str) -> list[Orphan]:
    """Files (by case) whose case is not among `partners`, and what is missing."""
    return [
        Orphan(id=name, path=path, missing=missing) for name, path in files.items() if name not in partners
    ]


def annotated_names(value: object, where: str) -> tuple[str, ...] | None:
    """Labels that were drawn in a case, as a description lists them; None where it says nothing.

    Raises:
        DataError: it is no list of names; the message names the place `where`.
    """
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise DataError(
            f'{where} has {value!r} as "annotated"; a list of names such as ["tumour"] is wanted.'
        )
    return tuple(value)


def declared_labels(
    values: Mapping[str, int],
    where: Path,
    *,
    regions: Mapping[str, Sequence[str]] | None = None,
    ignore: int | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
) -> LabelSet:
    """The label set of declared values; a contradiction becomes a DataError that names the file `where`."""
    try:
        return LabelSet.from_values(values, regions=regions, ignore=ignore, pairs=pairs)
    except ValidationError as error:
        raise DataError(f"The labels of {where} do not fit together: {reason_of(error)}.") from error


def declared_pairs(json: Mapping[str, Any], where: Path) -> list[tuple[str, str]] | None:
    """Vesal's own "pairs": [["kidney_left", "kidney_right"]], which mirroring swaps; None: they are to be guessed.

    Raises:
        DataError: it is something else.
    """
    pairs = json.get("pairs")
    if pairs is None:
        return None
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)
        for pair in pairs
    ):
        raise DataError(f'{where}: "pairs" must be a list such as [["kidney_left", "kidney_right"]].')
    return [(left, right) for left, right in pairs]


def with_threshold(labels: LabelSet, json: Mapping[str, Any], where: Path) -> LabelSet:
    """The labels, with Vesal's own "threshold" where the masks of one class are soft.

    Raises:
        DataError: it is no number, or there are several labels.
    """
    threshold = json.get("threshold")
    if threshold is None:
        return labels
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or len(labels.labels) > 1:
        raise DataError(f'{where}: "threshold" is a number, for masks of one label; correct it.')
    return labels.model_copy(update={"threshold": float(threshold)})


def slice_of(stem: str) -> SliceOf | None:
    """The volume and the number of a slice whose name says that it is one, by a word before its number.

    >>> slice_of("lung_001_slice_0042"), slice_of("lung_001_0042")
    (SliceOf(volume='lung_001', number=42, distance_mm=None), None)
    """
    match = re.fullmatch(r"(.+?)[_\-. ]*(?:slice|(?<=[_\-. ])(?:slc|sl|z))[_\-. ]*(\d+)", stem, re.IGNORECASE)
    return None if match is None else SliceOf(volume=match[1], number=int(match[2]))


def volume_id(stem: str) -> str:
    """A slice's name without the slice's number: after a word such as 'slice', or the last of several numbers.

    A single number is the volume's own.

    >>> volume_id("lung_001_slice_0042"), volume_id("lung_001_0042"), volume_id("vol_12"), volume_id("p7-z3")
    ('lung_001', 'lung_001', 'vol_12', 'p7')
    """
    if match := re.fullmatch(
        r"(.+?)[_\-. ]*(?:slice|slc|sl|(?<=[_\-. ])[sz])[_\-. ]*\d+", stem, re.IGNORECASE
    ):
        return match[1]
    if (match := re.fullmatch(r"(.+?)[_\-. ]+\d+", stem)) and re.search(r"\d", match[1]):
        return match[1]
    return stem
