"""Evaluate: a run's held-out predictions, or two folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vesal.data.case import read_case, scan_workers
from vesal.data.dataset import Case, Dataset
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.evaluate.case_scores import lesion_classes
from vesal.evaluate.postprocessing.choice_record import postprocess_remarks
from vesal.evaluate.score_folders import Described, score_folders
from vesal.evaluate.score_pairs import MaskPair, Scoring, check_tolerance, score_pairs
from vesal.evaluate.scores import Scores
from vesal.evaluate.tables import save_scores
from vesal.files import read_json
from vesal.layouts.dataset_description import json_labels
from vesal.layouts.registry import load_dataset
from vesal.outputs import results
from vesal.parallel import Progress
from vesal.run.folder import Run
from vesal.run.held_out import HeldOut, held_out_cases
from vesal.run_files import SCORE_FILES
from vesal.volume.io import read_label

#: Files that describe the data set in their folder; any other JSON file is asked for its labels alone.
_DATA_SETS = ("dataset.json", "manifest.json")
#: The labels of the truth, where they were read, and remarks; None where nothing names them.
_Description = tuple[LabelSet | None, Described | None, list[str]]


def evaluate_run(
    first: str | Path,
    truth: str | Path | None,
    *,
    out: str | Path | None = None,
    labels: str | Path | None = None,
    tolerance_mm: float = 1.0,
    lesions: Sequence[str] | None = None,
    slice_mm: float | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score a run's held-out cases (without `truth`), or a folder of predictions (or one) against one of truth.

    Args:
        first: the run folder, or the predictions.
        truth: folder of true labels, or one.
        out: takes scores.json, scores.csv and scores.md; a run's go into the run.
        labels: a dataset.json that names the labels; by default the one in the folder of truth or the one around it.
            Without any they are named by their values.
        tolerance_mm, lesions: as in `score_case`.
        slice_mm: distance of neighbouring slices of a volume where nothing states it.

    Raises:
        UsageError: the distance of slices is none, or names of labels are given for a run.
    """
    if slice_mm is not None and not 0 < slice_mm < float("inf"):
        raise UsageError(f"--slice-mm takes the distance of slices in mm, such as 5, not {slice_mm:g}.")
    if truth is None and labels is not None:
        raise UsageError(
            "--labels is for predictions beside a folder of truth; a run has its own, so leave it out."
        )
    first = Path(first)
    truth, out, labels = (None if path is None else Path(path) for path in (truth, out, labels))
    output = None if out is None else results(out, *SCORE_FILES)
    if truth is None:
        scores = score_run(
            Run(first), tolerance_mm=tolerance_mm, lesions=lesions, slice_mm=slice_mm, progress=progress
        )
    else:
        known, described, remarks = _beside(truth) if labels is None else _named(labels)
        scores = score_folders(
            first,
            truth,
            known,
            tolerance_mm=tolerance_mm,
            lesions=lesions,
            described=described,
            slice_mm=slice_mm,
            progress=progress,
        )
        scores = scores.model_copy(update={"remarks": (*scores.remarks, *remarks)})
    if out is not None and output is not None:
        with output:
            save_scores(out, scores)
    return scores


def _named(path: Path) -> _Description:
    """What a data set or its description says that was named; of a JSON file without its data, the labels.

    Raises:
        UsageError: there is no such file.
        DataError: it describes no data set and no labels.
    """
    if not path.exists():
        raise UsageError(f"There is no file {path}; name the dataset.json that names the labels.")
    json = read_json(path) if path.is_file() and path.suffix == ".json" else {}
    names_labels = isinstance(json, dict) and "labels" in json
    if names_labels and path.name not in _DATA_SETS:
        return json_labels(json, path), Described(path, {}), []
    try:
        dataset = load_dataset(path.parent if path.is_file() else path)
    except DataError:
        if not names_labels:
            raise
        return json_labels(json, path), Described(path, {}), []
    return dataset.labels, Described(path, _cases(dataset)), []


def _beside(truth: Path) -> _Description:
    """What the dataset.json in a folder of truth or in the one around it says, if it can be used."""
    folder = (truth.parent if truth.is_file() else truth).absolute()
    places = (one / "dataset.json" for one in (folder, folder.parent))
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        return None, None, []
    try:
        dataset = load_dataset(path.parent)
    except DataError as error:
        why = str(error).split(";")[0]
        return None, None, [f"Labels are named by their values, as {path} cannot be used: {why}."]
    return dataset.labels, Described(path, _cases(dataset)), [f"{path} names the labels."]


def _cases(dataset: Dataset) -> dict[str, Case]:
    return {case.id: case for case in dataset.cases + dataset.unlabelled}


def score_run(
    run: Run,
    *,
    tolerance_mm: float = 1.0,
    lesions: Sequence[str] | None = None,
    slice_mm: float | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score all held-out predictions of a run, pooled over its folds, and write scores.* into it.

    Raises:
        UsageError: scores in it were changed by hand, or the tolerance is no distance.
        VesalError: a held-out case has no prediction, or its truth is no longer where it was.
    """
    check_tolerance(tolerance_mm)
    labels, held = run.dataset().labels, held_out_cases(run)
    output = results(run.folder, *SCORE_FILES)
    scoring = Scoring(labels, tolerance_mm, lesion_classes(labels, lesions), slice_mm)

    def read(one: HeldOut) -> MaskPair:
        truth = read_case(one.case).label
        assert truth is not None
        masks = labels.encode(read_label(one.prediction).array), labels.encode(truth.array)
        case = one.case
        return MaskPair(case.id, *masks, truth.geometry, case.annotated, case.slice_of, case.patient)

    scores = score_pairs(
        held,
        read,
        lambda one: one.case.slice_of,
        scoring,
        workers=scan_workers([one.prediction for one in held]),
        progress=progress,
        remarks=postprocess_remarks(run.folder),
    )
    with output:
        save_scores(run.folder, scores)
    return scores
