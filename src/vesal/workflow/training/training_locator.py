"""The coarse stage of a training of two: it finds on the whole scan where the fine one looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vesal.data.case import read_case
from vesal.data.dataset import Case
from vesal.data.labels import IGNORE
from vesal.errors import VesalError
from vesal.files import read_json, write_json
from vesal.infer.predictor import load_model
from vesal.nn.model_file import load_package
from vesal.planning.two_stages import LOCATOR_SHARE
from vesal.preprocessing.cache import PreparedCase
from vesal.run_files import LOCATED, LOCATOR
from vesal.text import plural
from vesal.train.recipe import TrainConfig
from vesal.train.state import TrainJob
from vesal.train.trainer import train
from vesal.workflow.training.training_session import Interrupted, Session


def with_length(config: TrainConfig, share: float) -> TrainConfig:
    """The configuration of a part of a run: this share of its time, steps or epochs."""
    if config.budget_s is not None:
        return config.model_copy(update={"budget_s": share * config.budget_s})
    if config.steps is not None:
        return config.model_copy(update={"steps": max(1, round(share * config.steps))})
    assert config.epochs is not None
    return config.model_copy(update={"epochs": max(1, round(share * config.epochs))})


def train_locator(
    session: Session, job: TrainJob, coarse: Mapping[str, PreparedCase], cases: Sequence[Case]
) -> TrainJob:
    """Train the locator of a fold, or go on with it; what its boxes miss of the held-out cases is written down.

    Args:
        session: of the run.
        job: of the fine stage, whose cases are the locator's, with the whole run's length.
        coarse: id -> case, prepared for the locator.
        cases: of the data set.

    Returns:
        The fine stage's job, with the locator's weights and its own part of the run's length.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM.
    """
    plan = job.plan
    assert plan.locator is not None
    unlimited = {"early_stopping": None, "target": None}
    own = replace(
        job,
        plan=plan.locator,
        config=with_length(job.config, LOCATOR_SHARE).model_copy(update=unlimited),
        train=[coarse[case.id] for case in job.train],
        validation=[coarse[case.id] for case in job.validation],
        folder=job.folder / LOCATOR,
        title=f"{job.title}, locator",
        weights=None,
    )
    position = train(own, resume=session.request.resume, quiet=session.request.quiet)
    if not position.finished:
        raise Interrupted(
            f"Stopped after step {position.step} of {own.title}; everything is saved, "
            f"vesal train {session.request.data} -o {session.request.out} --resume goes on."
        )
    held_out = {case.id for case in job.validation}
    missed = session.attempt(
        f"The boxes of {job.title} could not be measured",
        lambda: _missed(own, plan.margin_mm, [case for case in cases if case.id in held_out]),
    )
    if missed:
        session.tell(_box_sentence(missed))
    weights = load_package(own.model_file).weights
    return replace(job, config=with_length(job.config, 1.0 - LOCATOR_SHARE), locator_weights=weights)


def _box_sentence(missed: Mapping[str, float | None]) -> str:
    shares = [share for share in missed.values() if share is not None]
    lost = len(missed) - len(shares)
    nothing = (
        f"The locator found nothing in {lost} of {plural(len(missed), 'held-out case')}." if lost else ""
    )
    boxes = (
        f"Its boxes miss {np.mean(shares):.2%} of the truth of {plural(len(shares), 'held-out case')} (of one at most "
        f"{max(shares):.2%}), before they grow."
        if shares
        else "With more time (--budget) it learns more."
    )
    return f"{nothing} {boxes}" if nothing else boxes.replace("Its", "The locator's", 1)


def _missed(job: TrainJob, margin_mm: float, cases: Sequence[Case]) -> dict[str, float | None]:
    """Case -> share of its labelled voxels outside the box that the locator gives; None where it found nothing."""
    file = job.folder / LOCATED
    if file.exists():
        known: dict[str, float | None] = read_json(file)
        return known
    model = load_model(job.model_file, device=str(job.device), postprocess=False)
    found: dict[str, float | None] = {}
    for case in cases:
        raw = read_case(case)
        if raw.label is None:
            raise VesalError(f"Case {case.id} has lost its label; put it back to where it was.")
        contiguous = model.labels.encode(raw.label.array)
        labelled = raw.image.geometry.turn_to_ras().apply((contiguous != 0) & (contiguous != IGNORE))
        box, whole = model.locate(raw.image, margin_mm).box, int(labelled.sum())
        if box is None:
            found[case.id] = None
            continue
        inside = labelled[tuple(slice(a, b) for a, b in zip(*box, strict=True))]
        found[case.id] = 1.0 - int(inside.sum()) / max(1, whole)
    write_json(file, found)
    return found
