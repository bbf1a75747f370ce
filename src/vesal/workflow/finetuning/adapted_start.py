"""What a fine-tuning begins with: the model's plan and weights, fitted to the data, and the record of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vesal.data.dataset import Dataset
from vesal.data.fingerprint import Fingerprint
from vesal.errors import UsageError
from vesal.nn.adaptation import Adaptation
from vesal.nn.adapted_weights import AdaptedWeights, adapt_weights, described, has_encoder
from vesal.nn.licence import LICENCE, ORIGIN
from vesal.nn.model_file import Package
from vesal.planning.adapted_plan import adapted_plan
from vesal.planning.plan import Plan
from vesal.run_files import FINETUNING
from vesal.text import listed
from vesal.train.recipe import TrainConfig
from vesal.train.state import TrainJob
from vesal.workflow.finetuning.source_model import SourceModel, source_model
from vesal.workflow.training.training_session import Session


def start_plan(session: Session, dataset: Dataset, record: Fingerprint) -> Plan:
    """The plan of the run: the model's, fitted to the data.

    Raises:
        UsageError: the scans have another number of axes than the model's.
    """
    source = _source(session)
    return adapted_plan(source.planned, str(source.file), record, dataset.labels, session.config.plan)


def check_start(config: TrainConfig) -> None:
    """Find out before the data are read whether the model is there and can be fine-tuned so.

    Raises:
        UsageError: it is not there, is a cascade, its network is another one than asked for, or has no encoder that
            could be frozen.
        VesalError: it is no model.
    """
    package = source_model(Path(config.initial_weights or "")).package
    if package.plan.takes_masks:
        raise UsageError(
            f"{config.initial_weights} is a cascade of nnU-Net, whose second stage learns from the first one's masks, "
            "which Vesal does not train; import 3d_fullres or 3d_lowres of the same data set, and fine-tune that."
        )
    network = package.network
    if config.network != network:
        raise UsageError(f"The model's network is {network}, not {config.network}; leave --set network out.")
    if config.freeze_encoder and not has_encoder(network):
        raise UsageError(
            f"The encoder of {network} cannot be told from the rest of it; leave --freeze-encoder out."
        )


def with_start(session: Session, job: TrainJob, *, begun: bool) -> TrainJob:
    """The job of a fold with what it begins with; the run folder gets the record of it.

    Args:
        session: of the run.
        job: of the fold.
        begun: all of its networks have checkpoints, from which they go on: the model need not be there any more.
    """
    file = job.folder / FINETUNING
    if begun and file.exists():
        known = Adaptation.load(file)
        return replace(_noted(job, known), frozen=frozenset(known.frozen))
    source = _source(session)
    weights = adapt_weights(source.package, job.plan)
    found = described(source.package, str(source.file), weights, freeze_encoder=session.config.freeze_encoder)
    coarse = _coarse_start(source.package, job.plan)
    seen, notes = seen_scans(session, source, job), _notes(source, job, coarse)
    notes += (seen_note(seen),) if seen else ()
    stated: dict[str, Any] = {
        name: str(source.package.provenance.get(name, "")) for name in (LICENCE, ORIGIN)
    }
    stated |= {"seen": seen, "scans_known": source.knows_scans}
    found = found.model_copy(update={"notes": notes, **stated})
    for sentence in found.sentences:
        session.tell(sentence)
    if job.team.leads:
        job.folder.mkdir(parents=True, exist_ok=True)
        found.save(file)
    return replace(
        _noted(job, found),
        weights=weights.tensors,
        frozen=frozenset(found.frozen),
        locator_weights=None if coarse is None else coarse.tensors,
    )


def _source(session: Session) -> SourceModel:
    return source_model(Path(session.config.initial_weights or ""))


def _noted(job: TrainJob, found: Adaptation) -> TrainJob:
    """With the record in what goes into the model file, where the file's name is no one else's matter."""
    values = found.to_dict() | {"model": Path(found.model).name}
    # Weights that begin with others' are under their licence.
    stated = {name: value for name in (LICENCE, ORIGIN) if (value := getattr(found, name))}
    return replace(job, provenance={**job.provenance, **stated, "finetuned_from": values})


def _coarse_start(model: Package, plan: Plan) -> AdaptedWeights | None:
    """Weights that the coarse stage of two begins with; None for one stage."""
    if plan.locator is None or model.locator is None:
        return None
    return adapt_weights(model.locator, plan.locator)


def _notes(source: SourceModel, job: TrainJob, coarse: AdaptedWeights | None) -> tuple[str, ...]:
    found = []
    if coarse is not None:
        found.append(f"The coarse stage begins with the model's ({coarse.share:.1%} of its weights).")
    if not source.knows_scans and job.validation:
        found.append(
            "Not all scans that the model was trained on are known here: if held-out ones are among them, their scores "
            "are too good."
        )
    return tuple(found)


def seen_scans(session: Session, source: SourceModel, job: TrainJob) -> tuple[str, ...]:
    """Held-out cases whose scans the model was trained on, by what their voxels hold."""
    images = source.seen_images()
    if not images or not session.run.fingerprint_file.exists():
        return ()
    held_out = {case.id for case in job.validation}
    record = Fingerprint.load(session.run.fingerprint_file)
    return tuple(
        sorted(case.id for case in record.cases if case.id in held_out and case.image_digest in images)
    )


def seen_note(seen: Sequence[str]) -> str:
    """The sentence about such cases."""
    return (
        f"The model was trained on the scans of {listed(seen, 4)}, which are held out here: their scores are too good; "
        "hold out others (--folds FILE)."
    )
