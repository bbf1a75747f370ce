"""From a folder of predictions and a folder of truth to scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vesal.convert.slices import SliceIndex, find_sidecar
from vesal.data.case import grid_tolerance_mm, read_case_label, scan_workers
from vesal.data.dataset import Case, Dataset, SliceOf
from vesal.data.fingerprint import Failure
from vesal.data.labels import LabelSet
from vesal.data.value_tables import value_counts
from vesal.errors import DataError, UsageError, VesalError
from vesal.evaluate.case_scores import lesion_classes
from vesal.evaluate.label_files import data_set_of, label_files, what_is_there
from vesal.evaluate.score_pairs import MaskPair, Scoring, check_tolerance, score_pairs
from vesal.evaluate.scores import Scores
from vesal.layouts.matching_names import match_names
from vesal.layouts.scan_files import slice_of
from vesal.layouts.segment_labels import segment_labels
from vesal.parallel import Progress, map_in_order
from vesal.text import inline, listed
from vesal.volume.io import mask_files, read_label, strip_suffix
from vesal.volume.volume import LabelMap

#: Values that programs write for the foreground of a mask of one class, in place of 1.
_FULL = {255, 65535}


@dataclass(frozen=True)
class Described:
    """A description of the truth: its file or folder, and the cases that it knows by their ids."""

    path: Path
    cases: Mapping[str, Case]


def score_folders(
    predictions: str | Path,
    truth: str | Path,
    labels: LabelSet | None = None,
    *,
    tolerance_mm: float = 1.0,
    lesions: Sequence[str] | None = None,
    described: Described | None = None,
    slice_mm: float | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score every label map in `truth` against the one of the same name in `predictions`.

    Names are compared without endings, so a prediction may be in another format, and where they differ without
    words such as _seg at their ends, as in layout 'pairs'. A case is named by its truth; one that cannot be scored
    becomes a failure.

    Args:
        predictions, truth: folders, where every file in `truth` needs its prediction; or two files. A folder may hold
            a folder a case with one file in it, and `truth` may be a data set that a layout fits.
        labels: None takes every value in the truth that is not 0 as a class, named by the value.
        tolerance_mm, lesions: as in `score_case`.
        described: where `labels` were read, and of each case its patient, the labels that were drawn, and the place of
            a slice in its volume; by default slices are known by slices.json in or beside `truth`, else by the names.
        slice_mm: distance of neighbouring slices where it is not stated.
        progress: called with (done, total).

    Raises:
        UsageError: a folder is not there, the tolerance is negative, or a class of lesions is unknown.
        DataError: predictions are missing (all are named), two files are one case, or not one case can be scored.
    """
    check_tolerance(tolerance_mm)
    truth = Path(truth)
    dataset = None if truth.is_file() else data_set_of(truth)
    labels = dataset.labels if dataset is not None and labels is None else labels
    expected, found, extra = _matched(Path(predictions), truth, dataset, labels)
    known = _known_cases(found, dataset, described)
    workers = scan_workers(list(expected.values()))
    passes = 1 if labels is not None else 2
    if labels is None:
        labels = _labels_in(expected, truth, workers, _share(progress, 0, passes))
    scoring = Scoring(labels, tolerance_mm, lesion_classes(labels, lesions), slice_mm)
    places = {name: case.slice_of for name, case in known.items()}
    slices = _places(truth, list(found)) | {name: place for name, place in places.items() if place}
    where = None if described is None else described.path
    scores = score_pairs(
        [(case, found[case], path) for case, path in expected.items()],
        partial(_read_pair, labels=labels, places=slices, known=known, where=where),
        lambda pair: slices.get(pair[0]),
        scoring,
        workers=workers,
        progress=_share(progress, passes - 1, passes),
        remarks=[*_remarks(truth, extra, dataset), *_without_masks(found, labels)],
    )
    if not scores.cases and (failures := scores.failures):
        raise DataError(
            f"None of the {len(failures)} cases could be scored; the first, {failures[0].id}: {failures[0].message}"
        )
    return scores


