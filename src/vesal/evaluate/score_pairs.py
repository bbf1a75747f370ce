"""Many predictions beside their truth: each scored by itself, and the slices of one volume also as that volume."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vesal.data.dataset import SliceOf
from vesal.data.fingerprint import Failure
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.evaluate.case_scores import ClassScore, score_case
from vesal.evaluate.scores import Scores, summarise
from vesal.parallel import Progress, map_in_order
from vesal.text import times
from vesal.volume.geometry import Geometry

Item = TypeVar("Item")

#: Slices of one volume have pixels of one size but for rounding, such as that of dots per inch (relative).
_SAME_PIXELS = 1e-3
#: Numbers of slices that lie farther apart are dates or the like: the volume between them would fill any memory.
_MOST_SLICES = 10_000

#: What needs the distance between slices; all else is of voxels alone.
_NEED_DISTANCE = (
    "nsd",
    "hd95_mm",
    "assd_mm",
    "volume_ml",
    "truth_volume_ml",
    "volume_error_ml",
    "false_positive_ml",
)


@dataclass(frozen=True, eq=False)
class MaskPair:
    """A prediction and its truth, as they are scored.

    Attributes:
        case: its id.
        prediction, truth: (*spatial) contiguous label maps, uint8.
        geometry: the grid of both.
        annotated: names of the labels that were drawn; None means all.
        place: of a slice, in its volume.
        patient: of whom the scan is; None where that is not known.
    """

    case: str
    prediction: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    geometry: Geometry
    annotated: tuple[str, ...] | None = None
    place: SliceOf | None = None
    patient: str | None = None


@dataclass(frozen=True)
class Scoring:
    """How everything is scored.

    Attributes:
        labels: their regions, where there are any, are the classes.
        tolerance_mm: of the NSD.
        lesions: classes whose lesions are counted.
        slice_mm: distance between neighbouring slices whose data set does not state it; None where it is not known.
    """

    labels: LabelSet
    tolerance_mm: float
    lesions: Collection[str]
    slice_mm: float | None = None


def check_tolerance(tolerance_mm: float) -> None:
    """Refuse a tolerance of the NSD that is none, before anything is read.

    Raises:
        UsageError: it is negative, infinite or no number.
    """
    if not 0 <= tolerance_mm < math.inf:
        raise UsageError(f"The tolerance of the NSD is at least 0 mm, not {tolerance_mm}; give millimetres.")


@dataclass(frozen=True)
class _Scored:
    """Rows of a group's cases in their order, the volume's own, where it is one, and of which patient each is."""

    cases: tuple[list[ClassScore] | Failure, ...]
    volume: list[ClassScore] | Failure | None = None
    patients: Mapping[str, str] = field(default_factory=dict)


def score_pairs(
    items: Sequence[Item],
    read: Callable[[Item], MaskPair | Failure],
    place_of: Callable[[Item], SliceOf | None],
    scoring: Scoring,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    remarks: Sequence[str] = (),
) -> Scores:
    """Read and score every item, and the volumes that slices belong to.

    Volumes are scored where some have several slices. A volume of which a slice could not be read is a failure of the
    volume.

    Args:
        items: cases, in the order of the rows.
        read: an item -> its masks, or why there are none.
        place_of: an item -> where it lies, if it is a slice; masks that turn out not to be 2D are none.
        scoring: classes, tolerance, and distance of slices.
        workers: threads.
        progress: called with (done, total).
        remarks: go into the scores.
    """
    groups = _grouped([place_of(item) for item in items])

    def one(group: tuple[str | None, list[int]]) -> _Scored:
        volume, members = group
        return _score_group(volume, [read(items[index]) for index in members], scoring)

    found: list[list[ClassScore] | Failure] = [[]] * len(items)
    volumes: list[list[ClassScore] | Failure] = []
    patients: dict[str, str] = {}
    results = map_in_order(one, groups, workers=workers, progress=progress)
    for (_, members), scored in zip(groups, results, strict=True):
        for index, rows in zip(members, scored.cases, strict=True):
            found[index] = rows
        volumes += [] if scored.volume is None else [scored.volume]
        patients |= scored.patients
    whole = None
    if volumes and len(volumes) < sum(len(members) for volume, members in groups if volume is not None):
        whole = _summary(volumes, scoring, _volume_remarks(items, place_of, scoring), patients)
    return _summary(found, scoring, remarks, patients, whole)


def _summary(
    found: Sequence[list[ClassScore] | Failure],
    scoring: Scoring,
    remarks: Sequence[str],
    patients: Mapping[str, str],
    volumes: Scores | None = None,
) -> Scores:
    return summarise(
        [row for rows in found if not isinstance(rows, Failure) for row in rows],
        scoring.labels,
        tolerance_mm=scoring.tolerance_mm,
        failures=[one for one in found if isinstance(one, Failure)],
        remarks=remarks,
        volumes=volumes,
        patients=patients,
    )


def _volume_remarks(
    items: Sequence[Item], place_of: Callable[[Item], SliceOf | None], scoring: Scoring
) -> list[str]:
    """What the volumes lack where no distance is known."""
    places = [place for item in items if (place := place_of(item)) is not None]
    unknown = len({place.volume for place in places if place.distance_mm is None})
    if not unknown or scoring.slice_mm is not None:
        return []
    return [
        f"The distance between slices is not stated (volumes: {unknown}), so distances and volumes are undefined; "
        "give --slice-mm, or slice_mm in a manifest."
    ]


def _grouped(places: Sequence[SliceOf | None]) -> list[tuple[str | None, list[int]]]:
    """Indices of the slices of each volume, with its name, and each other case's alone; by their first ones."""
    found: dict[str | int, list[int]] = {}
    for index, place in enumerate(places):
        found.setdefault(index if place is None else place.volume, []).append(index)
    return [(None if isinstance(key, int) else key, members) for key, members in found.items()]


