"""What is said of files that no format reads, and of folders that fit no layout: what is there, what is missing."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from vesal.errors import DataError
from vesal.layouts.matching_names import IMAGE_WORDS, LABEL_WORDS, words_in
from vesal.layouts.scan_files import by_stem, folders_below, visible
from vesal.text import listed, plural
from vesal.volume.io import SUFFIXES, is_image

#: Endings of what lies beside scans on purpose: tables, texts, settings, gradients of diffusion.
_BESIDE = {
    ".json", ".jsonl", ".csv", ".tsv", ".xlsx", ".xls", ".ods", ".txt", ".md", ".rst", ".pdf", ".doc", ".docx",
    ".html", ".htm", ".xml", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".log", ".bib", ".bval", ".bvec", ".bvals",
    ".bvecs", ".md5", ".sha1", ".sha256", ".py", ".ipynb", ".sh", ".m", ".db", ".url", ".lock", ".cff",
}  # fmt: skip
#: Of the voxels that a header beside them names.
_VOXELS = (".raw", ".zraw", ".raw.gz", ".img", ".img.gz")
_HEADERS = (".mhd", ".nhdr", ".hdr")
#: Endings that are put behind another one.
_OUTER = {".gz", ".bz2", ".xz", ".zip", ".zst", ".7z", ".bak", ".old", ".orig", ".tmp", ".part", ".download"}
_TEXTS = re.compile(r"(licen[cs]e|readme|copying|citation|changelog|notice|makefile)", re.IGNORECASE)
#: So many files are counted, so deep, in a folder that fits no layout.
_MOST_FILES, _DEPTH = 5000, 4
_READ = f"read are {', '.join(SUFFIXES)}"


def ending(path: Path) -> str:
    """The ending of a name, with the one before it where it is of a packed or a kept file; '' without one.

    >>> ending(Path("a.NII.GZ")), ending(Path("a.mgz.bak")), ending(Path("1.2.840.113")), ending(Path("IM0001"))
    ('.nii.gz', '.mgz.bak', '', '')
    """
    inner, outer = Path(path.stem).suffix.lower(), path.suffix.lower()
    if outer in _OUTER and re.fullmatch(r"\.[a-z]\w*", inner):
        return inner + outer
    return outer if re.fullmatch(r"\.\d*[a-z]\w*", outer) else ""


def left_alone(folders: Iterable[Path], root: Path) -> str:
    """A sentence on files in folders of scans that look like scans in formats that are not read; '' without any."""
    counts: Counter[str] = Counter()
    where: dict[str, None] = {}
    for folder in folders:
        with contextlib.suppress(DataError):
            if found := _unread(visible(folder)):
                counts.update(found)
                where[folder.relative_to(root).as_posix() if folder.is_relative_to(root) else str(folder)] = (
                    None
                )
    if not counts:
        return ""
    total = counts.total()
    places = "" if list(where) == ["."] else f" in {listed(list(where), 3)}"
    return (
        f"Left alone {'is' if total == 1 else 'are'} {plural(total, 'file')}{places} with endings that are not read, "
        f"{_counted(counts)}; {_READ}."
    )


def _unread(paths: Sequence[Path]) -> list[str]:
    headers = any(path.name.lower().endswith(_HEADERS) for path in paths)
    found = []
    for path in paths:
        name = ending(path)
        beside = name in _BESIDE or (headers and path.name.lower().endswith(_VOXELS))
        text = not name and _TEXTS.match(path.name) is not None
        if not (beside or text or is_image(path)) and path.is_file():
            found.append(name)
    return found


def what_fits_nothing(root: Path, inner: Sequence[str]) -> str:
    """What a folder holds that fits no layout, which layout is the nearest and what it misses.

    Args:
        root: the folder.
        inner: its folders that fit a layout, with the layout in brackets.
    """
    here = f"{root} fits no layout: it holds {_inventory(root)}."
    if inner:
        return f"{here} Give one of its folders that do: {listed(inner, 6)}."
    near = _nearest(root)
    near = f"The nearest is {near}; all" if near else "All"
    return f"{here} {near} layouts are shown by vesal list layouts, and a manifest.csv fits any folder."


def _inventory(root: Path) -> str:
    """Folders by name, and files below by ending, in a few words."""
    names = [path.name for path in visible(root) if path.is_dir()]
    counts: Counter[str] = Counter()
    for folder in folders_below(root, _DEPTH, readable=True):
        files = [path for path in visible(folder) if path.is_file()]
        counts.update(map(_ending_read, files))
        if counts.total() > _MOST_FILES:
            break
    parts = [f"{plural(len(names), 'folder')} ({listed(names, 4)})"] if names else []
    if counts:
        parts.append(f"{plural(counts.total(), 'file')} ({_counted(counts)})")
    there = " and ".join(parts) or "nothing"
    if not counts or any(name in SUFFIXES for name in counts):
        return there
    return f"{there}, none of which is an image that is read ({', '.join(SUFFIXES)})"


def _ending_read(path: Path) -> str:
    return next((one for one in SUFFIXES if path.name.lower().endswith(one)), ending(path))


def _counted(counts: Counter[str]) -> str:
    return listed([f"{name or 'no ending'}: {count}" for name, count in counts.most_common()], 5)


# --- the nearest layout ------------------------------------------------------------------------------------


def _nearest(root: Path) -> str:
    """The layout that misses least, and what it misses, as a clause; '' where none is near."""
    folders = {path.name.lower(): path for path in visible(root) if path.is_dir()}
    if (root / "dataset.json").is_file():
        return "'msd', but dataset.json has no list 'training' of image and label files"
    if "imagestr" in folders or "labelstr" in folders:
        return _decathlon(folders)
    if "derivatives" in folders:
        return "'manifest', for this looks like BIDS, whose labels lie in derivatives/; list each image with its label"
    images = [path for name, path in folders.items() if words_in(name) & IMAGE_WORDS]
    labels = [path for name, path in folders.items() if words_in(name) & LABEL_WORDS]
    if images and labels:
        return _unmatched(images[0], labels[0])
    if images or labels:
        there, missing = (images[0], "labels") if images else (labels[0], "images")
        return f"'pairs', but beside {there.name}/ there is no folder such as {missing}/"
    return _alone(root)


def _decathlon(folders: dict[str, Path]) -> str:
    for there, missing in (("imagestr", "labelsTr"), ("labelstr", "imagesTr")):
        if missing.lower() not in folders:
            return f"'nnunet', but beside {folders[there].name}/ there is no {missing}/"
    return _unmatched(folders["imagestr"], folders["labelstr"], "nnunet")


def _unmatched(images: Path, labels: Path, layout: str = "pairs") -> str:
    """Two folders that should match by name: which is without readable files, or two names that do not match."""
    root = images.parent
    inner = [path for path in visible(images) if path.is_dir() and (labels / path.name).is_dir()]
    if inner and not _stems(images):
        images, labels = inner[0], labels / inner[0].name
    near = f"'{layout}', but"
    first = {folder: next(iter(_stems(folder)), "") for folder in (images, labels)}
    for folder, name in first.items():
        if not name:
            other = Counter(_ending_read(path) for path in visible(folder) if path.is_file())
            folders = [path.name for path in visible(folder) if path.is_dir()]
            held = f"only folders ({listed(folders, 3)})" if folders else "no file"
            held = f"files that are not read ({_counted(other)})" if other else held
            yolo = ", which have to be drawn as masks" if set(other) == {".txt"} else ""
            return f"{near} {folder.relative_to(root)}/ holds {held}{yolo}"
    return (
        f"{near} no file of {images.relative_to(root)}/ matches one of {labels.relative_to(root)}/ by name (such as "
        f"{first[images]} and {first[labels]})"
    )


def _alone(root: Path) -> str:
    """Scans without a word that says which are labels."""
    for folder in folders_below(root, 2, readable=True):
        if stems := _stems(folder):
            place = "" if folder == root else f" in {folder.relative_to(root).as_posix()}/"
            return (
                f"'cases', but no label is beside the images{place} ({listed(list(stems), 3)}), "
                "such as one with label, mask or seg in its name"
            )
    return ""


def _stems(folder: Path) -> dict[str, Path]:
    with contextlib.suppress(DataError):
        return by_stem(folder)
    return {}
