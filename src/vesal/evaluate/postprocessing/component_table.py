"""Every component and hole of one case's prediction with its overlap with the truth, counted once.

What a step of `vesal.infer.postprocess` does to a Dice follows from these rows: no volume is scored again. Removing a
component takes it from its class whole and leaves the others as they were, and within a region lie whole components
of the regions in it; so the rows are exact where regions are nested (`vesal.infer.postprocess.nested`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import IGNORE, LabelSet, joint_box
from vesal.infer.components import component_sizes, holes, label_components
from vesal.infer.postprocess import members_of

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClassRows:
    """The n components of one class in the prediction; and the same class in the truth.

    Attributes:
        sizes: (n,) voxels.
        counted: (n,) voxels, without those of unknown truth.
        tp: (n,) voxels that are of the class in the truth too.
        first: (n,) index in C order of the first voxel, which decides between equal sizes.
        foreground: (n,) which component of all foreground it lies in.
        around: class index of each region around this one -> (n,) which of its components it lies in.
        truth: voxels of the class in the truth.
        truth_sizes: (m,) voxels of the components in the truth.
        judged: whether the truth of this class was drawn.
    """

    sizes: Counts
    counted: Counts
    tp: Counts
    first: Counts
    foreground: NDArray[np.intp]
    around: Mapping[int, NDArray[np.intp]]
    truth: int
    truth_sizes: Counts
    judged: bool


@dataclass(frozen=True, eq=False)
class HoleRows:
    """The h holes of a prediction.

    Attributes:
        counted: (h,) voxels, without those of unknown truth.
        tp: (h, classes) voxels that are of the class in the truth.
        of: (h, classes) bool: lies wholly within this class.
    """

    counted: Counts
    tp: Counts
    of: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CaseRows:
    """All of one case.

    Attributes:
        case, patient: names.
        voxel_mm3: volume of a voxel.
        foreground: (f,) voxels of the components of all foreground.
        foreground_first: (f,) index in C order of their first voxels.
        classes: one for each of the labels' classes.
        holes: of the prediction as it is.
    """

    case: str
    patient: str
    voxel_mm3: float
    foreground: Counts
    foreground_first: Counts
    classes: tuple[ClassRows, ...]
    holes: HoleRows


def case_rows(
    case: str,
    patient: str,
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    labels: LabelSet,
    *,
    voxel_mm3: float,
    annotated: Collection[str] | None = None,
) -> CaseRows:
    """Count one case.

    Args:
        case, patient: names.
        prediction, truth: (*spatial) contiguous label maps on one grid; voxels that are 255 in the truth do not
            count.
        labels: their regions, where there are any, are the classes.
        voxel_mm3: volume of a voxel.
        annotated: names of the labels that were drawn; None means all.

    Raises:
        DataError: an annotated name is unknown.
    """
    judged = labels.judged(annotated)
    actual = labels.class_table.astype(np.int64) @ _value_counts(truth, labels)
    box = joint_box([*labels.boxes(prediction), *labels.boxes(truth)]) or (slice(0, 1),) * truth.ndim
    prediction, truth = prediction[box], truth[box]
    boxes, true_boxes = labels.boxes(prediction), labels.boxes(truth)
    components, count = label_components(prediction != 0)
    sizes, first = component_sizes(components, count)[1:], _first(components, count)
    found: list[ClassRows] = []
    parts: dict[int, NDArray[np.int64]] = {}
    for index, name in enumerate(labels.classes):
        own, rows = _components(index, prediction, truth, boxes[index], labels)
        at = _places(rows["first"], own.shape, boxes[index])
        outer = [e for e in range(index) if (labels.class_table[e] & labels.class_table[index]).any()]
        found.append(
            ClassRows(
                **rows,
                foreground=_where(components, at),
                around={e: _where(parts[e], at) for e in outer},
                truth=int(actual[index]),
                truth_sizes=_true_sizes(index, truth, true_boxes[index], labels),
                judged=name in judged,
            )
        )
        if labels.regions:
            parts[index] = np.zeros(prediction.shape, dtype=own.dtype)
            if (side := boxes[index]) is not None:
                parts[index][side] = own
    return CaseRows(
        case, patient, voxel_mm3, sizes, first, tuple(found), hole_rows(prediction, truth, labels)
    )


def hole_rows(prediction: NDArray[np.uint8], truth: NDArray[np.uint8], labels: LabelSet) -> HoleRows:
    """The holes of a prediction, each once, also where it is one of several nested regions."""
    classes = len(labels.classes)
    found: dict[tuple[int, ...], tuple[int, Counts, NDArray[np.bool_]]] = {}
    for index, box in enumerate(labels.boxes(prediction)):
        if box is None:
            continue
        numbers, inside = holes(prediction[box], members_of(labels, index))
        if not inside.any():
            continue
        gaps = inside[numbers]
        ids, first, which = np.unique(numbers[gaps], return_index=True, return_inverse=True)
        values = np.bincount(which.ravel() * 256 + truth[box][gaps], minlength=len(ids) * 256)
        places = np.argwhere(gaps)[first] + [side.start for side in box]
        for place, row in zip(places, values.reshape(-1, 256), strict=True):
            tp = labels.class_table @ row[: len(labels.labels) + 1]
            entry = (int(row.sum() - row[IGNORE]), tp, np.zeros(classes, dtype=bool))
            found.setdefault(tuple(int(at) for at in place), entry)[2][index] = True
    rows = list(found.values())
    return HoleRows(
        counted=np.array([row[0] for row in rows], dtype=np.int64),
        tp=np.array([row[1] for row in rows], dtype=np.int64).reshape(-1, classes),
        of=np.array([row[2] for row in rows], dtype=bool).reshape(-1, classes),
    )


def _components(
    index: int,
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    box: tuple[slice, ...] | None,
    labels: LabelSet,
) -> tuple[NDArray[np.int64], dict[str, Counts]]:
    """Numbers in the class's box, and the rows of `ClassRows` that follow from them and the truth."""
    box = box or (slice(0, 0),) * truth.ndim
    own, count = label_components(labels.mask(index, prediction[box]))
    mask = own > 0
    numbers, actual = own[mask], truth[box][mask]

    def counted(which: NDArray[np.bool_]) -> Counts:
        return np.bincount(numbers[which], minlength=count + 1)[1:]

    rows = {
        "sizes": component_sizes(own, count)[1:],
        "counted": counted(actual != IGNORE),
        "tp": counted(members_of(labels, index)[actual]),
        "first": _first(own, count),
    }
    return own, rows


