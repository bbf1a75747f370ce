"""Train: from a folder of labelled scans to models, predictions, scores and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vesal.audit.checks import check_dataset
from vesal.cpus import kept_to
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import Failure, Fingerprint
from vesal.engine.outcome import Engine
from vesal.errors import DataError, UsageError, VesalError
from vesal.evaluate.scores import Scores
from vesal.evaluate.tables import scores_text
from vesal.files import Place, content_hash, staying, write_json
from vesal.layouts.registry import load_dataset
from vesal.memory_limit import limit, limited
from vesal.nn.given_weights import read_weights
from vesal.parallel import StageProgress, available_memory, no_progress
from vesal.planning.cost import network_of
from vesal.planning.plan import Plan
from vesal.preprocessing.cache import PreparedCase, take_over
from vesal.preprocessing.prepare import prepare_dataset
from vesal.record import Record
from vesal.run.environment import environment, environment_line, versions
from vesal.run.folder import Run
from vesal.run.lock import locked
from vesal.run_files import ALL, CHECKPOINT, PREPARED, PROBLEMS
from vesal.text import listed, times
from vesal.train.distributed import Team, device_of, in_a_team, joined, passes_each
from vesal.train.node_engine import engine_of_nodes, serve_node
from vesal.train.recipe import TrainConfig
from vesal.train.trainer import check_names, check_plan
from vesal.workflow.finetuning.adapted_start import check_start, start_plan
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.after_training import finish_run
from vesal.workflow.training.devices import train_on_devices
from vesal.workflow.training.fold_workers import check_engine, threads_of, train_folds
from vesal.workflow.training.one_fold import Work, fold_lock, train_split
from vesal.workflow.training.training_config import run_config
from vesal.workflow.training.training_data import (
    read_fingerprint,
    remember_cases,
    usable_cases,
    used_cases,
)
from vesal.workflow.training.training_folds import (
    check_folds,
    check_patients,
    run_folds,
    splits,
    tell_unseen,
)
from vesal.workflow.training.training_plan import network_line, plan_for
from vesal.workflow.training.training_session import Session, tell_left_out

#: A step that is estimated to need so many times the free memory is not begun.
_HUGE = 3.0

#: Places away from the labels that the fine stage of two learns from: of a scan, and of all together.
_PLACES, _MOST_ELSEWHERE = 2, 64


class TrainResult(Record):
    """What a training left: its folder, models, scores, and the cases that it had to leave out.

    Attributes:
        report: None where it could not be written.
        problems: what went wrong after the training, a sentence each.
        failed: folds that an engine could not train, each with its reason; the others are in `models`.
    """

    run: Path
    models: tuple[Path, ...]
    scores: Scores | None
    left_out: tuple[Failure, ...]
    report: Path | None
    problems: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()

    def text(self) -> str:
        """The scores and where to look."""
        lines = []
        if self.scores is not None:
            lines.append(scores_text(self.scores))
        elif not self.problems:
            lines.append("Trained on all cases; nothing was held out.")
        lines += [f"Not done: {sentence}" for sentence in self.problems]
        if whole := [str(model) for model in self.models if model.exists()]:
            lines += [f"The training itself is whole: {', '.join(whole)}."] * bool(self.problems)
        if self.report is not None:
            lines.append(f"Report: {self.report}")
        return "\n".join(lines)


def train_run(
    request: TrainRequest,
    stage: StageProgress = no_progress,
    tell: Callable[[str], None] = print,
    *,
    engine: Engine | None = None,
) -> TrainResult:
    """Do it all; `stage` shows progress, `tell` takes one-line messages.

    The workers of an engine read and prepare the data; of a cross-validation each trains a fold.

    Raises:
        UsageError: contradictory options, a folder or fold that is in use, data that changed since the run began, or
            results that were changed by hand and would be overwritten.
        DataError: no case can be trained on, or a split leaks.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    if engine is not None:
        check_engine(request)
    if (request.devices or 1) > 1 and not in_a_team():
        return train_on_devices(train_run, request, stage, tell)
    with limited(request.max_ram, request.out), joined() as team, ExitStack() as stack:
        if not team.leads:
            stage, tell = no_progress, _say_nothing
        run, device = Run(request.out), device_of(request.device, team)
        if team.leads:
            config, work = team.share(_begin(request, device, team, stage, tell, stack, engine))
        else:
            config, work = serve_node(team)
        session = Session(request, run, config, device, stage, tell, team=team)
        failed: tuple[Failure, ...] = ()
        if engine is not None and config.fold == "all":
            models, failed = train_folds(engine, session, work)
        else:
            trained = (train_split(session, work, split) for split in work.splits)
            models = [model for model in trained if model is not None]
        if not models:
            raise _none_trained(run, failed)
        scores, report = finish_run(session, models) if team.leads else (None, None)
    return TrainResult(
        run=run.folder,
        models=tuple(models),
        scores=scores,
        left_out=work.left_out,
        report=report,
        problems=tuple(session.problems),
        failed=failed,
    )


