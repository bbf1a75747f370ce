"""Label values that are no declared classes, and labels or classes without a voxel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.editable_case import CannotFix, EditableCase, FixResult, NothingToFix
from vesal.audit.finding import RARE, CaseDetails, Finding, find_in, of_slices
from vesal.audit.reference_cases import ReferenceCases
from vesal.audit.similarity import FEWEST_CASES
from vesal.data.dataset import Dataset
from vesal.data.fingerprint import Fingerprint
from vesal.data.labels import LabelSet
from vesal.data.value_tables import value_counts
from vesal.data.whole_volumes import WholeVolume
from vesal.text import listed, plural
from vesal.volume.geometry import Array
from vesal.volume.mask_folder import AND

#: How far labelled voxels may lie from their class in the mean, of the range of the classes.
_MOST_OFF = 0.3
#: A foreign value in so few voxels, or in this share of the labelled ones, is a slip; they become what is around them.
_SLIP_VOXELS, _SLIP_SHARE = 3, 0.001
#: Values that a message lists.
_LISTED = 10
#: A mask that lost more of its voxels than this to another one overlaps by more than a rim; pairs that are listed.
_OVERLAP_SHARE, _MOST_PAIRS = 0.01, 3


def find_undeclared_values(cases: ReferenceCases) -> Iterable[Finding]:
    declared = ", ".join(map(str, sorted(cases.labels.values)))
    yield from find_in(
        "undeclared-value",
        "error",
        f"A label holds values that are not declared (declared are {declared})",
        "Declare the value with the data set's labels, or correct the file.",
        {
            record.id: f"value{'s' if len(record.undeclared) > 1 else ''} "
            + ", ".join(map(str, record.undeclared[:_LISTED]))
            for record in cases.fingerprint.cases
            if record.undeclared
        },
    )


def find_open_questions(cases: ReferenceCases) -> Iterable[Finding]:
    """Soft masks, and values that may be no classes: what nobody declared and values do not say."""
    what, _, fix = cases.labels.question.partition("; ")
    if not what:
        return
    soft = [record.id for record in cases.fingerprint.cases if record.soft_label]
    yield Finding(
        kind="soft-mask" if cases.labels.threshold is not None else "label-question",
        severity="error",
        cases=tuple(soft),
        what=what,
        fix=fix[:1].upper() + fix[1:],
        details={name: {} for name in soft},
    )


def declared_soft_masks(dataset: Dataset, fingerprint: Fingerprint) -> list[Finding]:
    """Masks that a declared threshold reads: nothing is wrong with them, but the fixed copy has no threshold."""
    if dataset.labels.threshold is None or dataset.labels.question:
        return []
    soft = [record.id for record in fingerprint.cases if record.soft_label]
    details = {name: {"text": "", "threshold": dataset.labels.threshold} for name in soft}
    return list(find_in("soft-mask", "note", "A mask is soft", "Make it hard.", details))


def fix_soft_mask(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """Shades, or another number for the same class: opening the case has applied the threshold."""
    label, threshold = case.label_map, others.labels.threshold
    if not label.soft:
        raise NothingToFix("the mask holds its one value alone")
    drawn = int((label.array != 0).sum())
    value = others.labels.labels[0].value
    return FixResult(
        case.rewritten("label"),
        f"the mask holds other values than 0 and {value}",
        f"what is at or above {threshold:g} became {value}, all else 0; {drawn:,} voxels are labelled",
        {"threshold": threshold, "value": value, "voxels": drawn},
    )


def find_empty_labels(cases: ReferenceCases) -> Iterable[Finding]:
    whole = cases.annotated_wholes
    empty = [
        each
        for each in whole
        if not each.voxels(cases.labels.names) and not any(record.undeclared for record in each.records)
    ]
    # Healthy volumes and images without the organ are usual in some data sets; a few alone are suspicious. A slice
    # beside the organ is nothing at all.
    usual = len(empty) > RARE * len(whole) or not any(each.sliced or _solid(each) for each in whole)
    found: CaseDetails = {}
    for each in empty:
        text = f"all {plural(len(each.records), 'slice')} of {each.name}" if each.sliced else ""
        found |= of_slices([record.id for record in each.records], text)
    yield from find_in(
        "empty-label",
        "note" if usual else "warning",
        "A label is empty",
        "Look whether there is really nothing to label; if the annotation is missing, take the case out.",
        found,
    )


def _solid(whole: WholeVolume) -> bool:
    return len(whole.records[0].shape) == 3


def find_overlaps(cases: ReferenceCases) -> Iterable[Finding]:
    """Masks of one case that share voxels: worth a look where a mask lost more than its rim."""
    found: dict[bool, dict[str, str | dict[str, Any]]] = {True: {}, False: {}}
    for record in cases.fingerprint.cases:
        if not record.overlaps:
            continue
        largest = sorted(record.overlaps.items(), key=lambda item: -item[1])
        shares = [count / (count + record.voxels.get(pair.split(AND)[0], 0)) for pair, count in largest]
        shown = listed([f"{pair}: {plural(count, 'voxel')}" for pair, count in largest], _MOST_PAIRS)
        found[max(shares) > _OVERLAP_SHARE][record.id] = shown
    for serious, of in found.items():
        yield from find_in(
            "overlapping-masks",
            "warning" if serious else "note",
            "Masks of two labels share voxels, which are given to the later name",
            "Correct the masks where that is wrong.",
            of,
        )


def find_absent_classes(cases: ReferenceCases) -> Iterable[Finding]:
    records = cases.fingerprint.cases
    if not any(any(record.voxels.values()) for record in records):
        return
    for name in cases.labels.names:
        if not any(record.voxels.get(name, 0) for record in records):
            yield Finding(
                kind="absent-class",
                severity="warning",
                cases=(),
                what=f"The label '{name}' is declared but occurs in no case",
                fix="Correct its value, or take it out of the declaration: it cannot be learned.",
            )


def find_single_case_labels(cases: ReferenceCases) -> Iterable[Finding]:
    """Labels of one case alone: where nobody declared the values, a slip of the brush has become a class."""
    annotated = {case.id: case.annotated for case in cases.dataset.cases}
    drawn_in: dict[str, list[str]] = {}
    records: dict[str, dict[str, None]] = {}
    for name, value in cases.labels.by_name.items():
        wholes = [
            each
            for each in cases.annotated_wholes
            if any(name in (annotated.get(record.id) or cases.labels.names) for record in each.records)
        ]
        holding = [each for each in wholes if each.voxels((name,))]
        if len(wholes) < FEWEST_CASES or len(holding) != 1:
            continue
        (only,) = holding
        text = f"'{name}' = {value} in {plural(only.voxels((name,)), 'voxel')}"
        drawn_in.setdefault(only.name, []).append(
            f"{text} of the slices of {only.name}" if only.sliced else text
        )
        held = (record.id for record in only.records if record.voxels.get(name, 0))
        records.setdefault(only.name, {}).update(dict.fromkeys(held))
    found: CaseDetails = {}
    for whole, texts in drawn_in.items():
        found |= of_slices([*records[whole]], listed(texts, _LISTED))
    yield from find_in(
        "single-case-label",
        "warning",
        "A label occurs in one case alone",
        "If that is a slip, correct the file, or declare the other labels: in dataset.json, with which vesal inspect "
        "--fix takes it out, or by vesal train --set labels.NAME=VALUE, which leaves the case out; if it is a class, "
        "add cases: it cannot be both learned and measured.",
        found,
    )


def fix_label_values(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """Numbers between the values, as interpolation leaves them: each becomes the class that it is at least half of."""
    if case.fractions is None:
        raise NothingToFix("all label values are whole numbers")
    labels, stored, grid = others.labels, case.fractions.array[0], case.fractions.geometry
    values = np.where(np.isfinite(stored), stored, labels.background).astype(np.float64)
    declared = np.asarray(sorted(labels.values), dtype=float)
    lost = int((~np.isfinite(stored)).sum())
    if (scaled := _scaled(values, labels)) is not None:
        whole, how = scaled
        return FixResult(case.with_label(whole, grid), *how)
    if values.min() < declared[0] - 0.5 or values.max() > declared[-1] + 0.5:
        there = f"{values.min():g} to {values.max():g}"
        raise CannotFix(f"the label holds {there} where {declared[0]:g} to {declared[-1]:g} are declared")
    # Thin classes have no cores; the nearest value turns edges of one class into a rim of another. What is more like
    # the others is taken, the nearest value where that cannot be measured.
    nearest = _typed(declared[np.digitize(values, (declared[1:] + declared[:-1]) / 2)], labels)
    options = [nearest, rounded(values, labels)] if len(labels.labels) > 1 else [nearest]
    unlike = [others.distance(case.with_label(option, grid)) for option in options]
    whole = options[int(np.argmin([np.inf if distance is None else distance for distance in unlike]))]
    drawn = whole != labels.background
    off = np.abs(values - np.rint(values)) > 1e-3
    largest = float(np.abs(values - whole)[drawn].mean()) if drawn.any() else 1.0
    if largest > _MOST_OFF * (declared[-1] - declared[0]):
        raise CannotFix(
            "most of what is labelled lies between two values: it is an image or a map of probabilities"
        )
    return FixResult(
        case.with_label(whole, grid),
        f"{int(off.sum()) + lost:,} voxels of the label are no whole number"
        + (f" ({lost:,} of them NaN or infinite)" if lost else ""),
        f"each became the class that it is at least half of; {int(drawn.sum()):,} voxels are labelled",
        {"voxels": int(off.sum()), "not_finite": lost, "mean_distance": largest},
        look=True,
    )


def _scaled(values: Array, labels: LabelSet) -> tuple[Array, tuple[str, str, dict[str, Any]]] | None:
    """All classes times one number that is not whole, such as 0.25 and 0.5 for 1 and 2."""
    classes = sorted(label.value for label in labels.labels)
    steps = np.unique(values.round(4))
    found = steps[np.abs(steps - labels.background) > 1e-3] - labels.background
    ranks = np.arange(1, len(classes) + 1)
    if len(found) != len(classes) or found[0] <= 0 or np.abs(found / found[0] - ranks).max() > 0.02:
        return None
    if np.abs(found - np.asarray(classes) + labels.background).max() <= 1e-3:
        return None  # as declared: what is wrong are voxels without a number
    whole = _typed(np.full(values.shape, labels.background), labels)
    for value, step in zip(classes, found + labels.background, strict=True):
        whole[np.abs(values - step) < found[0] / 2] = value
    shown = ", ".join(f"{step:g}" for step in found)
    return whole, (
        f"the label holds {shown} in place of {', '.join(map(str, classes))}",
        "each became the class of its rank",
        {"values": found.tolist()},
    )


def rounded(values: Array, labels: LabelSet) -> Array:
    """Interpolated label values (*S) -> classes: the nearest core of a class, where a voxel is at least half of it.

    Between the background and class 2 an interpolated edge passes through 1 without being of class 1. A class' core
    is therefore what is near its value and, but for the highest, still there without its outermost voxels.

    >>> labels = LabelSet.from_values({"a": 1, "b": 2})
    >>> rounded(np.array([0, 0.4, 1.2, 2, 2, 2, 1.6, 1, 1, 1, 0.8, 0.3]), labels).tolist()
    [0, 0, 2, 2, 2, 2, 2, 1, 1, 1, 1, 0]
    """
    from scipy import ndimage

    classes = sorted(label.value for label in labels.labels)
    cores = np.zeros(values.shape, dtype=np.int64)
    for value in classes:
        near = np.abs(values - value) < 0.25 if value != classes[-1] else values > value - 0.25
        inner = ndimage.binary_erosion(near, border_value=1) if value != classes[-1] else near
        cores[inner if inner.any() else near] = value
    whole = _typed(np.full(values.shape, labels.background), labels)
    if not cores.any():
        return whole
    nearest = _as_around(cores, cores == 0)
    inside = values >= labels.background + (nearest - labels.background) / 2
    whole[inside] = nearest[inside]
    return whole


def _typed(array: Array, labels: LabelSet) -> Array:
    """In the smallest type that holds all declared values."""
    low, high = min(labels.values), max(labels.values)
    return np.asarray(array.astype(np.min_scalar_type(high if low >= 0 else min(low, -high - 1))))


def fix_undeclared_value(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """Values that nobody declared, where it is evident which classes they are."""
    label, labels = case.label_map, others.labels
    found = list(value_counts(label.array))
    foreign = [value for value in found if value not in labels.values]
    if not foreign:
        raise NothingToFix("all label values are declared")
    volumes = {value: int((label.array == value).sum()) for value in found}
    shown = ", ".join(map(str, foreign[:_LISTED]))
    wrong = f"the label holds {shown} where {', '.join(map(str, sorted(labels.values)))} are declared"
    mapping = evident_mapping(volumes, labels, _usual_volumes(others))
    drawn = sum(count for value, count in volumes.items() if value != labels.background)
    if mapping is None:
        if (count := sum(volumes[value] for value in foreign)) > max(_SLIP_VOXELS, _SLIP_SHARE * drawn):
            raise CannotFix(f"the label holds {shown}, and which classes they are is not evident")
        fixed = _as_around(label.array, np.isin(label.array, foreign))
        how = f"those {count:,} voxels got the value of the nearest other voxel"
        return FixResult(case.with_label(fixed), wrong, how, {"voxels": count}, look=True)
    array = _typed(np.full(label.array.shape, labels.background), labels)
    for value in found:
        array[label.array == value] = mapping.get(value, value)
    named = {labels.background: "background"} | {one.value: one.name for one in labels.labels}
    changes = [f"{old} -> {new} ({named[new]}, {volumes[old]:,} voxels)" for old, new in mapping.items()]
    numbers = {"mapping": {str(old): new for old, new in mapping.items()}}
    return FixResult(case.with_label(array), wrong, f"values were changed: {', '.join(changes)}", numbers)


def _as_around(array: Array, wrong: Array) -> Array:
    """With the nearest other value where it is wrong."""
    from scipy import ndimage

    index = ndimage.distance_transform_edt(wrong, return_distances=False, return_indices=True)
    return np.asarray(array[tuple(index)])


def evident_mapping(
    volumes: Mapping[int, int], labels: LabelSet, usual: Mapping[int, tuple[float, float]]
) -> dict[int, int] | None:
    """File values -> declared values, or None where that is not evident.

    Evident are one foreign value where one class is declared; the classes spread over 255 or times one number
    (50, 100, 150); and one foreign value of about the volume of the one class that is not in the file. A negative value
    is none: -1 marks what is to be ignored as a rule.

    Args:
        volumes: voxels of each value in the file.
        labels: what is declared.
        usual: (least, greatest) voxels of each class' value in the other cases that hold it.

    >>> labels = LabelSet.from_values({"a": 1, "b": 2, "c": 3})
    >>> evident_mapping({0: 900, 85: 5, 170: 5, 255: 5}, labels, {})
    {85: 1, 170: 2, 255: 3}
    >>> evident_mapping({0: 900, 127: 5, 255: 5}, LabelSet.from_values({"a": 1, "b": 2}), {})
    {127: 1, 255: 2}
    >>> evident_mapping({0: 900, 1: 5, 17: 5}, labels, {}) is None
    True
    """
    values = sorted(label.value for label in labels.labels)
    found = sorted(value for value in volumes if value != labels.background)
    foreign = [value for value in found if value not in labels.values]
    if foreign and foreign[0] < 0:
        return None
    if len(values) == 1 and len(found) == 1:
        return {found[0]: values[0]}
    ranks = range(1, len(values) + 1)
    if len(found) == len(values) > 1 and found[0] > 1 and found == [found[0] * rank for rank in ranks]:
        # 2 and 4 of the classes 1 and 2 may be all of them doubled, or one class misnamed.
        return dict(zip(found, values, strict=True)) if foreign == found else None
    if foreign == found and len(found) > 1:
        placed = [value * len(values) / 255 for value in found]
        whole = [round(rank) for rank in placed]
        near = all(abs(rank - to) * 255 < len(values) for rank, to in zip(placed, whole, strict=True))
        if near and len(set(whole)) == len(whole) and set(whole) <= set(ranks):
            return {value: values[rank - 1] for value, rank in zip(found, whole, strict=True)}
    absent = [value for value in values if value not in found and value in usual]
    if len(foreign) == 1 and len(absent) == 1:
        low, high = usual[absent[0]]
        if 0.5 * low <= volumes[foreign[0]] <= 2 * high:
            return {foreign[0]: absent[0]}
    return None


def _usual_volumes(others: ReferenceCases) -> dict[int, tuple[float, float]]:
    """Least and greatest number of voxels of each class that nearly every other case holds."""
    rows = [record.voxels for record in others.sound if record.voxels]
    found = {}
    for label in others.labels.labels:
        counts = [row[label.name] for row in rows if row.get(label.name, 0) > 0]
        if len(counts) >= max(3, 0.9 * len(rows)):
            found[label.value] = (float(min(counts)), float(max(counts)))
    return found


FIND = (
    find_open_questions,
    find_undeclared_values,
    find_overlaps,
    find_empty_labels,
    find_absent_classes,
    find_single_case_labels,
)
FIX = {
    "soft-mask": Fix(fix_soft_mask, required=True),
    "label-values": Fix(fix_label_values, required=True, verified=True),
    "undeclared-value": Fix(fix_undeclared_value, required=True, verified=True),
    "empty-label": Fix(left_out="the label is empty where most are not"),
}
