"""A person's own split: the files that other programs write, as folds.

Forms that are read:

- Vesal's own folds.json: {"seed": 0, "parts": [[case, ...], ...]};
- nnU-Net's splits_final.json: a list of {"train": [case, ...], "val": [case, ...]};
- one {"train": [...], "val": [...]}, which is one fold ("validation" and "valid" will do for "val", and "training" for
  "train");
- MONAI's datalist: {"training": [{"image": ..., "label": ...}, ...], "validation": [...]}, which is one fold, or
  {"training": [{"image": ..., "fold": 0}, ...]}, in which each fold validates on the entries of its number.

Cases are named as Vesal names them, or by a file of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from pydantic import ValidationError

from vesal.data.dataset import Case
from vesal.data.folds import Folds
from vesal.errors import UsageError, VesalError, reason_of
from vesal.files import read_json
from vesal.volume.io import strip_suffix

_TRAIN = ("train", "training")
_VALIDATION = ("val", "validation", "valid")


class _Unfit(Exception):
    """Why a file is no split, in words that stand in brackets."""


def read_split(path: str | Path, cases: Sequence[Case] = ()) -> Folds:
    """Read a split in any of the forms.

    Args:
        path: of the JSON file.
        cases: of the data set, to find them by the names of their files.

    Raises:
        VesalError: the file is absent, is no JSON, or not a split; the message says what is missing.
        UsageError: the path is a number, and no file has that name.
    """
    if str(path).isdecimal() and not Path(path).exists():
        raise UsageError(
            f"--folds takes a file with a split of your own; a number of folds is --set folds={path}."
        )
    value = read_json(path)
    try:
        folds = _folds(value)
    except _Unfit as error:
        raise VesalError(f"{path} is not a split into folds ({error}).") from error
    except ValidationError as error:
        raise VesalError(f"{path} is not a split into folds ({reason_of(error)}); correct it.") from error
    if not cases:
        return folds
    try:
        return folds.renamed(_ids(folds.names, cases))
    except ValidationError as error:
        raise VesalError(
            f"{path} names a case by two of its files ({reason_of(error)}); name each case once."
        ) from error


def _folds(value: Any) -> Folds:
    if isinstance(value, dict):
        if "parts" in value:
            return Folds.model_validate(value)
        return _one_fold(value)
    if not isinstance(value, list) or not value:
        raise _Unfit('it is neither a list of folds nor {"train": [...], "val": [...]}')
    if all(isinstance(part, list) for part in value):
        return Folds(seed=0, parts=tuple(tuple(sorted(map(_name, part))) for part in value))
    pairs = [_pair(part, f"fold {number}") for number, part in enumerate(value)]
    if len(pairs) == 1:
        train, held_out = pairs[0]
        if train is None:
            raise _Unfit("its only fold has no list 'train'")
        return Folds(seed=0, parts=(tuple(sorted(held_out)),), training=tuple(sorted(train)))
    folds = Folds(seed=0, parts=tuple(tuple(sorted(held_out)) for _, held_out in pairs))
    for number, (train, _) in enumerate(pairs):
        if train is not None:
            _trains_on_all_others(folds, number, set(train))
    return folds


def _one_fold(value: Mapping[str, Any]) -> Folds:
    entries = next((value[key] for key in _TRAIN if key in value), None)
    validates = any(key in value for key in _VALIDATION)
    if isinstance(entries, list) and not validates and _numbered(entries):
        numbers = sorted({entry["fold"] for entry in entries})
        parts = [[_name(entry) for entry in entries if entry["fold"] == number] for number in numbers]
        return Folds(seed=0, parts=tuple(tuple(sorted(part)) for part in parts))
    train, held_out = _pair(value, "it")
    if train is None:
        raise _Unfit("it has no list 'train'")
    return Folds(seed=0, parts=(tuple(sorted(held_out)),), training=tuple(sorted(train)))


def _numbered(entries: Sequence[Any]) -> bool:
    """Whether every entry says in which fold it is held out."""
    return bool(entries) and all(
        isinstance(entry, dict) and isinstance(entry.get("fold"), int) for entry in entries
    )


def _pair(value: Any, what: str) -> tuple[list[str] | None, list[str]]:
    """The cases that are trained on, None where that is not said, and those held out."""
    if not isinstance(value, dict):
        raise _Unfit(f'{what} is no {{"train": [...], "val": [...]}}')
    found: list[list[str] | None] = []
    for keys in (_TRAIN, _VALIDATION):
        key = next((key for key in keys if key in value), None)
        if key is not None and not isinstance(value[key], list):
            raise _Unfit(f"'{key}' of {'the file' if what == 'it' else what} is no list of cases")
        found.append(None if key is None else [_name(entry) for entry in value[key]])
    train, held_out = found
    if held_out is None:
        there = f"; it has {', '.join(map(repr, value))}" if value else ""
        raise _Unfit(f"{what} has no list 'val' of the cases to hold out{there}")
    return train, held_out


def _name(entry: Any) -> str:
    """A case by its name, by a file of it, or MONAI's entry by its label or first image."""
    if isinstance(entry, dict):
        file = entry.get("label") or entry.get("image")
        if isinstance(file, list):
            file = file[0] if file else None
        if not isinstance(file, str):
            raise _Unfit(f"an entry has neither 'image' nor 'label': {str(entry)[:60]}")
        return file
    if isinstance(entry, str | int) and not isinstance(entry, bool):
        return str(entry)
    raise _Unfit(f"{str(entry)[:60]} is no name of a case")


def _trains_on_all_others(folds: Folds, fold: int, listed: set[str]) -> None:
    """Refuse a list "train" that is not what `Folds` takes for it."""
    expected = set(folds.train(fold))
    if extra := sorted(listed - expected):
        where = "validates on it too" if extra[0] in folds.parts[fold] else "no other fold validates on it"
        reason = f"fold {fold} trains on {extra[0]}, but {where}"
    elif lacking := sorted(expected - listed):
        reason = f"fold {fold} does not train on {lacking[0]}, which another fold validates on"
    else:
        return
    raise _Unfit(
        f"{reason}; let each fold train on exactly what the others validate on, or give the one fold alone"
    )


def _ids(names: set[str], cases: Sequence[Case]) -> dict[str, str]:
    """Name in the split -> id of the case, for those that are named otherwise than the case."""
    known = {case.id for case in cases}
    files: dict[str, set[str]] = {}
    for case in cases:
        for path in case.files:
            files.setdefault(_bare(str(path)), set()).add(case.id)
    found = {}
    for name in names - known:
        # A channel's file of nnU-Net's is called CASE_0000.
        for bare in (_bare(name), re.sub(r"_\d{4}$", "", _bare(name))):
            ids = {bare} if bare in known else files.get(bare, set())
            if len(ids) == 1:
                found[name] = next(iter(ids))
                break
    return found


def _bare(name: str) -> str:
    """A file's name without its folders and its ending, be it of Windows or Unix.

    >>> _bare("./imagesTr/la_003.nii.gz"), _bare("imagesTr" + chr(92) + "la_003.nii")
    ('la_003', 'la_003')
    """
    return strip_suffix(PureWindowsPath(name).name)
