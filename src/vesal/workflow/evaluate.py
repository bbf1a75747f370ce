"""Evaluate: a run's held-out predictions, or two folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vesal.data.case import read_case, scan_workers
from vesal.errors import UsageError
from vesal.evaluate.case_scores import ClassScore, lesion_classes, score_case
from vesal.evaluate.postprocessing.choice_record import postprocess_remarks
from vesal.evaluate.score_folders import score_folders
from vesal.evaluate.scores import Scores, summarise
from vesal.evaluate.tables import save_scores
from vesal.layouts.registry import load_dataset
from vesal.parallel import Progress, map_in_order
from vesal.run.folder import Run
from vesal.run.held_out import HeldOut, held_out_cases
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
        tolerance_mm, lesions: as in `score_case`.
    """
    if truth is None:
        scores = score_run(Run(first), tolerance_mm=tolerance_mm, lesions=lesions, progress=progress)
    else:
        known = None
        if labels is not None:
            known = load_dataset(labels.parent if labels.is_file() else labels).labels
        scores = score_folders(
            first, truth, known, tolerance_mm=tolerance_mm, lesions=lesions, progress=progress
        )
    if out is not None:
        save_scores(out, scores)
    return scores


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
    labels, held = run.dataset().labels, held_out_cases(run)
    counted = lesion_classes(labels, lesions)

    def score(one: HeldOut) -> list[ClassScore]:
        truth = read_case(one.case).label
        assert truth is not None
        return score_case(
            one.case.id,
            labels.encode(read_label(one.prediction).array),
            labels.encode(truth.array),
            truth.geometry,
            labels,
            tolerance_mm=tolerance_mm,
            annotated=one.case.annotated,
            lesions=counted,
        )

    workers = scan_workers([one.prediction for one in held])
    rows = [row for found in map_in_order(score, held, workers=workers, progress=progress) for row in found]
    remarks = postprocess_remarks(run.folder)
    scores = summarise(rows, labels, tolerance_mm=tolerance_mm, remarks=remarks)
    save_scores(run.folder, scores)
    return scores
