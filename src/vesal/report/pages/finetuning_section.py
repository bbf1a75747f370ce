"""What a fine-tuning took from its model, and what that brought beside a training from the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vesal.errors import VesalError
from vesal.evaluate.compare_text import class_table, sentence
from vesal.evaluate.paired_comparison import Comparison
from vesal.nn.adaptation import Adaptation
from vesal.run_files import BESIDE_SCRATCH, COMPARISON, FINETUNING, fold_folders, fold_name


def finetuning_section(folder: Path) -> dict[str, Any] | None:
    """For the template: sentences, the comparison's sentence and table, what could not be read; None for other runs.

    Args:
        folder: of the run.
    """
    files = [fold / FINETUNING for fold in fold_folders(folder) if (fold / FINETUNING).exists()]
    if not files:
        return None
    notes, problems = dict[str, None](), []
    for file in files:
        try:
            found = Adaptation.load(file).sentences
        except VesalError as error:
            problems.append(str(error))
            continue
        # Folds differ in their held-out cases alone.
        name = f"Fold {fold_name(file.parent)}: " if len(files) > 1 else ""
        notes |= dict.fromkeys(found[:2])
        notes |= dict.fromkeys(f"{name}{text}" for text in found[2:])
    comparison = None
    if (file := folder / BESIDE_SCRATCH / COMPARISON).exists():
        try:
            comparison = Comparison.load(file)
        except VesalError as error:
            problems.append(str(error))
    return {
        "notes": list(notes),
        "problems": problems,
        "sentence": None if comparison is None else sentence(comparison),
        "table": None if comparison is None else class_table(comparison),
    }
