"""Evaluate: a run's held-out predictions, or two folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vesal.data.case import read_case, scan_workers
from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.errors import UsageError, VesalError
from vesal.evaluate.postprocessing.choice_record import postprocess_remarks
from vesal.evaluate.score_folders import (
    ClassScore,
    Scores,
    lesion_classes,
    score_case,
    score_folders,
    summarise,
)
from vesal.evaluate.tables import save_scores
from vesal.layouts.input_scans import default_ending
from vesal.layouts.registry import load_dataset
from vesal.parallel import Progress, map_in_order
from vesal.run.folder import Run
from vesal.run_files import PREDICTIONS
from vesal.volume.io import read_label


def evaluate_run(
    first: Path,
    truth: Path | None,
    *,
    out: Path | None = None,
    labels: Path | None = None,
    tolerance_mm: float = 1.0,
    lesions: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score a run's held-out cases (without `truth`), or a folder of predictions against one of truth.

    Args:
        first: the run folder, or the predictions.
        truth: folder of true labels.
        out: takes scores.json, scores.csv and scores.md; a run's go into the run.
        labels: a dataset.json that names the labels; without it they are named by their values.
        tolerance_mm: of the NSD.
        lesions: classes whose lesions are counted; None takes those whose names say so.
    """
    if truth is None:
        scores = score_run(Run(first), tolerance_mm=tolerance_mm, lesions=lesions, progress=progress)
    else:
        known = None if labels is None else _declared(labels)
        scores = score_folders(
            first, truth, known, tolerance_mm=tolerance_mm, lesions=lesions, progress=progress
        )
    if out is not None:
        save_scores(out, scores)
    return scores


def _declared(labels: Path) -> LabelSet:
    return load_dataset(labels.parent if labels.is_file() else labels).labels


def score_run(
    run: Run,
    *,
    tolerance_mm: float = 1.0,
    lesions: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score all held-out predictions of a run, pooled over its folds, and write scores.* into it.

    Raises:
        VesalError: a held-out case has no prediction, or its truth is no longer where it was.
    """
    if not tolerance_mm >= 0:
        raise UsageError(f"The tolerance is a distance in mm of at least 0, not {tolerance_mm:g}.")
    dataset, folds = run.dataset(), run.folds()
    if folds is None:
        raise VesalError(
            f"{run.folder} was trained on all cases, nothing was held out; evaluate it on other data."
        )
    cases = {case.id: case for case in dataset.cases}
    pairs: list[tuple[Case, Path]] = []
    missing = []
    for number in run.trained_folds():
        for name in folds.validation(number):
            path = run.fold(number) / PREDICTIONS / f"{name}{default_ending(cases[name])}"
            if path.exists():
                pairs.append((cases[name], path))
            else:
                missing.append(name)
    counted = lesion_classes(dataset.labels, lesions)
    if missing:
        raise VesalError(
            f"No prediction of {', '.join(missing)}; vesal train --resume makes the missing ones."
        )

    def one(pair: tuple[Case, Path]) -> list[ClassScore]:
        case, path = pair
        truth = read_case(case).label
        assert truth is not None
        prediction = read_label(path)
        return score_case(
            case.id,
            dataset.labels.encode(prediction.array),
            dataset.labels.encode(truth.array),
            truth.geometry,
            dataset.labels,
            tolerance_mm=tolerance_mm,
            annotated=case.annotated,
            lesions=counted,
        )

    workers = scan_workers([path for _, path in pairs])
    rows = [row for found in map_in_order(one, pairs, workers=workers, progress=progress) for row in found]
    remarks = postprocess_remarks(run.folder)
    scores = summarise(rows, dataset.labels, tolerance_mm=tolerance_mm, remarks=remarks)
    save_scores(run.folder, scores)
    return scores
