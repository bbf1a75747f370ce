"""The coarse stage of a training of two: it finds on the whole scan where the fine one looks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.data.case import read_case
from vesal.data.crop import Box, mask_box
from vesal.data.dataset import Case
from vesal.data.labels import IGNORE
from vesal.errors import VesalError
from vesal.files import write_json
from vesal.infer.model import Model
from vesal.infer.predictor import load_model
from vesal.nn.model_file import load_package
from vesal.planning.plan import Plan
from vesal.planning.two_stages import LOCATOR_STEPS, locator_budget_s
from vesal.preprocessing.cache import PreparedCase
from vesal.run.located import Located, LocatedCase, read_located
from vesal.run_files import LOCATED, LOCATOR
from vesal.train.recipe import TrainConfig, load_recipe
from vesal.train.state import TrainJob
from vesal.train.trainer import train
from vesal.workflow.training.training_session import Session

#: What the coarse stage's recipe has of its own. It sees the whole scan in every patch, so none is centred; other
#: fields of view are imitated by shifts and scaling; and it is small, so a short average of its weights is enough.
_RECIPE = {
    "ema": 0.99,
    "foreground_share": 0.0,
    "validate_every": 0.25,
    "validation_time": 0.05,
    "compile": False,
    "augment.translate_probability": 0.5,
    "augment.translate_range": (0.0, 0.3),
    "augment.scale_probability": 0.4,
    "augment.rotation_probability": 0.4,
}

#: Of the run's own configuration the coarse stage has these.
_OF_THE_RUN = ("seed", "deterministic", "precision", "device_cache", "checkpoint_s", "fold", "folds")

#: The margin is at most so many times the planned one: what a box misses altogether no margin brings back.
_MOST_MARGIN = 3.0


def locator_config(config: TrainConfig, steps_per_epoch: int) -> TrainConfig:
    """The configuration of the coarse stage of a run: long enough to be reliable, however short the run is.

    Args:
        config: of the run.
        steps_per_epoch: of the coarse stage.
    """
    length: dict[str, float | int] = {}
    if config.budget_s is not None:
        length["budget_s"] = locator_budget_s(config.budget_s)
    else:
        steps = config.steps or math.ceil((config.epochs or 1) * steps_per_epoch)
        length["steps"] = min(max(steps, LOCATOR_STEPS[0]), LOCATOR_STEPS[1])
    own = {name: getattr(config, name) for name in _OF_THE_RUN}
    if config.adapt:
        # It begins with the model's, too.
        own |= {"lr": config.lr, "warmup": config.warmup}
    # What the fine stage is trained to stand must not lose it its box.
    own["augment.drop_channels"] = config.augment.drop_channels
    own["augment.artifacts"] = config.augment.artifacts.model_dump()
    return load_recipe("auto", {**_RECIPE, **own, **length})


def fine_config(config: TrainConfig) -> TrainConfig:
    """The configuration of the fine stage: of a run's time the part that the coarse one leaves."""
    if config.budget_s is None:
        return config
    return config.model_copy(update={"budget_s": config.budget_s - locator_budget_s(config.budget_s)})


def train_locator(
    session: Session, job: TrainJob, coarse: Mapping[str, PreparedCase], cases: Sequence[Case]
) -> TrainJob:
    """Train the locator of a fold, or go on with it, and measure on the held-out cases what margin its boxes need.

    Args:
        session: of the run.
        job: of the fine stage, whose cases are the locator's, with the whole run's length.
        coarse: id -> case, prepared for the locator.
        cases: of the data set.

    Returns:
        The fine stage's job, with the locator's weights, the measured margin, and its own part of the run's length.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM.
    """
    plan = job.plan
    assert plan.locator is not None
    epoch = math.ceil(len(job.train) / plan.locator.batch)
    own = replace(
        job,
        plan=plan.locator,
        config=locator_config(job.config, epoch),
        # Where only some labels were looked for, their box is still the place.
        train=[replace(coarse[case.id], annotated=None) for case in job.train],
        validation=[replace(coarse[case.id], annotated=None) for case in job.validation],
        folder=job.folder / LOCATOR,
        title=f"{job.title}, locator",
        weights=job.locator_weights,
        frozen=frozenset(),
        locator_weights=None,
        elsewhere=(),
    )
    position = train(own, resume=session.request.resume, quiet=session.request.quiet)
    if not position.finished:
        raise session.interrupted(own.title, position.step)
    if not job.team.leads:
        none: dict[str, Any] | None = None
        return replace(job, **job.team.share(none))
    held_out = {case.id for case in job.validation}
    located = session.attempt(
        f"The boxes of {job.title} could not be measured",
        lambda: _measured(
            own, plan.margin_mm, position.step, [case for case in cases if case.id in held_out]
        ),
    )
    if located is not None and located.cases:
        session.tell(located.sentence())
        plan = plan.model_copy(update={"margin_mm": located.margin_mm})
    weights = load_package(own.model_file).weights
    found: dict[str, Any] = {"plan": plan, "config": fine_config(job.config), "locator_weights": weights}
    return replace(job, **job.team.share(found))