def _score_group(name: str | None, found: Sequence[MaskPair | Failure], scoring: Scoring) -> _Scored:
    """One case, or the slices of the volume `name`."""
    pairs = [pair for pair in found if isinstance(pair, MaskPair)]
    cases = tuple(pair if isinstance(pair, Failure) else _score(pair, scoring) for pair in found)
    if name is None or any(pair.geometry.ndim != 2 for pair in pairs):
        return _Scored(cases, patients={pair.case: pair.patient or pair.case for pair in pairs})
    # Slices of one volume are of one patient.
    patient = next((pair.patient for pair in pairs if pair.patient), name)
    patients = {**{pair.case: patient for pair in pairs}, name: patient}
    try:
        if failed := [pair.id for pair in found if isinstance(pair, Failure)]:
            raise DataError(f"its slice {failed[0]} could not be scored")
        volume, known = stacked(name, pairs, scoring.slice_mm)
        rows = _score(volume, scoring)
        return _Scored(cases, rows if known else [_without_distance(row) for row in rows], patients)
    except DataError as error:
        return _Scored(cases, Failure(id=name, message=str(error)), patients)


def _score(pair: MaskPair, scoring: Scoring) -> list[ClassScore]:
    return score_case(
        pair.case,
        pair.prediction,
        pair.truth,
        pair.geometry,
        scoring.labels,
        tolerance_mm=scoring.tolerance_mm,
        annotated=pair.annotated,
        lesions=scoring.lesions,
    )


def stacked(volume: str, slices: Sequence[MaskPair], slice_mm: float | None) -> tuple[MaskPair, bool]:
    """The volume that slices were cut from, (X, Y, slices), and whether their distance is known.

    Numbers between the slices that are not there are slices without a label, as conversions leave them out. Where the
    distance is not stated with the slices, numbers that all differ by multiples of one step are neighbours instead, as
    where every tenth slice was drawn.

    Args:
        volume: its name.
        slices: 2D, each with its place.
        slice_mm: distance of neighbours, for slices that do not state it.

    Raises:
        DataError: two slices have one number, their numbers lie too far apart, or they differ in size or distance.
    """
    places = [(pair.place.number, pair) for pair in slices if pair.place is not None]
    places.sort(key=lambda item: item[0])
    for (before, a), (after, b) in pairwise(places):
        if before == after:
            raise DataError(f"{a.case} and {b.case} are both slice {after}; give each its own number")
    first = places[0][1]
    for _, pair in places:
        gap = _unlike(first, pair)
        if gap:
            raise DataError(
                f"{pair.case} has {gap[1]} and {first.case} {gap[0]}, so they are not of one volume; "
                "correct the names or the manifest"
            )
    assert first.place is not None
    distance = first.place.distance_mm
    numbers = [number - places[0][0] for number, _ in places]
    step = 1 if distance is not None else max(1, math.gcd(*numbers))
    if numbers[-1] // step >= _MOST_SLICES:
        raise DataError(
            f"its slices are numbered from {places[0][0]} to {places[-1][0]}, farther apart than those of a volume; "
            "correct the names or the manifest"
        )
    shape = (*first.geometry.shape, numbers[-1] // step + 1)
    spacing = (*first.geometry.spacing_mm, distance or slice_mm or 1.0)
    masks = np.zeros((2, *shape), dtype=np.uint8)
    for number, (_, pair) in zip(numbers, places, strict=True):
        masks[0, ..., number // step], masks[1, ..., number // step] = pair.prediction, pair.truth
    drawn = [set(pair.annotated) for pair in slices if pair.annotated is not None]
    annotated = tuple(sorted(set.intersection(*drawn))) if drawn else None
    grid = Geometry.from_spacing(shape, spacing)
    return MaskPair(volume, masks[0], masks[1], grid, annotated), (distance or slice_mm) is not None


def _unlike(a: MaskPair, b: MaskPair) -> tuple[str, str] | None:
    """In what two slices differ that are of one volume."""
    assert a.place is not None
    assert b.place is not None
    if a.geometry.shape != b.geometry.shape:
        return f"{times(a.geometry.shape)} pixels", f"{times(b.geometry.shape)} pixels"
    if not np.allclose(a.geometry.spacing_mm, b.geometry.spacing_mm, rtol=_SAME_PIXELS):
        return f"pixels of {times(a.geometry.spacing_mm)} mm", f"pixels of {times(b.geometry.spacing_mm)} mm"
    if a.place.distance_mm != b.place.distance_mm:
        return f"the distance {a.place.distance_mm} mm", f"the distance {b.place.distance_mm} mm"
    return None


def _without_distance(row: ClassScore) -> ClassScore:
    return row.model_copy(update=dict.fromkeys(_NEED_DISTANCE))
