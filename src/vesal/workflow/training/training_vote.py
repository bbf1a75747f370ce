"""Several networks of one fold, trained one after the other, which vote in one model.

Once a network has seen the cases so often that more steps only teach it these cases by heart, more time buys little of
it; a second one, which began elsewhere and saw them in another order, errs otherwise, and the mean of both errs less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vesal.files import write_json
from vesal.infer.backends.registry import backend_networks
from vesal.infer.model import Model
from vesal.nn.model_file import Package, load_package, save_package
from vesal.run_files import FURTHER_NETWORK, VOTES
from vesal.text import plural
from vesal.train.checkpoint import Position, has_checkpoint
from vesal.train.recipe import TrainConfig
from vesal.train.state import TrainJob
from vesal.train.trainer import train
from vesal.train.validation import validate
from vesal.workflow.training.training_session import Session


def train_networks(session: Session, job: TrainJob) -> Position:
    """Train the networks of a fold, each for an equal part of the run, or go on with them.

    Those whose vote makes the held-out cases no worse are in `job.model_file` when the last is done; before that the
    first is.

    Args:
        session: of the run.
        job: of all of them together.

    Returns:
        Where the first ended, whose curves and checkpoint are in the fold's own folder.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM.
        VesalError: as `vesal.train.trainer.train`.
    """
    count = job.plan.networks
    positions = []
    jobs = [_part(job, number) for number in range(1, count + 1)]
    for own in jobs:
        position = train(own, resume=session.request.resume, quiet=session.request.quiet)
        if not position.finished:
            raise session.interrupted(own.title, position.step)
        positions.append(position)
    if count > 1 and job.team.leads:
        _join(session, job, [load_package(own.model_file) for own in jobs])
    return positions[0]


def any_unbegun(job: TrainJob) -> bool:
    """Whether a network of the fold has no checkpoint yet, from which it would go on."""
    parts = (_part(job, number) for number in range(1, job.plan.networks + 1))
    return any(not has_checkpoint(part.checkpoint) for part in parts)


def _part(job: TrainJob, number: int) -> TrainJob:
    """One network of several, from 1; the first lies in the fold's own folder."""
    count = job.plan.networks
    if count == 1:
        return job
    seed = job.config.seed + number - 1
    return replace(
        job,
        config=_share(job.config, count).model_copy(update={"seed": seed}),
        folder=job.folder if number == 1 else job.folder / f"{FURTHER_NETWORK}{number}",
        title=f"{job.title}, network {number} of {count}",
    )


def _share(config: TrainConfig, count: int) -> TrainConfig:
    """The configuration of one of so many equal parts of a run."""
    for name, least in (("budget_s", 0.0), ("steps", 1), ("epochs", 1)):
        length = getattr(config, name)
        if length is not None:
            part = length / count if name == "budget_s" else max(least, round(length / count))
            return config.model_copy(update={name: part})
    return config


def _join(session: Session, job: TrainJob, packages: Sequence[Package]) -> None:
    """Write one model of those whose vote the held-out cases do not speak against, and what each vote reached."""
    first = replace(packages[0], more_weights=(), recipe=job.config.model_dump(mode="json"))
    kept = first
    if not job.validation:
        kept = replace(first, more_weights=tuple(package.weights for package in packages[1:]))
        session.tell(f"{job.title}: {plural(len(packages), 'network')} vote.")
    else:
        voters, alone = [1], _dice(job, first)
        best = alone
        tried = [{"networks": [1], "dice": alone, "kept": True}]
        for number, package in enumerate(packages[1:], start=2):
            joined = replace(kept, more_weights=(*kept.more_weights, package.weights))
            found = _dice(job, joined)
            better = best is None or (found is not None and found >= best)
            tried.append({"networks": [*voters, number], "dice": found, "kept": better})
            if better:
                kept, best = joined, found
                voters.append(number)
        write_json(job.folder / VOTES, tried)
        reached = (
            "" if alone is None or best is None else f" (Dice {best:.4f}; of the first alone {alone:.4f})"
        )
        chosen = f"{len(voters)} of {plural(len(packages), 'network')} vote, as the held-out cases chose"
        session.tell(f"{job.title}: {chosen}{reached}.")
    if kept.weights_digest != packages[0].weights_digest:
        # The first's file is of those that voted before the run was prolonged, and so is what was measured of them.
        kept = replace(
            kept, scores=None, quality=None, postprocess=None, bfloat16=None, missing_channels=None
        )
    save_package(job.model_file, kept)


def _dice(job: TrainJob, package: Package) -> float | None:
    """Mean Dice of the held-out cases, on the prepared grid."""
    networks = backend_networks([package], job.device, "torch")
    return validate(Model(job.plan, networks, job.device), job.validation, overlap=job.config.overlap).dice
