"""Post-processing on the report's page: what was chosen, what it is worth, and all that was tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vesal.errors import VesalError
from vesal.evaluate.postprocessing.choice_record import PostprocessChoice
from vesal.run_files import POSTPROCESS
from vesal.table import Cell, Table
from vesal.text import interval, signed


def postprocess_section(run: Path, missing: list[str]) -> dict[str, Any] | None:
    """For the template: a note, the classes and the trials as tables; None where there was no choice.

    Args:
        run: the run's folder.
        missing: gets a sentence where the record is damaged.
    """
    if not (run / POSTPROCESS).exists():
        return None
    try:
        choice = PostprocessChoice.load(run)
    except VesalError as error:
        missing.append(str(error))
        return None
    return {
        "note": choice.sentence,
        "steps": [step.title for step in choice.steps],
        "classes": _classes(choice) if choice.steps else None,
        "trials": _trials(choice) if choice.trials else None,
    }


def _classes(choice: PostprocessChoice) -> Table:
    rows = [
        [
            row.class_name,
            Cell(row.before, decimals=4),
            Cell(row.after, decimals=4),
            signed(row.gain, 4),
            signed(row.crossfit_gain, 4),
        ]
        for row in choice.classes
    ]
    columns = ["class", "Dice before", "Dice after", "gain", "gain, steps chosen on other cases"]
    return Table.of(columns, rows)


def _trials(choice: PostprocessChoice) -> Table:
    rows = [
        [
            trial.step.title,
            signed(trial.gain, 4),
            interval(trial.low, trial.high, 4),
            signed(trial.hd95_change_mm, 2),
            trial.changed,
            trial.verdict,
        ]
        for trial in choice.trials
    ]
    columns = ["step", "Dice gain", "99% interval", "HD95 change (mm)", "cases changed", "verdict"]
    return Table.of(columns, rows)