def _none_trained(run: Run, failed: Sequence[Failure]) -> VesalError:
    if failed:
        return VesalError(f"No fold of {run.folder} could be trained; {failed[0].id}: {failed[0].message}")
    return UsageError(f"All folds of {run.folder} are being trained by other processes; wait for them.")


def _begin(
    request: TrainRequest,
    device: torch.device,
    team: Team,
    stage: StageProgress,
    tell: Callable[[str], None],
    stack: ExitStack,
    engine: Engine | None = None,
) -> tuple[TrainConfig, Work]:
    """What the first process does for all of them: refuse what cannot be, prepare, and plan.

    Args:
        stack: holds the lock of the fold, where one is trained, and the run folder in its place.
    """
    run = Run(request.out)
    # All that can be refused at once is, before anything is written.
    going_on = run.begin(resume=request.resume)
    if going_on:
        run.refuse_changed()
    config = run_config(request, run, going_on=going_on, tell=lambda _text: None)
    check_names(config)
    dataset = load_dataset(request.data, request.layout).decided(config.labels, config.label_threshold)
    if config.initial_weights is not None and not going_on:
        check_start(config) if config.adapt else read_weights(Path(config.initial_weights))
    _refuse_early(request, run, dataset)
    check_folds(Session(request, run, config, device, stage, tell), dataset)
    waiting = tell if request.resume else None
    with locked(run.folder, "set_up", str(run.folder), waiting=waiting):
        stack.enter_context(staying(Place(run.folder)))
        # Once more: another process may have been here in the meantime.
        going_on = run.begin(resume=request.resume)
        if request.resume and not going_on:
            tell(f"{run.folder} holds no run to go on with; it begins.")
        if not going_on:
            run.forget_choices()
        config = run_config(request, run, going_on=going_on, tell=tell)
        config = _for_team(config, team, going_on=going_on, tell=tell)
        session = Session(request, run, config, device, stage, tell, team=team, engine=engine)
        if config.fold != "all":
            stack.enter_context(fold_lock(run, ALL if config.fold is None else config.fold))
        elif engine is not None:
            with threads_of(engine):
                return config, _set_up(session, dataset)
        return config, _set_up(session, dataset)


def _say_nothing(_text: str) -> None:
    """The messages of all processes but the first."""


def _for_team(config: TrainConfig, team: Team, *, going_on: bool, tell: Callable[[str], None]) -> TrainConfig:
    """The configuration with a batch for each device; that of a run that goes on stays as it is.

    Raises:
        UsageError: the batches of such a run cannot be shared evenly.
    """
    if team.size > 1 and not going_on:
        config = config.model_copy(update={"accumulation": config.accumulation * team.size})
    passes = passes_each(team, config.accumulation)
    if team.size > 1:
        tell(
            f"{team.size} devices train together: a step goes through {config.accumulation} batches, "
            f"{passes} on each."
        )
    return config


