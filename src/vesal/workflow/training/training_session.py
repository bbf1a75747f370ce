"""What the steps of a training run share."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from vesal.data.fingerprint import Failure
from vesal.engine.outcome import Engine
from vesal.errors import DataError, VesalError
from vesal.files import check_place
from vesal.parallel import StageProgress
from vesal.run.folder import Run
from vesal.run_files import PROBLEMS
from vesal.train.distributed import ALONE, Team
from vesal.train.recipe import TrainConfig
from vesal.workflow.requests.train_request import TrainRequest

Result = TypeVar("Result")


class Interrupted(VesalError):
    """A signal stopped the run; everything is saved."""


@dataclass(frozen=True)
class Session:
    """What every step of a training run needs.

    Attributes:
        problems: what went wrong after the training so far, a sentence each.
        team: the processes that train together; the first alone writes files and says what happens.
        engine: whose workers read and prepare the data; None takes processes of this one.
    """

    request: TrainRequest
    run: Run
    config: TrainConfig
    device: torch.device
    stage: StageProgress
    tell: Callable[[str], None]
    problems: list[str] = field(default_factory=list)
    team: Team = ALONE
    engine: Engine | None = None

    def attempt(self, what: str, work: Callable[[], Result]) -> Result | None:
        """Do what comes after a training: whatever goes wrong there is told and noted, and the next step begins.

        Args:
            what: such as 'The scores could not be computed'.
            work: the step.

        Returns:
            What it gives; None where it failed.
        """
        try:
            return work()
        except Exception as error:
            if isinstance(error, VesalError):
                text = str(error)
            else:
                details = f"{self.run.folder / PROBLEMS} holds the details"
                text = f"{type(error).__name__}: {_first_line(error)} ({details})"
            sentence = f"{what}: {text}"
            self.problems.append(sentence)
            self.tell(sentence)
            self._note(f"{sentence}\n{traceback.format_exc()}\n")
            return None

    def interrupted(self, title: str, step: int) -> Interrupted:
        """What a signal that stopped the training of that title after a step is told as."""
        request = self.request
        return Interrupted(
            f"Stopped after step {step} of {title}; everything is saved, "
            f"vesal train {request.data} -o {request.out} --resume goes on."
        )

    def _note(self, text: str) -> None:
        path = self.run.folder / PROBLEMS
        try:
            check_place(path)
            with path.open("a", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            self.tell(f"Cannot write {path}: {error.strerror or error}.")
        except VesalError as error:
            self.tell(str(error))


def tell_left_out(
    data: Path, kept: Sequence[Any], left_out: Sequence[Failure], tell: Callable[[str], None]
) -> None:
    """Name the cases that are left out.

    Raises:
        DataError: none is kept.
    """
    for failure in left_out:
        tell(f"Left out {failure.id}: {failure.message}")
    if not kept:
        raise DataError(f"No case of {data} can be trained on; vesal inspect {data} says why.")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["no message"])[0]
