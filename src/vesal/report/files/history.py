"""The history of a training as a table that any program opens: history.csv, or history.npy, in each fold's folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.files import write_bytes, write_text
from vesal.report.figures.curves import is_number
from vesal.run.contents import RunContents
from vesal.run_files import HISTORY, HISTORY_ARRAY, fold_folder
from vesal.table import Table

_FIRST = ("step", "epoch", "time_s", "train_loss", "val_loss", "train_dice", "val_dice")
_LAST = ("lr", "memory_mb")


def write_history(pieces: RunContents, *, arrays: bool = False) -> None:
    """Write fold_K/history.csv, and with `arrays` fold_K/history.npy, for every fold of a run that has metrics.

    One line a step of metrics.jsonl, with the columns step, epoch, time_s, train_loss, val_loss, train_dice, val_dice,
    train_dice_CLASS and val_dice_CLASS for every class, lr, memory_mb, and whatever else was logged as a number. What
    was not measured at a step, or is not finite, is empty, or NaN in the array.

    Raises:
        VesalError: a file cannot be written.
    """
    classes = pieces.labels.classes if pieces.labels is not None else ()
    for name, rows in pieces.curves.items():
        if not rows:
            continue
        folder = fold_folder(pieces.folder, name)
        write_text(folder / HISTORY, history_csv(rows, classes))
        if arrays:
            buffer = io.BytesIO()
            # Version 3 for names of classes in any alphabet.
            np.lib.format.write_array(
                buffer, history_array(rows, classes), version=(3, 0), allow_pickle=False
            )
            write_bytes(folder / HISTORY_ARRAY, buffer.getvalue())


def history_csv(rows: Sequence[Mapping[str, Any]], classes: Sequence[str] = ()) -> str:
    """Rows of metrics.jsonl as CSV; those of one step become one line.

    >>> print(history_csv([{"step": 1, "train_loss": 0.5}, {"step": 1, "val_dice": 0.75}]))
    step,epoch,time_s,train_loss,val_loss,train_dice,val_dice,lr,memory_mb
    1,,,0.5,,,0.75,,
    <BLANKLINE>
    """
    columns, lines = _lines(rows, classes)
    return Table.of(columns, ([line.get(key) for key in columns] for line in lines)).csv()


def history_array(rows: Sequence[Mapping[str, Any]], classes: Sequence[str] = ()) -> NDArray[Any]:
    """The same as an array of named float64 columns.

    >>> history_array([{"step": 1, "train_loss": 0.5}, {"step": 2, "train_loss": 0.25}])["train_loss"]
    array([0.5 , 0.25])
    """
    columns, lines = _lines(rows, classes)
    values = [tuple(line.get(key, np.nan) for key in columns) for line in lines]
    return np.array(values, dtype=[(key, np.float64) for key in columns])


def _lines(
    rows: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns, and one line a step in order."""
    lines: dict[float, dict[str, Any]] = {}
    for row in rows:
        if is_number(row.get("step")):
            lines.setdefault(row["step"], {}).update(_flat(row))
    found = [key for line in lines.values() for key in line]
    each: dict[str, None] = {}
    for kind in ("train_dice_", "val_dice_"):
        logged = [key for key in found if key.startswith(kind)]
        if logged or kind == "val_dice_":
            each |= dict.fromkeys([*(f"{kind}{name}" for name in classes), *logged])
    known = (*_FIRST, *each, *_LAST)
    columns = [*known, *(key for key in dict.fromkeys(found) if key not in known)]
    return columns, [lines[step] for step in sorted(lines)]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of a row; those of the classes under names of their own."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            prefix = key.removesuffix("_per_class")
            flat |= {f"{prefix}_{name}": part for name, part in value.items() if is_number(part)}
        elif is_number(value):
            flat[key] = value
    return flat
