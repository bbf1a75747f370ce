"""Post-processing on the report's page: what was chosen, what it is worth, and all that was tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vesal.errors import VesalError
from vesal.evaluate.postprocessing.choice_record import PostprocessChoice
from vesal.run_files import POSTPROCESS


def postprocess_section(run: Path, missing: list[str]) -> dict[str, Any] | None:
    """For the template: a note, the classes and the trials as tables; None where there was no choice.

    Args:
        run: the run's folder.
        missing: gets a sentence where the record is damaged.
    """
    if not (run / POSTPROCESS).exists():
        return None
    try:
        choice = PostprocessChoice.load(run / POSTPROCESS)
    except VesalError as error:
        missing.append(str(error))
        return None
    return {
        "note": choice.sentence,
        "steps": [step.title for step in choice.steps],
        "classes": choice.class_table() if choice.steps else None,
        "trials": choice.trial_table() if choice.trials else None,
    }
