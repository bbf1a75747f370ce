"""Post-processing on the report's page: what was chosen, what it is worth, and all that was tried."""

from __future__ import annotations

from typing import Any

from vesal.evaluate.postprocessing.choice_record import PostprocessChoice


def postprocess_section(choice: PostprocessChoice) -> dict[str, Any]:
    """For the template: a note, the classes and the trials as tables."""
    return {
        "note": choice.sentence,
        "steps": [step.title for step in choice.steps],
        "classes": choice.class_table() if choice.steps else None,
        "trials": choice.trial_table() if choice.trials else None,
    }
