"""Train: from a folder of labelled scans to models, predictions, scores and a report."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from vesal.audit.checks import check_dataset
from vesal.audit.defects.duplicates import duplicate_groups
from vesal.audit.finding import Finding
from vesal.data.case import files_of
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import Failure, Fingerprint, fingerprint
from vesal.data.folds import Folds, check_split, make_folds, present_classes
from vesal.errors import DataError, UsageError, VesalError
from vesal.evaluate.scores import Scores
from vesal.evaluate.tables import scores_markdown
from vesal.files import content_hash, read_json, write_json, write_text
from vesal.infer.predictor import load_model
from vesal.journal import file_stamps
from vesal.layouts.registry import load_dataset
from vesal.nn.model_file import load_package, save_package
from vesal.nn.zoo import resolve_device
from vesal.parallel import StageProgress, no_progress
from vesal.planning.plan import Plan
from vesal.preprocessing.cache import PreparedCase
from vesal.preprocessing.prepare import prepare_dataset
from vesal.record import Record
from vesal.report.figures.validation_grid import draw_example
from vesal.report.pages.run_page import write_run_report
from vesal.run.environment import environment, environment_line, versions
from vesal.run.folder import Run
from vesal.run_files import ALL, FINISHED, PREDICTED_BY, PREDICTIONS, PREPARED, RAW_PREDICTIONS
from vesal.train.recipe import TrainConfig, load_recipe, recipe_overrides, resumed
from vesal.train.state import TrainJob
from vesal.train.trainer import check_names, check_plan, train
from vesal.workflow.choose_postprocess import choose_postprocess
from vesal.workflow.evaluate import score_run
from vesal.workflow.predict import predict_cases
from vesal.workflow.quality import CalibrationOptions, calibrate_run, time_limit_s
from vesal.workflow.requests.predict_options import PredictOptions
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.training_plan import plan_for


class Interrupted(VesalError):
    """A signal stopped the run; everything is saved."""


class TrainResult(Record):
    """What a training left: its folder, models, scores, and the cases that it had to leave out."""

    run: Path
    models: tuple[Path, ...]
    scores: Scores | None
    left_out: tuple[Failure, ...]
    report: Path

    def text(self) -> str:
        """The scores and where to look."""
        table = (
            "Trained on all cases; nothing was held out."
            if self.scores is None
            else scores_markdown(self.scores)
        )
        return f"{table}\nReport: {self.report}"


@dataclass(frozen=True)
class _Session:
    """What every step of a training run needs."""

    request: TrainRequest
    run: Run
    config: TrainConfig
    device: torch.device
    stage: StageProgress
    tell: Callable[[str], None]


def train_run(
    request: TrainRequest, stage: StageProgress = no_progress, tell: Callable[[str], None] = print
) -> TrainResult:
    """Do it all; `stage` shows progress, `tell` takes one-line messages.

    Raises:
        UsageError: contradictory options, or a folder that is in use.
        DataError: no case can be trained on, or a split leaks.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    overrides = recipe_overrides(
        request.settings,
        budget=request.budget,
        dimension=request.dimension,
        steps=request.steps,
        epochs=request.epochs,
        seed=request.seed,
        deterministic=request.deterministic or None,
        fold=request.fold,
        tta=request.mirror or None,
    )
    overrides |= request.overrides
    run = Run(request.out)
    run.begin(resume=request.resume)
    config = _config(request, overrides, run)
    check_names(config)
    device = resolve_device(request.device)
    session = _Session(request, run, config, device, stage, tell)
    dataset = load_dataset(request.data, request.layout)
    config.save(run.config_file)
    write_json(run.environment_file, environment(str(device)))
    tell(environment_line(str(device)))
    record = _fingerprint(session, dataset)
    findings = check_dataset(dataset, record)
    write_json(run.findings_file, [finding.model_dump() for finding in findings])
    cases, left_out = _usable(session, dataset, findings)
    plan = _plan(session, dataset, record, cases)
    prepared, failed = _prepare(session, cases, plan)
    # After the preparation, so that every case of the split can be trained on and predicted.
    ready = {case.id for case in prepared}
    folds = _folds(session, [case for case in cases if case.id in ready], record)
    provenance = _provenance(dataset, record, config)
    models = []
    for name, training, validation in _splits(config.fold, folds, prepared):
        job = TrainJob(
            plan, config, training, validation, run.fold(name), device, f"fold {name}", dict(provenance),
            draw_example,
        )  # fmt: skip
        _train_fold(session, job, cases)
        models.append(job.model_file)
    scores = _score(session, models)
    return TrainResult(
        run=run.folder,
        models=tuple(models),
        scores=scores,
        left_out=(*left_out, *failed),
        report=write_run_report(run.folder),
    )