def _first(numbers: NDArray[np.int64], count: int) -> Counts:
    """(count,) the index in C order of each number's first voxel."""
    flat = numbers.ravel()
    index = np.flatnonzero(flat)
    first = np.zeros(count + 1, dtype=np.int64)
    # Of several values for one place the last written stays.
    first[flat[index[::-1]]] = index[::-1]
    return first[1:]


def _places(
    first: Counts, shape: tuple[int, ...], box: tuple[slice, ...] | None
) -> tuple[NDArray[np.intp], ...]:
    """The coordinates in the whole of voxels with these indices in the box."""
    if box is None:
        return (np.zeros(0, dtype=np.intp),) * len(shape)
    return tuple(axis + side.start for axis, side in zip(np.unravel_index(first, shape), box, strict=True))


def _where(numbers: NDArray[np.int64], at: tuple[NDArray[np.intp], ...]) -> NDArray[np.intp]:
    return numbers[at].astype(np.intp) - 1


def _true_sizes(
    index: int, truth: NDArray[np.uint8], box: tuple[slice, ...] | None, labels: LabelSet
) -> Counts:
    if box is None:
        return np.zeros(0, dtype=np.int64)
    components, count = label_components(labels.mask(index, truth[box]))
    return component_sizes(components, count)[1:]


def _value_counts(truth: NDArray[np.uint8], labels: LabelSet) -> Counts:
    return component_sizes(truth, IGNORE)[: len(labels.labels) + 1]
