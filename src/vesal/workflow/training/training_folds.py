"""The split of a run: drawn, read from a person's file, or the one that it has; and what each fold trains on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import ValidationError

from vesal.audit.checks import check_dataset
from vesal.audit.defects.duplicates import duplicate_groups
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import Fingerprint, fingerprint
from vesal.data.folds import (
    Folds,
    check_split,
    make_folds,
    no_such_fold,
    patient_groups,
    present_classes,
    too_few_patients,
)
from vesal.data.labels import LabelSet
from vesal.data.split_file import read_split
from vesal.errors import DataError, UsageError, reason_of
from vesal.preprocessing.cache import PreparedCase
from vesal.run_files import ALL
from vesal.text import listed
from vesal.workflow.training.training_data import unusable_cases
from vesal.workflow.training.training_session import Session


def check_folds(session: Session, dataset: Dataset) -> None:
    """Find out before the data are read whether there can be such a fold.

    Raises:
        UsageError: there cannot: too few patients, or no fold of that number.
        VesalError: the person's file is no split.
        DataError: it names a case that the data set does not have.
    """
    request, run, config = session.request, session.run, session.config
    if config.fold is None:
        return
    count = config.folds
    if run.folds_file.exists():
        count = Folds.load(run.folds_file).count
    elif request.folds_file is not None:
        folds = read_split(request.folds_file, dataset.cases)
        count = folds.count
        for number in range(count):
            check_split(dataset.cases, folds.train(number), folds.validation(number))
    elif patient_groups(dataset.cases) < count:
        # Whatever is told must work: identical scans and cases that cannot be used are known after reading alone.
        record = fingerprint(dataset, progress=session.stage("Reading"))
        unusable = unusable_cases(check_dataset(dataset, record))
        check_patients(session, [case for case in dataset.cases if case.id not in unusable], record)
    if config.fold != "all" and config.fold >= count:
        raise UsageError(no_such_fold(config.fold, count))


def check_patients(session: Session, cases: Sequence[Case], record: Fingerprint) -> None:
    """Find out, as soon as the data are read, whether there are enough patients for the folds that are to be drawn.

    Args:
        cases: those that can be used; where there is none, that is for others to say.

    Raises:
        UsageError: there are fewer than folds; the message names the number of folds that works.
    """
    config = session.config
    drawn = session.request.folds_file is None and not session.run.folds_file.exists()
    if config.fold is None or not drawn or not cases:
        return
    patients = patient_groups(cases, duplicate_groups(record))
    if patients < config.folds:
        raise UsageError(too_few_patients(config.folds, len(cases), patients))


def run_folds(session: Session, dataset: Dataset, cases: Sequence[Case], record: Fingerprint) -> Folds | None:
    """The split of the cases that can be trained on; None where nothing is held out.

    Raises:
        UsageError: the run was split otherwise, or there are too few patients.
        DataError: the split leaks, or a fold has no case left.
    """
    request, run, config = session.request, session.run, session.config
    if config.fold is None:
        return None
    together = duplicate_groups(record)
    wanted = None
    if request.folds_file is not None:
        wanted = _without_left_out(session, read_split(request.folds_file, dataset.cases), dataset, cases)
    if run.folds_file.exists():
        folds = Folds.load(run.folds_file)
        if wanted is not None and (wanted.parts, wanted.training) != (folds.parts, folds.training):
            raise UsageError(f"{run.folder} was split otherwise; leave out --folds, or begin another run.")
    elif wanted is not None:
        folds = wanted
    else:
        folds = make_folds(
            cases, folds=config.folds, seed=config.seed, together=together, present=present_classes(record)
        )
    if new := [case.id for case in cases if case.id not in folds.names]:
        where = "the split" if request.folds_file is None else str(request.folds_file)
        session.tell(f"Not in {where}, so neither trained nor validated: {listed(new)}.")
    for number in range(folds.count):
        check_split(cases, folds.train(number), folds.validation(number), together=together)
    folds.save(run.folds_file)
    return folds


def _without_left_out(session: Session, folds: Folds, dataset: Dataset, cases: Sequence[Case]) -> Folds:
    """A person's split without the cases that cannot be trained on, which were named before.

    Raises:
        DataError: a fold has no case left.
    """
    usable = {case.id for case in cases}
    gone = {case.id for case in dataset.cases} - usable
    try:
        return folds.without(gone)
    except ValidationError as error:
        raise DataError(
            f"Without the cases that are left out, {reason_of(error)} ({session.request.folds_file}); "
            f"fix them (vesal inspect {session.request.data}) or split otherwise."
        ) from error


Split = tuple[int | str, list[PreparedCase], list[PreparedCase]]


def splits(fold: int | str | None, folds: Folds | None, prepared: Sequence[PreparedCase]) -> list[Split]:
    """Of each fold that is asked for: its name, what it trains on, and what it holds out.

    Raises:
        DataError: a fold has no case to train on.
    """
    if folds is None:
        return [(ALL, list(prepared), [])]
    numbers = range(folds.count) if fold == "all" else [int(fold)]  # type: ignore[arg-type]
    found: list[Split] = []
    for number in numbers:
        held_out = set(folds.validation(number))
        training = set(folds.train(number))
        chosen = [case for case in prepared if case.id in training]
        if not chosen:
            raise DataError(f"Fold {number} has no case to train on; use fewer folds (--set folds=N).")
        found.append((number, chosen, [case for case in prepared if case.id in held_out]))
    return found


def tell_unseen(found: Sequence[Split], labels: LabelSet, tell: Callable[[str], None]) -> None:
    """Name the classes that no case holds which a fold trains on."""
    for name, training, _ in found:
        drawn = {value for case in training for value in case.foreground}
        held = zip(labels.classes, labels.class_table, strict=True)
        if unseen := [of for of, values in held if drawn.isdisjoint(np.flatnonzero(values).tolist())]:
            where = "" if name == ALL else f" of fold {name}"
            tell(f"No training case{where} has a voxel of {listed(unseen)}, which cannot be learned.")