def _prepare(
    session: _Session, cases: Sequence[Case], plan: Plan
) -> tuple[list[PreparedCase], list[Failure]]:
    folder = session.request.cache or session.run.folder / PREPARED
    prepared, failed = prepare_dataset(cases, plan, folder, progress=session.stage("Preparing"))
    tell_left_out(session.request.data, prepared, failed, session.tell)
    if outside := [case.id for case in prepared if case.outside]:
        session.tell(
            f"Labelled voxels lie where {', '.join(outside)} are zero in every channel; they cannot be learned."
        )
    return prepared, failed


def _train_fold(session: _Session, job: TrainJob, cases: Sequence[Case]) -> None:
    """Train a fold and predict its held-out scans.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM.
    """
    request = session.request
    finished = job.folder / FINISHED
    # A prolonged fold is not finished while it goes on: it does not vote, and its old scores do not count.
    finished.unlink(missing_ok=True)
    position = train(job, resume=request.resume, quiet=request.quiet)
    if not position.finished:
        raise Interrupted(
            f"Stopped after step {position.step} of {job.title}; everything is saved, "
            f"vesal train {request.data} -o {request.out} --resume goes on."
        )
    _predict_validation(job, cases, session.stage)
    write_json(finished, {"step": position.step, "best_step": position.best_step})


def _score(session: _Session, models: Sequence[Path]) -> Scores | None:
    """Choose the post-processing, score, and calibrate the quality estimate; None where no case was held out."""
    run, config = session.run, session.config
    if not run.trained_folds():
        return None
    session.tell(choose_postprocess(run, progress=session.stage("Post-processing")).sentence)
    scores = score_run(run, progress=session.stage("Scoring"))
    for file in models:
        # The measured quality travels in the model file.
        save_package(file, replace(load_package(file), scores=scores.to_dict()))
    # Time differs from run to run, and what is learned in it.
    allowed_s = None if config.deterministic else time_limit_s(run)
    options = CalibrationOptions(config.tta, config.overlap, str(session.device), allowed_s)
    progress = session.stage("Calibrating its quality model")
    calibrate_run(run, options, progress=progress, tell=session.tell)
    return scores


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


def _config(request: TrainRequest, overrides: dict[str, Any], run: Run) -> TrainConfig:
    if request.resume and run.config_file.exists():
        if run.plan_file.exists() and request.plan_file:
            raise UsageError(f"{run.folder} has its plan; leave out --plan, or begin another run.")
        return resumed(TrainConfig.load(run.config_file), overrides)
    return load_recipe(request.recipe, overrides)


def _fingerprint(session: _Session, dataset: Dataset) -> Fingerprint:
    """The fingerprint, from the run folder when the same data set was read before."""
    run = session.run
    text = dataset.model_dump_json(indent=2) + "\n"
    for remark in dataset.remarks:
        session.tell(remark)
    sources = _sources(dataset)
    # A damaged fingerprint is taken anew.
    with contextlib.suppress(ValidationError, VesalError):
        if run.sources_file.exists() and read_json(run.sources_file) == sources:
            return Fingerprint.model_validate(read_json(run.fingerprint_file))
    record = fingerprint(dataset, progress=session.stage("Reading"))
    # The digest of what was read comes last: without it, or with another, all is read again.
    run.sources_file.unlink(missing_ok=True)
    write_text(run.dataset_file, text)
    write_text(run.fingerprint_file, record.model_dump_json() + "\n")
    write_json(run.sources_file, sources)
    return record


def _sources(dataset: Dataset) -> str:
    """A digest of the data set and of size and time of each of its files."""
    lines = [dataset.model_dump_json()]
    for case in dataset.cases:
        try:
            files = files_of(case)
        except DataError:
            # Absent or damaged: the fingerprint reports it; here it is enough that fixing it changes the digest.
            files = case.files
        lines += [f"{path} {stamp}" for path, stamp in zip(files, file_stamps(files), strict=True)]
    return content_hash("\n".join(lines).encode())


def _usable(
    session: _Session, dataset: Dataset, findings: Sequence[Finding]
) -> tuple[list[Case], list[Failure]]:
    """Cases that can be trained on; each other one is named with its reason and its fix."""
    reasons: dict[str, str] = {}
    for finding in findings:
        if finding.severity == "error":
            for case in finding.cases:
                reasons.setdefault(case, f"{finding.message} {finding.fix}")
    left_out = [Failure(id=case, message=reason) for case, reason in reasons.items()]
    cases = [case for case in dataset.cases if case.id not in reasons]
    tell_left_out(session.request.data, cases, left_out, session.tell)
    return cases, left_out