def _all_processors(team: Team) -> AbstractContextManager[None]:
    """Within the block this process takes those of the other ones of its machine too, which wait for it."""
    return kept_to(None) if team.size > 1 else nullcontext()


def _set_up(session: Session, dataset: Dataset) -> Work:
    """Plan, prepared cases and split: what all folds share."""
    run, config, tell = session.run, session.config, session.tell
    begun = used_cases(run) is not None
    if not begun:
        _save_settings(session)
    tell(environment_line(str(session.device)))
    if session.engine is None:
        files = [path for case in dataset.cases for path in case.files]
        session = replace(session, engine=engine_of_nodes(session.team, _cache_folder(session), files, tell))
    with _all_processors(session.team):
        record = read_fingerprint(session, dataset)
    if begun:
        # Not before it is known that the run can go on with these data.
        _save_settings(session)
    findings = check_dataset(dataset, record)
    write_json(run.findings_file, [finding.model_dump() for finding in findings])
    cases, left_out = usable_cases(session, dataset, findings)
    check_patients(session, cases, record)
    plan = _plan(session, dataset, record, cases)
    with _all_processors(session.team):
        if session.request.prepared is not None:
            take_over(session.request.prepared, _cache_folder(session))
        prepared, failed = _prepare(session, cases, plan)
        coarse, also_failed = ([], []) if plan.locator is None else _prepare(session, cases, plan.locator)
    failed += [failure for failure in also_failed if failure not in failed]
    # After the preparation, so that every case of the split can be trained on and predicted.
    ready = {case.id for case in prepared} - {failure.id for failure in failed}
    prepared = [case for case in prepared if case.id in ready]
    usable = [case for case in cases if case.id in ready]
    found = splits(config.fold, run_folds(session, dataset, usable, record), prepared)
    tell_unseen(found, plan.labels, tell)
    remember_cases(run, record, ready)
    by_id = {case.id: case for case in coarse}
    labelled = {case.id for case in prepared if case.foreground}
    with _all_processors(session.team):
        away = _elsewhere(session, [case for case in usable if case.id in labelled], plan)
    return Work(cases, plan, (*left_out, *failed), found, by_id, away, _provenance(dataset, record, config))


def _save_settings(session: Session) -> None:
    run = session.run
    if not run.config_file.exists() or TrainConfig.load(run.config_file) != session.config:
        # Else it stays as it is, with what somebody may have noted there.
        session.config.save(run.config_file)
    write_json(run.environment_file, environment(str(session.device)))
    (run.folder / PROBLEMS).unlink(missing_ok=True)


def _cache_folder(session: Session) -> Path:
    return session.request.cache or session.run.folder / PREPARED


def _prepare(session: Session, cases: Sequence[Case], plan: Plan) -> tuple[list[PreparedCase], list[Failure]]:
    folder, progress = _cache_folder(session), session.stage("Preparing")
    prepared, failed = prepare_dataset(cases, plan, folder, engine=session.engine, progress=progress)
    if failed and not prepared:
        # All were read before: what hinders them follows from the plan.
        raise DataError(f"No case could be prepared for this plan; the first: {failed[0].message}")
    tell_left_out(session.request.data, prepared, failed, session.tell)
    if outside := [case.id for case in prepared if case.outside]:
        session.tell(
            f"Labelled voxels lie where {listed(outside)} are zero in every channel; they cannot be learned."
        )
    return prepared, failed


