"""What people name on the command line -> cases to predict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vesal.data.dataset import Case
from vesal.data.layouts import load_dataset
from vesal.errors import DataError, UsageError
from vesal.volume.reading import SUFFIXES, is_image, strip_suffix

_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def cases_to_predict(inputs: Sequence[Path], channels: int) -> list[Case]:
    """Cases in files and folders.

    A file is a case. In a folder with images every image is a case, but for CASE_0000, CASE_0001, ... , which
    are the channels of one. Any other folder is read as a data set, all its scans are taken.

    Args:
        inputs: files and folders.
        channels: how many the model wants; CASE_0000 alone is the case CASE for a model of one.

    Raises:
        UsageError: nothing is there, or two inputs have the same name.
        DataError: a case has not as many files as the model has channels.
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
    groups: dict[str, list[Path]] = {}
    for file in files:
        match = _CHANNEL.match(strip_suffix(file))
        groups.setdefault(match["case"] if match else strip_suffix(file), []).append(file)
    for name, members in groups.items():
        if len(members) not in (1, channels):
            raise DataError(
                f"{name} has {len(members)} files but the model wants {channels} channels; "
                f"name them {name}_0000 to {name}_{channels - 1:04}."
            )
    return [Case(id=name, images=tuple(members), patient=name) for name, members in groups.items()]
