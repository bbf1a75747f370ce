"""The folds of a cross-validation by the workers of an engine: a fold a worker, each with its own log."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vesal.cpus import kept_to
from vesal.data.fingerprint import Failure
from vesal.engine.local_engine import LocalEngine
from vesal.engine.outcome import Engine, Outcome
from vesal.errors import UsageError, VesalError
from vesal.memory_limit import keep_within, limit
from vesal.parallel import no_progress
from vesal.run.folder import Run
from vesal.run_files import TRAIN_LOG
from vesal.text import plural
from vesal.train.distributed import in_a_team
from vesal.train.logs.rows import TextLog
from vesal.train.recipe import TrainConfig
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.one_fold import Work, train_split
from vesal.workflow.training.training_folds import Split
from vesal.workflow.training.training_session import Interrupted, Session

#: How long a worker that is asked to end may take (s) for the step in flight and its checkpoint.
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class FoldResult:
    """What a worker made of a fold.

    Attributes:
        model: its file; None where another process trains the fold.
        problems: what went wrong after the training, a sentence each.
        messages: what was to be known meanwhile.
    """

    model: Path | None
    problems: tuple[str, ...]
    messages: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FoldWork:
    """What a worker does: it trains folds of one run, and goes on where one was begun.

    Attributes:
        request, config, device: of the run.
        work: what all folds share.
    """

    request: TrainRequest
    config: TrainConfig
    device: torch.device
    work: Work

    def __call__(self) -> Callable[[Split], FoldResult]:
        if self.request.max_ram is not None and limit() is None:
            keep_within(self.request.max_ram, self.request.out)
        return self.train

    def train(self, split: Split) -> FoldResult:
        """Train a fold, or go on with it.

        Raises:
            VesalError: it cannot be trained; or `Interrupted` after a signal.
        """
        messages: list[str] = []
        run = Run(self.request.out)
        session = Session(self.request, run, self.config, self.device, no_progress, messages.append)
        model = train_split(session, self.work, split)
        return FoldResult(model, tuple(session.problems), tuple(messages))


def check_engine(request: TrainRequest) -> None:
    """Raise where an engine cannot carry a training.

    Raises:
        UsageError: several devices train one network.
    """
    if (request.devices or 1) > 1 or in_a_team():
        raise UsageError(
            "An engine trains a fold on each worker, and several devices train one network; choose --engine or "
            "--devices (torchrun, srun)."
        )


@contextlib.contextmanager
def threads_of(engine: Engine) -> Iterator[None]:
    """Within the block this process computes with the threads of a worker, as what is planned has to be trained by."""
    before = torch.get_num_threads()
    torch.set_num_threads(engine.threads)
    try:
        with kept_to(engine.threads):
            yield
    finally:
        torch.set_num_threads(before)


def train_folds(engine: Engine, session: Session, work: Work) -> tuple[list[Path], tuple[Failure, ...]]:
    """Train every fold; the models in the folds' order, and the folds that failed, each with its reason.

    A fold that fails stops no other. One whose worker died is begun once more when all others are done, and goes on
    from its checkpoint.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM; what the workers were at is saved.
        VesalError: no worker can begin.
    """
    run, splits = session.run, work.splits
    if isinstance(engine, LocalEngine):
        engine = replace(engine, patience_s=_PATIENCE_S)
    session.tell(
        f"{plural(len(splits), 'fold')} by {engine.described}; what each does is in {run.fold('N') / TRAIN_LOG}."
    )
    # Whoever gets a fold goes on with what is there of it.
    request = replace(session.request, resume=True, quiet=True)
    task = FoldWork(request, session.config, session.device, replace(work, splits=[]))
    models: dict[int, Path] = {}
    failed: dict[int, Failure] = {}
    progress = session.stage("Training folds")
    with _stoppable(session), closing(engine.run(task, splits)) as outcomes:
        for done, outcome in enumerate(outcomes, start=1):
            number, name = outcome.number, f"fold {splits[outcome.number][0]}"
            if outcome.failed:
                failed[number] = Failure(id=name, message=outcome.reason)
                session.tell(f"{name} failed: {outcome.reason}")
                _note(run.fold(splits[number][0]), outcome)
            else:
                _tell(session, name, outcome)
                if outcome.result.model is not None:
                    models[number] = outcome.result.model
            if progress is not None:
                progress(done, len(splits))
    return [models[number] for number in sorted(models)], tuple(failed[number] for number in sorted(failed))


def _tell(session: Session, name: str, outcome: Outcome) -> None:
    result: FoldResult = outcome.result
    for message in result.messages:
        session.tell(message)
    session.problems.extend(result.problems)
    again = f", begun {plural(outcome.tries, 'time')}" if outcome.tries > 1 else ""
    if result.model is not None:
        session.tell(f"{name} is done ({outcome.seconds:.0f} s by {outcome.worker}{again}).")


def _note(folder: Path, outcome: Outcome) -> None:
    """Why a fold failed, in its own log, with the traceback or the last words of its worker."""
    with contextlib.suppress(OSError, VesalError):
        log = TextLog(folder / TRAIN_LOG, resume_step=1)
        for line in (f"failed: {outcome.reason}", *outcome.detail.splitlines()):
            log.say(line)
        log.close()


@contextlib.contextmanager
def _stoppable(session: Session) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop all workers, which save what they are at."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    request = session.request

    def stop(_number: int, _frame: Any) -> None:
        raise Interrupted(f"Stopped; vesal train {request.data} -o {request.out} --resume goes on.")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
