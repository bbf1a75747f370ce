"""One fold of a run, or the training on all cases: trained, and its held-out cases predicted, under its lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vesal.data.dataset import Case
from vesal.data.fingerprint import Failure
from vesal.errors import VesalError
from vesal.files import write_json
from vesal.nn.given_weights import fit_weights, read_weights
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan
from vesal.preprocessing.cache import PreparedCase
from vesal.report.figures.validation_grid import draw_example
from vesal.run.folder import Run
from vesal.run.lock import InUseError, locked
from vesal.run_files import ALL, FINISHED
from vesal.train.state import TrainJob
from vesal.workflow.finetuning.adapted_start import seen_note, seen_scans, with_start
from vesal.workflow.finetuning.source_model import source_model
from vesal.workflow.training.after_training import predict_validation
from vesal.workflow.training.bfloat16_check import check_bfloat16
from vesal.workflow.training.training_folds import Split
from vesal.workflow.training.training_locator import train_locator
from vesal.workflow.training.training_session import Session
from vesal.workflow.training.training_vote import any_unbegun, train_networks


@dataclass(frozen=True)
class Work:
    """What is trained, once data, plan and split are there."""

    cases: list[Case]
    plan: Plan
    left_out: tuple[Failure, ...]
    splits: list[Split]
    coarse: dict[str, PreparedCase]
    elsewhere: list[PreparedCase]
    provenance: dict[str, Any]


@contextmanager
def fold_lock(run: Run, name: int | str) -> Iterator[None]:
    """No other process trains this fold meanwhile."""
    what = f"{run.folder}" if name == ALL else f"Fold {name} of {run.folder}"
    with locked(run.folder, run.fold(name).name, what):
        yield


def train_split(session: Session, work: Work, split: Split) -> Path | None:
    """Train a fold and return its model; None where another process trains it."""
    name, training, validation = split
    run, team = session.run, session.team
    ids = {case.id for case in training}
    job = TrainJob(
        work.plan,
        session.config,
        training,
        validation,
        run.fold(name),
        session.device,
        f"fold {name}",
        dict(work.provenance),
        draw_example,
        elsewhere=tuple(case for case in work.elsewhere if case.id in ids),
        team=team,
    )
    begun = not any_unbegun(job)
    if session.config.adapt:
        job = with_start(session, job, begun=begun)
    elif session.config.initial_weights is not None and not begun:
        job = replace(job, weights=_initial_weights(session, job))
    if session.config.fold != "all" or not team.leads:
        # Its lock is held since the beginning, or by the first process.
        if session.config.fold == "all" and not team.share(None):
            return None
        _train_fold(session, job, work)
        return job.model_file
    with ExitStack() as stack:
        try:
            stack.enter_context(fold_lock(run, name))
        except InUseError as error:
            team.share(False)
            session.tell(f"{error} It is left out here.")
            return None
        team.share(True)
        _train_fold(session, job, work)
    return job.model_file


def _initial_weights(session: Session, job: TrainJob) -> dict[str, Tensor]:
    """What of the given weights fits the network."""
    config, source = job.config, Path(job.config.initial_weights or "")
    with torch.device("meta"):
        network = build_network(config.network, job.plan)
    fitted = fit_weights(read_weights(source), network, source)
    sentences = [fitted.sentence]
    with contextlib.suppress(VesalError):  # no model of ours: it is not known what it learned from
        if seen := seen_scans(session, source_model(source), job):
            sentences.append(seen_note(seen))
    for sentence in sentences:
        session.tell(sentence)
    job.provenance["initial_weights"] = " ".join(sentences)
    return fitted.tensors


def _train_fold(session: Session, job: TrainJob, work: Work) -> None:
    """Train a fold and predict its held-out scans.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM.
    """
    finished = job.folder / FINISHED
    gone = finished.exists() and not job.model_file.exists()
    # A prolonged fold is not finished while it goes on: it does not vote, and its old scores do not count.
    if job.team.leads:
        finished.unlink(missing_ok=True)
    if job.plan.locator is not None:
        job = train_locator(session, job, work.coarse, work.cases)
    position = train_networks(session, job)
    if not job.team.leads:
        return
    if gone:
        best = f"; the best were those of step {position.best_step}" * (position.best_step != position.step)
        session.tell(
            f"{job.model_file} was gone; it was written anew with the weights of step {position.step}{best}."
        )
    session.attempt(
        f"The masks of {job.title} in bfloat16 and in float32 could not be compared",
        lambda: check_bfloat16(job, work.cases, position.elapsed_s, session.tell),
    )
    session.attempt(
        f"Not all held-out cases of {job.title} could be predicted",
        lambda: predict_validation(job, work.cases, session.stage),
    )
    write_json(finished, {"step": position.step, "best_step": position.best_step})
