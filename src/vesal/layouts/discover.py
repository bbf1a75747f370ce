"""Where in a folder the data sets lie: platforms and archives put folders around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vesal.errors import DataError, UsageError
from vesal.layouts.registry import recognised
from vesal.layouts.scan_files import visible

#: Folders down that are searched: Kaggle has input/datasets/OWNER/NAME/version/FOLDER, and archives have their own
#: folders below.
_DEPTH = 7

#: Entries of a folder that are looked at; a folder of more holds files, not data sets.
_MOST_ENTRIES = 2000


def find_datasets(folder: Path, *, skip: Callable[[Path], bool] = lambda _: False) -> list[Path]:
    """The folders in or at `folder` that a layout fits, in the order of their names, without those to `skip`.

    Layouts that fit almost anything with two folders (pairs) count only where no other layout fits anywhere.
    """
    for general in (False, True):
        if found := _search(folder, _DEPTH, skip, general):
            return [path for path, _ in found]
    return []


def choose(found: Sequence[Path], folder: Path, wanted: str | None = None) -> Path:
    """The one of the data sets `found` in `folder` that has `wanted` in its path.

    Args:
        found: folders of data sets.
        folder: in which they lie.
        wanted: name of the folder or of one around it, or several parts of the path; None where there is only one.

    Raises:
        UsageError: there are several, or none of that name.
        DataError: there is none at all.

    >>> found = [Path("in/heart/Task02_Heart"), Path("in/lung/Task06_Lung")]
    >>> choose(found, Path("in"), "heart").name, choose(found, Path("in"), "Task06_Lung").name
    ('Task02_Heart', 'Task06_Lung')
    """
    if not found:
        raise DataError(
            f"{folder} and the folders in it hold no data set of a known layout; vesal list layouts shows what is "
            "looked for."
        )
    inside = {path: f"/{path.relative_to(folder).as_posix()}/" for path in found}
    chosen = [path for path in found if wanted is None or f"/{wanted.strip('/')}/" in inside[path]]
    if len(chosen) == 1:
        return chosen[0]
    there = ", ".join(text.strip("/") or "itself" for text in list(inside.values())[:6])
    called = "" if wanted is None else f" called '{wanted}'"
    raise UsageError(f"{folder} holds {len(chosen) or 'no'} data sets{called}; name one of {there}.")


def _search(folder: Path, depth: int, skip: Callable[[Path], bool], general: bool) -> list[tuple[Path, str]]:
    """Fitting folders with their layouts."""
    if skip(folder):
        return []
    try:
        inner = [path for path in visible(folder)[:_MOST_ENTRIES] if path.is_dir()] if depth else []
    except DataError:
        return []
    below = [found for path in inner for found in _search(path, depth - 1, skip, general)]
    layout = next((name for name, _ in recognised(folder, general, [])), None)
    # Some layouts fit from several levels above (BraTS), and each of their cases fits as well: several folders of
    # one layout are one data set where the folder around them fits it too.
    if layout is not None and len(below) != 1 and all(name == layout for _, name in below):
        return [(folder, layout)]
    return below
