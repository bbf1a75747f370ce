"""The cases that the finished folds of a run held out, with their predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vesal.data.dataset import Case
from vesal.errors import VesalError
from vesal.layouts.input_scans import default_ending
from vesal.run.folder import Run
from vesal.run_files import PREDICTIONS, RAW_PREDICTIONS


@dataclass(frozen=True)
class HeldOut:
    """One held-out case.

    Attributes:
        case: as in the data set.
        fold: that held it out.
        prediction: the file that is shipped and scored.
        raw: the network's own prediction, where post-processing changed it.
    """

    case: Case
    fold: int
    prediction: Path
    raw: Path

    @property
    def unprocessed(self) -> Path:
        """The file of the network's own prediction."""
        return self.raw if self.raw.exists() else self.prediction


def held_out_cases(run: Run) -> list[HeldOut]:
    """Those of all finished folds, in their order.

    Raises:
        VesalError: the run held nothing out, no fold came to its end, or a held-out case has no prediction.
    """
    dataset = run.dataset()
    if unfinished := run.unfinished():
        raise VesalError(unfinished)
    folds = run.folds()
    if folds is None:
        raise VesalError(
            f"{run.folder} was trained on all cases, nothing was held out; evaluate it on other data."
        )
    cases = {case.id: case for case in dataset.cases}
    found = []
    for number in run.trained_folds():
        folder = run.fold(number)
        for name in folds.validation(number):
            file = f"{name}{default_ending(cases[name])}"
            paths = folder / PREDICTIONS / file, folder / RAW_PREDICTIONS / file
            found.append(HeldOut(cases[name], number, *paths))
    if missing := [one.case.id for one in found if not one.prediction.exists()]:
        raise VesalError(
            f"No prediction of {', '.join(missing)}; vesal train --resume makes the missing ones."
        )
    return found
