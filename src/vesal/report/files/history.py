"""The history of a training as a table that any program opens: history.csv in the folder of each fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vesal.files import write_text
from vesal.report.figures.curves import is_number
from vesal.run.contents import RunContents
from vesal.run_files import HISTORY, fold_folder
from vesal.table import Table

_FIRST = ("step", "epoch", "time_s", "train_loss", "val_loss", "val_dice")
_LAST = ("lr", "memory_mb")


def write_history(pieces: RunContents) -> None:
    """Write fold_K/history.csv for every fold of a run that has metrics.

    One line a step of metrics.jsonl, with the columns step, epoch, time_s, train_loss, val_loss, val_dice,
    val_dice_CLASS for every class, lr, memory_mb, and whatever else was logged as a number. What was not measured at
    a step, or is not finite, is empty.

    Raises:
        VesalError: a file cannot be written.
    """
    classes = pieces.labels.classes if pieces.labels is not None else ()
    for name, rows in pieces.curves.items():
        if rows:
            write_text(fold_folder(pieces.folder, name) / HISTORY, history_csv(rows, classes))


def history_csv(rows: Sequence[Mapping[str, Any]], classes: Sequence[str] = ()) -> str:
    """Rows of metrics.jsonl as CSV; those of one step become one line.

    >>> print(history_csv([{"step": 1, "train_loss": 0.5}, {"step": 1, "val_dice_per_class": {"core": 0.8}}]))
    step,epoch,time_s,train_loss,val_loss,val_dice,val_dice_core,lr,memory_mb
    1,,,0.5,,,0.8,,
    <BLANKLINE>
    """
    lines: dict[float, dict[str, Any]] = {}
    for row in rows:
        if is_number(row.get("step")):
            lines.setdefault(row["step"], {}).update(_flat(row))
    found = [key for line in lines.values() for key in line]
    each = dict.fromkeys(f"val_dice_{name}" for name in classes)
    each |= dict.fromkeys(key for key in found if key.startswith("val_dice_"))
    known = (*_FIRST, *each, *_LAST)
    columns = [*known, *(key for key in dict.fromkeys(found) if key not in known)]
    return Table.of(columns, ([lines[step].get(key) for key in columns] for step in sorted(lines))).csv()


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
