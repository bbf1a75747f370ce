"""Post-processing on the report's page: what was chosen, what it is worth, and all that was tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vesal.errors import VesalError
from vesal.evaluate.postprocessing.choice_record import NAME, PostprocessChoice
from vesal.text import interval, number


def postprocess_section(run: Path, missing: list[str]) -> dict[str, Any] | None:
    """For the template: a note, the classes and the trials as tables; None where there was no choice.

    Args:
        run: the run's folder.
        missing: gets a sentence where the record is damaged.
    """
    if not (run / f"{NAME}.json").exists():
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


def _classes(choice: PostprocessChoice) -> dict[str, Any]:
    rows = [
        [
            row.class_name,
            number(row.before, 4),
            number(row.after, 4),
            signed(row.gain),
            signed(row.crossfit_gain),
        ]
        for row in choice.classes
    ]
    return {
        "columns": ["class", "Dice before", "Dice after", "gain", "gain, steps chosen on other cases"],
        "rows": rows,
    }


def _trials(choice: PostprocessChoice) -> dict[str, Any]:
    rows = [
        [
            trial.step.title,
            signed(trial.gain),
            interval(trial.low, trial.high, 4),
            signed(trial.hd95_change_mm, 2),
            str(trial.changed),
            trial.verdict,
        ]
        for trial in choice.trials
    ]
    return {
        "columns": ["step", "Dice gain", "99% interval", "HD95 change (mm)", "cases changed", "verdict"],
        "rows": rows,
    }


def signed(value: float | None, decimals: int = 4) -> str:
    """A difference with its sign; a dash for what is undefined.

    >>> signed(0.00312), signed(-0.00001), signed(None)
    ('+0.0031', '0.0000', '–')
    """
    text = number(value, decimals)
    return f"+{text}" if value is not None and value > 0 and float(text) else text