def _matched(
    predictions: Path, truth: Path, dataset: Dataset | None, labels: LabelSet | None
) -> tuple[dict[str, Path], dict[str, Path], list[str]]:
    """Case -> file of the truth, and of the predictions, which hold each of them; and predictions without truth."""
    if truth.is_file() != predictions.is_file() and truth.exists() and predictions.exists():
        raise UsageError(f"{predictions} and {truth} are a file and a folder; name two files or two folders.")
    if dataset is None:
        expected = label_files(truth)
    else:
        expected = {case.id: case.label for case in dataset.cases if case.label is not None}
    if not expected:
        raise DataError(f"{truth} holds no label map; name the folder of true labels.{what_is_there(truth)}")
    there = label_files(predictions, () if labels is None else labels.names)
    # Of two files it is said that they belong together.
    partner = dict(zip(there, expected, strict=True)) if truth.is_file() else match_names(there, expected)
    found = {case: there[name] for name, case in partner.items()}
    if missing := [case for case in expected if case not in found]:
        raise DataError(
            f"{predictions} has no prediction of {len(missing)} of the {len(expected)} cases in {truth}: "
            f"{', '.join(missing)}; predict them, or take their truth out of the folder."
            f"{'' if there else what_is_there(predictions)}"
        )
    return expected, found, [name for name in there if name not in partner]


def _remarks(truth: Path, extra: Sequence[str], dataset: Dataset | None) -> list[str]:
    without = ", ".join(map(inline, extra))
    remarks = [f"Predictions without truth in {truth} were not scored: {without}."] if extra else []
    if dataset is not None:
        remarks.append(f"{truth} is a data set (layout '{dataset.layout}'), whose labels are the truth.")
    return remarks


def _without_masks(found: Mapping[str, Path], labels: LabelSet) -> list[str]:
    """What to say of labels of which folders of predicted masks hold none: left out, or not asked for."""
    folders = [set(mask_files(path)) for path in found.values() if path.is_dir()]
    lacking = {name: sum(name not in masks for masks in folders) for name in labels.names}
    shown = [f"{name} (in {count} of {len(folders)})" for name, count in lacking.items() if count]
    if not shown:
        return []
    return [f"Folders of predictions without a mask, which counts as nothing predicted: {listed(shown)}."]


def _known_cases(
    found: Mapping[str, Path], dataset: Dataset | None, described: Described | None
) -> dict[str, Case]:
    """What a data set that is the truth, or a description of it, says of the cases whose predictions were found."""
    known = {} if dataset is None else {case.id: case for case in dataset.cases}
    # A data set names its cases by the images, as predictions are.
    cases = {} if described is None else described.cases
    given = {name: cases.get(name, cases.get(strip_suffix(path))) for name, path in found.items()}
    return known | {name: case for name, case in given.items() if case is not None}


def _places(truth: Path, cases: Sequence[str]) -> dict[str, SliceOf]:
    """Which cases are slices of which volumes: by the sidecar of a conversion, else by their names."""
    sidecar = find_sidecar(truth.parent if truth.is_file() else truth)
    if sidecar is not None:
        index = SliceIndex.load(sidecar)
        known = {
            record.slice_id(name, number): record.place(name, number)
            for name, record in index.volumes.items()
            for number in record.written
        }
        return {case: place for case in cases if (place := known.get(case)) is not None}
    return {case: place for case in cases if (place := slice_of(case)) is not None}