def _elsewhere(session: Session, cases: Sequence[Case], plan: Plan) -> list[PreparedCase]:
    """Places of the scans away from the labels, for the fine stage of two; none for one stage."""
    if plan.locator is None or not cases:
        return []
    chosen = cases[:: -(-len(cases) // _MOST_ELSEWHERE)]
    folder, found = _cache_folder(session), []
    for place in range(1, 1 + max(1, min(_PLACES, _MOST_ELSEWHERE // len(chosen)))):
        progress = session.stage("Preparing places elsewhere")
        found += prepare_dataset(chosen, plan, folder, place=place, engine=session.engine, progress=progress)[
            0
        ]
    return found


def _sound(record: Fingerprint, cases: Sequence[Case]) -> Fingerprint:
    """Of the cases that can be trained on."""
    usable = {case.id for case in cases}
    return record.model_copy(update={"cases": tuple(case for case in record.cases if case.id in usable)})


def _given_plan(file: Path, dataset: Dataset) -> Plan:
    """A person's plan.

    Raises:
        UsageError: it was made for other labels or channels.
    """
    plan, labels = Plan.load(file), dataset.labels
    if plan.labels not in (labels, labels.as_regions()) or plan.channels != dataset.channels:
        raise UsageError(
            f"{file} was made for other labels or channels than {dataset.name} has; make one for it with vesal plan."
        )
    return plan


def _refuse_early(request: TrainRequest, run: Run, dataset: Dataset) -> None:
    """What would be refused after all data are read.

    Raises:
        UsageError: a plan for other labels or channels, or a cache that is no folder.
    """
    if request.cache is not None and request.cache.exists() and not request.cache.is_dir():
        raise UsageError(f"--cache takes a folder, and {request.cache} is a file; choose another.")
    if request.plan_file is not None and not run.plan_file.exists():
        _given_plan(request.plan_file, dataset)


def _plan(session: Session, dataset: Dataset, record: Fingerprint, cases: Sequence[Case]) -> Plan:
    """The plan: the run's, the model's that it begins with, a person's, or one for the cases that can be trained on.

    Raises:
        UsageError: the person's was made for other labels or channels.
    """
    run, config = session.run, session.config
    if not run.plan_file.exists() and any(run.folder.glob(f"*/*{CHECKPOINT}")):
        raise UsageError(
            f"{run.plan_file} is gone, but folds were begun with it; put it back, or begin another run."
        )
    if goes_on := run.plan_file.exists():
        plan = Plan.load(run.plan_file)
    elif config.adapt:
        plan = start_plan(session, dataset, _sound(record, cases))
    elif session.request.plan_file is not None:
        plan = _given_plan(session.request.plan_file, dataset)
    else:
        progress = session.stage("Measuring")
        # Its time is that of one device, and what the others take part in makes the steps larger, not slower.
        one = config.model_copy(update={"accumulation": passes_each(session.team, config.accumulation)})
        plan = plan_for(_sound(record, cases), dataset.labels, one, session.device, progress=progress)
    if not goes_on:
        plan.save(run.plan_file)
    check_plan(config, plan)
    _refuse_huge(plan, session)
    session.tell(network_line(plan, session.config.network))
    # Those of a run that goes on were told when it began, and name that length of training.
    for reason in () if goes_on else plan.reasons:
        session.tell(f"  {reason}")
    return plan


def _refuse_huge(plan: Plan, session: Session) -> None:
    """Refuse a step that a CPU's memory is far too small for: the system would kill the process without a word.

    Raises:
        UsageError: it takes several times of what is free, by an estimate.
    """
    need, free = network_of(plan).step_bytes(plan.batch, 4), available_memory()
    if session.device.type == "cpu" and need > (_HUGE if limit() is None else 1.0) * free:
        raise UsageError(
            f"A step needs about {need / 1e9:,.0f} GB, and {free / 1e9:.1f} GB are free; lower plan.batch "
            f"({plan.batch}), plan.patch ({times(plan.patch)}) or plan.width."
        )


def _provenance(dataset: Dataset, record: Fingerprint, config: TrainConfig) -> dict[str, Any]:
    digests = sorted(case.image_digest for case in record.cases)
    found: dict[str, Any] = {
        "versions": versions(),
        "dataset": dataset.name,
        "cases": len(record.cases),
        "data_digest": content_hash("\n".join(digests).encode()),
        "seed": config.seed,
    }
    if not config.deterministic:
        # The same seed shall give the same file, byte for byte; the date would not.
        found["date"] = environment("")["date"]
    return found
