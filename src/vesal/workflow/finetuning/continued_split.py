"""The split of a model that goes on with added cases: what it learned from is never held out."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from pydantic import ValidationError

from vesal.audit.defects.duplicates import duplicate_groups
from vesal.data.dataset import Dataset
from vesal.data.fingerprint import CaseRecord, Fingerprint, fingerprint
from vesal.data.folds import Folds, case_groups, make_folds
from vesal.errors import DataError, UsageError, VesalError, reason_of
from vesal.parallel import Progress
from vesal.run.folder import Run
from vesal.run_files import ALL
from vesal.text import listed, plural
from vesal.workflow.finetuning.source_model import SourceModel

#: A split, the fold of it to train, and what is to be known of it.
Continued = tuple[Folds, int, str]


def continued_split(
    source: SourceModel,
    dataset: Dataset,
    fold: int | None,
    *,
    folds: int = 5,
    seed: int = 0,
    together: Sequence[Collection[str]] = (),
) -> Continued | None:
    """The split that goes on from that of the model's run.

    Cases of that run stay on their sides. New cases join the part of the cases that they belong to (of one patient, or
    one scan), the others the smallest; where the run had held nothing out, only such others are.

    Args:
        source: the model.
        dataset: with the added cases.
        fold: that is asked for; None takes the model's.
        folds: parts of the new cases, where the run had held nothing out.
        seed: of the draw.
        together: groups of cases that are one scan.

    Returns:
        The split; None where nothing is known of the model's cases, or where it was trained on all cases and no fold is
        asked for.

    Raises:
        DataError: a part of the split is gone.
        UsageError: another fold than the model's is asked for, or there are too few new patients to hold any out.
    """
    if source.run is None or source.fold is None:
        return None
    old = source.run.folds()
    if source.fold == ALL or old is None:
        if fold is None:
            return None
        return _newly_held_out(source, dataset, fold, folds, seed, together)
    own = int(source.fold)
    if fold not in (None, own):
        raise UsageError(
            f"{source.file} is of fold {own}, so it has learned from what fold {fold} holds out; leave --fold out, or "
            "name the model of that fold."
        )
    kept = _still_there(source.run, old, dataset)
    split = _with_new(kept, case_groups(dataset.cases, together), seed)
    new = split.names - kept.names
    held_out = sorted(new & set(split.validation(own)))
    start = f"Goes on with fold {own} of {source.run.folder}, whose cases stay on their sides"
    if not new:
        return split, own, f"{start}; no case is new."
    more = (
        f"{len(held_out)} of them held out ({listed(held_out, 4)})" if held_out else "none of them held out"
    )
    return split, own, f"{start}; {plural(len(new), 'case')} {'is' if len(new) == 1 else 'are'} new, {more}."


def one_scan(run: Run, dataset: Dataset, progress: Progress | None = None) -> tuple[tuple[str, ...], ...]:
    """Groups of cases that are one scan, or nearly so; only new ones are read, the others stand in the run's record."""
    try:
        known = Fingerprint.load(run.fingerprint_file).cases
    except VesalError:
        known = ()
    there = {case.id for case in dataset.cases}
    old = tuple(record for record in known if record.id in there)
    read = {record.id for record in old}
    new = tuple(case for case in dataset.cases if case.id not in read)
    found: tuple[CaseRecord, ...] = ()
    if new:
        found = fingerprint(dataset.model_copy(update={"cases": new}), progress=progress).cases
    every = Fingerprint(dataset=dataset.name, channels=dataset.channels, cases=(*old, *found))
    return duplicate_groups(every)


def _still_there(run: Run, old: Folds, dataset: Dataset) -> Folds:
    try:
        return old.without(old.names - {case.id for case in dataset.cases})
    except ValidationError as error:
        raise DataError(
            f"Of the cases of {run.folder} so many are gone that its split cannot go on ({reason_of(error)}); "
            "put them back, or leave out --continue."
        ) from error


def _with_new(kept: Folds, groups: Sequence[Sequence[str]], seed: int) -> Folds:
    """The split with the cases of these groups that it does not have yet."""
    parts = [list(part) for part in kept.parts]
    training = None if kept.training is None else list(kept.training)
    part_of = {name: number for number, part in enumerate(parts) for name in part}
    free = []
    for group in groups:
        new = [name for name in group if name not in kept.names]
        known = next((part_of[name] for name in group if name in part_of), None)
        if known is not None:
            parts[known] += new
        elif training is not None:
            training += new
        elif new:
            free.append(new)
    for at in np.random.default_rng([seed, len(free)]).permutation(len(free)):
        min(parts, key=len).extend(free[at])
    return Folds(
        seed=kept.seed,
        parts=tuple(tuple(sorted(part)) for part in parts),
        training=None if training is None else tuple(sorted(training)),
    )


def _newly_held_out(
    source: SourceModel,
    dataset: Dataset,
    fold: int,
    folds: int,
    seed: int,
    together: Sequence[Collection[str]],
) -> Continued:
    """The model was trained on all cases: of the new ones, which belong to none of these, a part is held out."""
    assert source.run is not None
    seen = {case.id for case in source.run.dataset().cases}
    groups = [group for group in case_groups(dataset.cases, together) if not seen & set(group)]
    if len(groups) < folds or fold >= folds:
        raise UsageError(
            f"{source.file} was trained on all cases, and the data hold {plural(len(groups), 'new patient')}: too few "
            f"to hold a part of {folds} out; add --fold none, or --set folds=N for fewer parts."
        )
    names = {name for group in groups for name in group}
    new = [case for case in dataset.cases if case.id in names]
    held_out = make_folds(new, folds=folds, seed=seed, together=together).validation(fold)
    training = tuple(sorted(case.id for case in dataset.cases if case.id not in held_out))
    return (
        Folds(seed=seed, parts=(held_out,), training=training),
        0,
        f"{source.file} was trained on all cases, so {plural(len(held_out), 'new case')} alone are held out "
        f"({listed(held_out, 4)}).",
    )