def _folds(session: _Session, cases: Sequence[Case], record: Fingerprint) -> Folds | None:
    request, run, config = session.request, session.run, session.config
    if config.fold is None:
        return None
    together = duplicate_groups(record)
    if run.folds_file.exists():
        folds = Folds.load(run.folds_file)
        if request.folds_file is not None and Folds.load(request.folds_file).parts != folds.parts:
            raise UsageError(f"{run.folder} was split otherwise; leave out --folds, or begin another run.")
    elif request.folds_file is not None:
        folds = Folds.load(request.folds_file)
    else:
        folds = make_folds(
            cases, folds=config.folds, seed=config.seed, together=together, present=present_classes(record)
        )
    known = {name for part in folds.parts for name in part}
    if new := [case.id for case in cases if case.id not in known]:
        session.tell(
            f"In no fold, so neither trained nor validated: {', '.join(new)}; begin another run to use them."
        )
    for number in range(folds.count):
        check_split(cases, folds.train(number), folds.validation(number), together=together)
    folds.save(run.folds_file)
    return folds


def _plan(session: _Session, dataset: Dataset, record: Fingerprint, cases: Sequence[Case]) -> Plan:
    """The plan: the run's, a person's, or one for the cases that can be trained on.

    Raises:
        UsageError: the person's was made for other labels or channels.
    """
    run, config = session.run, session.config
    if run.plan_file.exists():
        plan = Plan.load(run.plan_file)
    elif session.request.plan_file is not None:
        file, labels = session.request.plan_file, dataset.labels
        plan = Plan.load(file)
        if plan.labels not in (labels, labels.as_regions()) or plan.channels != dataset.channels:
            raise UsageError(
                f"{file} was made for other labels or channels than {dataset.name} has; "
                "make one for it with vesal plan."
            )
    else:
        usable = {case.id for case in cases}
        sound = record.model_copy(update={"cases": tuple(case for case in record.cases if case.id in usable)})
        progress = session.stage("Measuring")
        plan = plan_for(sound, dataset.labels, config, session.device, progress=progress)
    if not run.plan_file.exists():
        plan.save(run.plan_file)
    check_plan(config, plan)
    for reason in plan.reasons:
        session.tell(f"  {reason}")
    return plan


def _splits(
    fold: int | str | None, folds: Folds | None, prepared: Sequence[PreparedCase]
) -> list[tuple[int | str, list[PreparedCase], list[PreparedCase]]]:
    if folds is None:
        return [(ALL, list(prepared), [])]
    numbers = range(folds.count) if fold == "all" else [int(fold)]  # type: ignore[arg-type]
    splits: list[tuple[int | str, list[PreparedCase], list[PreparedCase]]] = []
    for number in numbers:
        held_out = set(folds.validation(number))
        training = set(folds.train(number))
        chosen = [case for case in prepared if case.id in training]
        if not chosen:
            raise DataError(f"Fold {number} has no case to train on; use fewer folds (--set folds=N).")
        splits.append((number, chosen, [case for case in prepared if case.id in held_out]))
    return splits


def _predict_validation(job: TrainJob, cases: Sequence[Case], stage: StageProgress) -> None:
    """Predict the fold's held-out scans from their files, exactly as a user would."""
    if not job.validation:
        return
    held_out = {case.id for case in job.validation}
    # Without post-processing: it is chosen on these predictions.
    model = load_model(job.model_file, device=str(job.device), postprocess=False)
    folder = job.folder / PREDICTIONS
    made_by = job.folder / PREDICTED_BY
    digest = model.packages[0].weights_digest
    if folder.exists() and not (made_by.exists() and read_json(made_by) == digest):
        # Of an earlier state of a run that was since prolonged.
        shutil.rmtree(job.folder / RAW_PREDICTIONS, ignore_errors=True)
        shutil.rmtree(folder)
    write_json(made_by, digest)
    result = predict_cases(
        model,
        [case for case in cases if case.id in held_out],
        folder,
        PredictOptions(mirror=job.config.tta, overlap=job.config.overlap, skip_existing=True),
        progress=stage("Predicting"),
    )
    if result.failures:
        raise VesalError(f"{result.failures[0].id} could not be predicted: {result.failures[0].message}")


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