def _measured(job: TrainJob, planned_mm: float, steps: int, cases: Sequence[Case]) -> Located:
    """What the boxes of a locator of so many steps miss of the held-out cases, and the margin that they need."""
    if (known := read_located(job.folder.parent)) is not None and known.steps == steps:
        return known
    model = load_model(job.model_file, device=str(job.device), postprocess=False)
    seen = {case.id: seen for case in cases if (seen := _look(model, case)) is not None}
    short = {case: of.short_mm() for case, of in seen.items()}
    margin_mm = needed_margin([each for each in short.values() if each is not None], planned_mm, job.plan)
    located = Located(
        margin_mm=margin_mm,
        cases={
            case: LocatedCase(missed=of.missed(margin_mm), short_mm=short[case]) for case, of in seen.items()
        },
        steps=steps,
    )
    write_json(job.folder / LOCATED, located.model_dump())
    return located


def needed_margin(short_mm: Sequence[float], planned_mm: float, coarse: Plan) -> float:
    """The planned margin, or what the worst of the held-out boxes would have needed and half a coarse voxel.

    Args:
        short_mm: by how much each box ended before the labelled voxels did.
        planned_mm: the planned margin, the least that is added.
        coarse: the locator's plan.
    """
    worst = max(short_mm, default=0.0) + 0.5 * max(coarse.spacing_mm)
    return round(min(max(planned_mm, worst), _MOST_MARGIN * planned_mm), 3)


@dataclass(frozen=True, eq=False)
class _Seen:
    """A labelled case and the box that the locator gives without a margin.

    Attributes:
        labelled: (*S) along the turned axes.
        truth: its box.
        box: the locator's; None where it found nothing.
        spacing_mm: of the turned axes.
    """

    labelled: NDArray[np.bool_]
    truth: Box
    box: Box | None
    spacing_mm: Sequence[float]

    def short_mm(self) -> float | None:
        if self.box is None:
            return None
        low = np.subtract(self.box[0], self.truth[0]) * self.spacing_mm
        high = np.subtract(self.truth[1], self.box[1]) * self.spacing_mm
        return round(float(max(low.max(), high.max())), 3)

    def missed(self, margin_mm: float) -> float | None:
        if self.box is None:
            return None
        margins = [math.ceil(margin_mm / step) for step in self.spacing_mm]
        box = zip(*self.box, margins, strict=True)
        inside = self.labelled[tuple(slice(max(0, start - more), stop + more) for start, stop, more in box)]
        return 1.0 - int(np.count_nonzero(inside)) / int(np.count_nonzero(self.labelled))


def _look(model: Model, case: Case) -> _Seen | None:
    raw = read_case(case)
    if raw.label is None:
        raise VesalError(f"Case {case.id} has lost its label; put it back to where it was.")
    contiguous = model.labels.encode(raw.label.array)
    turn = raw.image.geometry.turn_to_ras()
    labelled = turn.apply((contiguous != 0) & (contiguous != IGNORE))
    truth = mask_box(labelled)
    if truth is None:
        return None
    spacing = [raw.image.geometry.spacing_mm[axis] for axis in turn.order]
    return _Seen(labelled, truth, model.locate(raw.image, 0.0).box, spacing)
