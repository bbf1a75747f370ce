"""What people name on the command line -> cases to predict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vesal.data.dataset import Case
from vesal.data.layouts import load_dataset
from vesal.errors import UsageError
from vesal.volume.reading import SUFFIXES, is_image, strip_suffix

_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def cases_to_predict(inputs: Sequence[Path], channels: int) -> list[Case]:
    """Cases in files and folders.

    A file is a case. In a folder with images every image is a case, but CASE_0000, CASE_0001, ... are one where
    they are just as many as the model has channels. Any other folder is read as a data set, all its scans are
    taken. Whether a case has the channels that the model wants is found out when it is read.

    Args:
        inputs: files and folders.
        channels: how many the model wants; CASE_0000 alone is the case CASE for a model of one.

    Raises:
        UsageError: nothing is there, or two inputs have the same name.
    """
    cases: list[Case] = []
    for path in inputs:
        if not path.exists():
            raise UsageError(f"There is no {path}; name a scan or a folder of scans.")
        if path.is_file():
            cases.append(Case(id=strip_suffix(path), images=(path,), patient=strip_suffix(path)))
            continue
        files = sorted(file for file in path.iterdir() if is_image(file) and not file.name.startswith("."))
        if files:
            cases.extend(_grouped(files, channels))
        else:
            dataset = load_dataset(path)
            cases.extend([*dataset.cases, *dataset.unlabelled])
    if not cases:
        raise UsageError(f"No scan was found; readable endings are {', '.join(SUFFIXES)}.")
    names = [case.id for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"Several scans are named {twice[0]}, their results would overwrite each other; predict them apart."
        )
    return cases


def _grouped(files: Sequence[Path], channels: int) -> list[Case]:
    """CASE_0000 to CASE_<channels - 1> are one case; a file whose name only ends in such digits is its own."""
    groups: dict[str, dict[int, Path]] = {}
    for file in files:
        match = _CHANNEL.match(strip_suffix(file))
        if match and int(match["channel"]) < channels:
            groups.setdefault(match["case"], {})[int(match["channel"])] = file
    cases = []
    taken = set()
    for name, members in groups.items():
        if len(members) == channels:
            cases.append(Case(id=name, images=tuple(members[k] for k in range(channels)), patient=name))
            taken |= set(members.values())
    alone = [file for file in files if file not in taken]
    cases += [Case(id=strip_suffix(file), images=(file,), patient=strip_suffix(file)) for file in alone]
    return sorted(cases, key=lambda case: case.id)