def _read_pair(
    pair: tuple[str, Path, Path],
    labels: LabelSet,
    places: Mapping[str, SliceOf],
    known: Mapping[str, Case],
    where: Path | None,
) -> MaskPair | Failure:
    case, predicted, actual = pair

    def encoded(label: LabelMap, path: Path) -> NDArray[np.uint8]:
        try:
            return labels.encode(label.array)
        except DataError as error:
            _check_factor(prediction, predicted, truth, actual)
            declared = "" if where is None else f"; they were read in {where} (--labels takes another)"
            raise DataError(f"{path}: {error}{declared}.") from error

    try:
        said = known.get(case)
        prediction, truth = read_label(predicted, values=labels.by_name), _truth(actual, labels, said)
        # Of pictures often one alone says where it lies, or none but the data set of the truth.
        prediction = prediction.beside(truth) if truth.placed or not prediction.placed else prediction
        truth = truth.beside(prediction)
        _check_grids(prediction, predicted, truth, actual)
        masks = encoded(prediction, predicted), encoded(truth, actual)
        annotated, patient = (None, None) if said is None else (said.annotated, said.patient)
        return MaskPair(case, *masks, truth.geometry, annotated, places.get(case), patient)
    except VesalError as error:
        return Failure(id=case, message=str(error))
    except (OSError, ValueError, MemoryError) as error:
        return Failure(id=case, message=f"{predicted} and {actual} cannot be compared: {error!r}.")


def _truth(path: Path, labels: LabelSet, said: Case | None) -> LabelMap:
    """A true label map, read as its data set says: a soft mask, by what segments are called, the size of pixels."""
    case = said or Case(id="", images=(), patient="")
    reading = {"label": path, "segments": labels.by_name, "threshold": labels.reading}
    return read_case_label(case.model_copy(update=reading))


def _check_factor(prediction: LabelMap, predicted: Path, truth: LabelMap, actual: Path) -> None:
    """Refuse masks of one class that is 1 in one of them and 255 in the other, say."""
    (mine, theirs) = (sorted(set(value_counts(label.array)) - {0}) for label in (prediction, truth))
    if (
        len(mine) == len(theirs) == 1
        and mine != theirs
        and 1 in (*mine, *theirs)
        and {*mine, *theirs} & _FULL
    ):
        raise DataError(
            f"{predicted} holds 0 and {mine[0]} and {actual} 0 and {theirs[0]}: they differ by a factor, so write the "
            "masks of both with the same value."
        )


def _check_grids(prediction: LabelMap, predicted: Path, truth: LabelMap, actual: Path) -> None:
    if prediction.geometry.close_to(truth.geometry, grid_tolerance_mm(truth.geometry)):
        return
    if prediction.geometry.shape != truth.geometry.shape:
        gap = f"shape {prediction.geometry.shape} and not {truth.geometry.shape}"
    else:
        gap = f"voxels up to {prediction.geometry.distance_mm(truth.geometry):.3g} mm apart"
    raise DataError(
        f"{predicted} lies on another grid than {actual} ({gap}); predict with vesal predict, which writes on the "
        "scan's own grid, or resample the prediction onto the truth's."
    )


def _labels_in(files: Mapping[str, Path], folder: Path, workers: int, progress: Progress | None) -> LabelSet:
    """A label for every value but 0 in the files; one that cannot be read fails later, with its case.

    Where all files name their segments, these are the labels.
    """
    if (named := segment_labels(list(files.values()))) is not None:
        return named

    def values(path: Path) -> list[int]:
        try:
            return list(value_counts(read_label(path).array))
        except (VesalError, OSError, ValueError, MemoryError):
            return []

    seen: set[int] = set()
    for found in map_in_order(values, list(files.values()), workers=workers, progress=progress):
        seen.update(found)
    seen.discard(0)
    if not seen:
        raise DataError(
            f"No label map in {folder} can be read and holds a value other than 0; check the folder."
        )
    if len(seen) > 254:
        raise DataError(
            f"The files in {folder} hold {len(seen)} values, more than label maps do; check the folder."
        )
    return LabelSet.from_values({str(value): value for value in sorted(seen)})


def _share(progress: Progress | None, done_passes: int, passes: int) -> Progress | None:
    """Progress of one of several passes over the same files."""
    if progress is None:
        return None
    return lambda done, total: progress(done_passes * total + done, passes * total)
