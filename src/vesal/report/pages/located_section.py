"""The coarse stage on the report's page: what it learned, and what its boxes miss of the held-out cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vesal.errors import VesalError
from vesal.files import read_json_lines
from vesal.report.figures import curves
from vesal.run.located import LocatedCase, read_located
from vesal.run_files import LOCATOR, METRICS, fold_folders, fold_name
from vesal.table import Cell, Table
from vesal.text import duration, number, plural


def located_section(folder: Path) -> dict[str, Any] | None:
    """For the template: a note, a table of the held-out cases, what could not be read; None for one stage.

    Args:
        folder: of the run.
    """
    notes, rows, problems = [], [], []
    for fold in fold_folders(folder):
        if not (fold / LOCATOR).is_dir():
            continue
        name = str(fold_name(fold))
        notes.append(_training(name, fold / LOCATOR))
        try:
            located = read_located(fold)
        except VesalError as error:
            problems.append(str(error))
            continue
        if located is not None and located.cases:
            notes.append(located.sentence())
            rows += [(case, name, *_cells(of)) for case, of in sorted(located.cases.items())]
    if not notes:
        return None
    table = Table.of(["case", "fold", "truth outside the box", "box short of the truth, mm"], rows)
    return {"note": " ".join(notes), "table": table if rows else None, "problems": problems}


def _training(fold: str, folder: Path) -> str:
    rows = read_json_lines(folder / METRICS)
    steps, seconds = (curves.largest(rows, key) or 0 for key in ("step", "time_s"))
    dice = curves.largest(rows, "val_dice")
    on_grid = "" if dice is None else f", at best Dice {number(dice)} on its own grid"
    return f"Fold {fold}: {plural(int(steps), 'step')} in {duration(seconds)}{on_grid}."


def _cells(case: LocatedCase) -> tuple[Cell, Cell]:
    if case.missed is None:
        return Cell(None, text="nothing found"), Cell(None)
    return Cell(case.missed, text=f"{case.missed:.2%}"), Cell(case.short_mm, decimals=1)
