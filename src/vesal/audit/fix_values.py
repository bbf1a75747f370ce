"""Fixes of what label maps hold: values that are no classes, classes exchanged, stray pieces.

Each measures its defect before it touches anything: it raises `NothingToFix` where the defect is not there, and
`CannotFix` where it cannot be fixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vesal.audit.editable_case import CannotFix, Done, NothingToFix, Opened, Order
from vesal.audit.fix_labels import the_distance, the_label
from vesal.audit.reference_cases import BETTER, Cohort
from vesal.data.labels import LabelSet, values_in
from vesal.errors import VesalError
from vesal.volume.geometry import Array

#: How far labelled voxels may lie from their class in the mean, of the range of the classes.
_MOST_OFF = 0.3
#: A foreign value in so few voxels, or in this share of the labelled ones, is a slip; they become what is around them.
_SLIP_VOXELS, _SLIP_SHARE = 3, 0.001
#: An island is at most this share of the foreground, and so far from the rest: millimetres, and voxels along the
#: finest axis. It holds less than half of every class: a small organ by itself is none.
ISLAND_SHARE, ISLAND_MM, ISLAND_VOXELS = 0.1, 5.0, 4.0


def label_values(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """Numbers between the values, as interpolation leaves them: each becomes the class that it is at least half of."""
    if opened.fractions is None or opened.fractions_grid is None:
        raise NothingToFix("all label values are whole numbers")
    labels = cohort.labels
    values = np.nan_to_num(opened.fractions.astype(np.float64), nan=labels.background)
    declared = np.asarray(sorted(labels.values), dtype=float)
    lost = int((~np.isfinite(opened.fractions)).sum())
    grid = opened.fractions_grid
    if (scaled := _scaled(values, labels)) is not None:
        whole, how = scaled
        return Done(opened.with_label(whole, grid), *how)
    if values.min() < declared[0] - 0.5 or values.max() > declared[-1] + 0.5:
        told = f"{values.min():g} to {values.max():g} where {declared[0]:g} to {declared[-1]:g} are declared"
        raise CannotFix(f"the label holds {told}")
    # Thin classes have no cores; the nearest value turns edges of one class into a rim of another. What is more like
    # the others is taken, the nearest value where that cannot be measured.
    nearest = _typed(declared[np.digitize(values, (declared[1:] + declared[:-1]) / 2)], labels)
    options = [nearest, rounded(values, labels)] if len(labels.labels) > 1 else [nearest]
    unlike = [cohort.distance(opened.with_label(option, grid)) for option in options]
    whole = options[int(np.argmin([np.inf if distance is None else distance for distance in unlike]))]
    drawn = whole != labels.background
    off = np.abs(values - np.rint(values)) > 1e-3
    largest = float(np.abs(values - whole)[drawn].mean()) if drawn.any() else 1.0
    if largest > _MOST_OFF * (declared[-1] - declared[0]):
        raise CannotFix(
            "most of what is labelled lies between two values: it is an image or a map of probabilities"
        )
    return Done(
        opened.with_label(whole, grid),
        f"{int(off.sum()) + lost:,} voxels of the label are no whole number"
        + (f" ({lost:,} of them NaN or infinite)" if lost else ""),
        f"each became the class that it is at least half of; {int(drawn.sum()):,} voxels are labelled",
        {"voxels": int(off.sum()), "not_finite": lost, "mean_distance": largest},
        look=True,
    )


def _scaled(values: Array, labels: LabelSet) -> tuple[Array, tuple[str, str, dict[str, Any]]] | None:
    """All classes times one number that is not whole, such as 0.25 and 0.5 for 1 and 2."""
    steps = np.unique(values[:: max(1, len(values) // 64)].round(4))
    classes = sorted(label.value for label in labels.labels)
    if len(steps) > len(classes) + 1:
        return None
    steps = np.unique(values.round(4))
    found = steps[np.abs(steps - labels.background) > 1e-3] - labels.background
    ranks = np.arange(1, len(classes) + 1)
    if len(found) != len(classes) or found[0] <= 0 or np.abs(found / found[0] - ranks).max() > 0.02:
        return None
    whole = _typed(np.full(values.shape, labels.background), labels)
    for value, step in zip(classes, found + labels.background, strict=True):
        whole[np.abs(values - step) < found[0] / 2] = value
    told = ", ".join(f"{step:g}" for step in found)
    return whole, (
        f"the label holds {told} in place of {', '.join(map(str, classes))}",
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
    index = ndimage.distance_transform_edt(cores == 0, return_distances=False, return_indices=True)
    nearest = cores[tuple(index)]
    half = labels.background + (nearest - labels.background) / 2
    inside = values >= half
    whole[inside] = nearest[inside]
    return whole


def _typed(array: Array, labels: LabelSet) -> Array:
    """In the smallest type that holds all declared values."""
    low, high = min(labels.values), max(labels.values)
    typed: Array = array.astype(np.min_scalar_type(high if low >= 0 else min(low, -high - 1)))
    return typed


def undeclared_value(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """Values that nobody declared, where it is evident which classes they are."""
    label = the_label(opened)
    labels = cohort.labels
    found = values_in(label.array)
    foreign = [value for value in found if value not in labels.values]
    if not foreign:
        raise NothingToFix("all label values are declared")
    volumes = {value: int((label.array == value).sum()) for value in found}
    told = ", ".join(map(str, foreign[:10]))
    wrong = f"the label holds {told} where {', '.join(map(str, sorted(labels.values)))} are declared"
    mapping = evident_mapping(volumes, labels, _usual_volumes(cohort))
    drawn = sum(count for value, count in volumes.items() if value != labels.background)
    if mapping is None:
        if (count := sum(volumes[value] for value in foreign)) > max(_SLIP_VOXELS, _SLIP_SHARE * drawn):
            raise CannotFix(f"the label holds {told}, and which classes they are is not evident")
        fixed = _as_around(label.array, np.isin(label.array, foreign))
        how = f"those {count:,} voxels got the value of the nearest other voxel"
        return Done(opened.with_label(fixed), wrong, how, {"voxels": count}, look=True)
    array = _typed(np.full(label.array.shape, labels.background), labels)
    for value in found:
        array[label.array == value] = mapping.get(value, value)
    named = {one.value: one.name for one in labels.labels}
    changes = [
        f"{old} -> {new} ({named.get(new, 'background')}, {volumes[old]:,} voxels)"
        for old, new in mapping.items()
    ]
    numbers = {"mapping": {str(old): new for old, new in mapping.items()}}
    return Done(opened.with_label(array), wrong, f"values were changed: {', '.join(changes)}", numbers)


def _as_around(array: Array, wrong: Array) -> Array:
    from scipy import ndimage

    index = ndimage.distance_transform_edt(wrong, return_distances=False, return_indices=True)
    found: Array = array[tuple(index)]
    return found


def evident_mapping(
    volumes: Mapping[int, int], labels: LabelSet, usual: Mapping[int, tuple[float, float]]
) -> dict[int, int] | None:
    """File values -> declared values, or None where that is not evident.

    Evident are one foreign value where one class is declared; the classes spread over 255 or times one number
    (50, 100, 150); and one foreign value of about the volume of the one class that is not in the file.

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


def _usual_volumes(cohort: Cohort) -> dict[int, tuple[float, float]]:
    """Least and greatest number of voxels of each class that nearly every other case holds."""
    rows = [record.voxels for record in cohort.records if record.voxels]
    found = {}
    for label in cohort.labels.labels:
        counts = [row[label.name] for row in rows if row.get(label.name, 0) > 0]
        if len(counts) >= max(3, 0.9 * len(rows)):
            found[label.value] = (float(min(counts)), float(max(counts)))
    return found


def swapped_labels(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """Two classes that were named the wrong way round."""
    label = the_label(opened)
    values = {one.name: one.value for one in cohort.labels.labels}
    names = list(order.details.get("exchange", ()))
    if len(names) != 2 or not set(names) <= set(values):
        raise CannotFix("the check does not name the two classes")
    before = the_distance(opened, cohort)
    first, second = values[names[0]], values[names[1]]
    array = label.array.copy()
    array[label.array == first], array[label.array == second] = second, first
    done = opened.with_label(array)
    after = the_distance(done, cohort)
    if after > BETTER * before:
        raise NothingToFix(
            f"exchanged it would be no more like the others ({before:.2f}, exchanged {after:.2f})"
        )
    return Done(
        done,
        f"{names[0]} and {names[1]} seem to be exchanged",
        f"they were exchanged back (distance from the other cases {before:.2f}, now {after:.2f})",
        {"exchange": names, "distance_before": before, "distance_after": after},
        look=True,
    )


def stray_island(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """Small pieces of label far from all the rest become background."""
    label, background = the_label(opened), cohort.labels.background
    held = label.array.copy()
    if cohort.labels.ignore is not None:
        held[held == cohort.labels.ignore] = background
    pieces = islands(held, background, label.geometry.spacing_mm)
    if not pieces.any():
        raise NothingToFix("no piece of the label is both small and far")
    array = label.array.copy()
    array[pieces] = background
    count, whole = int(pieces.sum()), int((held != background).sum())
    return Done(
        opened.with_label(array),
        f"the label has {count:,} of its {whole:,} voxels far from the rest",
        f"those {count:,} voxels became background",
        {"voxels": count, "of": whole},
        look=count > 0.005 * whole,
    )


def islands(held: Array, background: int, spacing_mm: Sequence[float]) -> Array:
    """(*S) bool: the voxels of small pieces far from the large ones (see ISLAND_SHARE)."""
    from scipy import ndimage

    drawn = held != background
    numbered, count = ndimage.label(drawn, structure=np.ones((3,) * drawn.ndim))
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    sizes[0] = 0
    small = sizes <= ISLAND_SHARE * sizes.sum()
    small[0] = False
    for value in set(values_in(held)) - {background}:
        own = np.bincount(numbered[held == value], minlength=count + 1)
        small &= 2 * own < own.sum()
    if not small.any() or not (~small[1:]).any():
        return np.zeros_like(drawn)
    gap = ndimage.distance_transform_edt(~(drawn & ~small[numbered]), sampling=spacing_mm)
    nearest = np.asarray(ndimage.minimum(gap, numbered, index=np.arange(count + 1)))
    found: Array = (small & (nearest >= max(ISLAND_MM, ISLAND_VOXELS * min(spacing_mm))))[numbered]
    return found


def mismatched_label(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """A label that is another scan's: two cases whose labels were exchanged get them back; of two scans with one
    label map the one that it fits, clearly, keeps it."""
    others = [name for name in order.details.get("cases", ()) if name != order.case]
    own = cohort.distance(opened)
    if len(others) == 1 and (back := _exchanged_back(opened, others[0], own, cohort)) is not None:
        return back
    theirs = [cohort.distance_of(name) for name in others]
    known = [distance for distance in theirs if distance is not None]
    if own is None or not known or len(known) < len(theirs):
        raise CannotFix("which scan the label belongs to cannot be measured")
    if own <= BETTER * min(known) and own <= (cohort.limit or np.inf):
        raise NothingToFix(
            f"of these scans this is the one that its label fits (distance from the other cases {own:.2f}, of the "
            f"other scan {min(known):.2f})"
        )
    raise CannotFix(
        f"the label does not fit this scan clearly better than the other one ({own:.2f} and {min(known):.2f})"
    )


def _exchanged_back(opened: Opened, other: str, own: float | None, cohort: Cohort) -> Done | None:
    """With the other case's label, where both cases fit clearly better so."""
    try:
        second = cohort.opened(other)
    except (VesalError, OSError, StopIteration):
        return None
    first_label, second_label = opened.label, second.label
    if first_label is None or second_label is None or cohort.limit is None:
        return None
    first = opened.with_label(second_label.array, second_label.geometry)
    distances = [
        (own, cohort.distance(first)),
        (
            cohort.distance(second),
            cohort.distance(second.with_label(first_label.array, first_label.geometry)),
        ),
    ]
    for before, after in distances:
        if after is None or after > cohort.limit or (before is not None and after > BETTER * before):
            return None
    before, after = distances[0]
    was = "not measurable, for the shapes differ" if before is None else f"{before:.2f}"
    return Done(
        first,
        f"its label is that of {other}, and the other way round",
        f"the two labels were exchanged (distance from the other cases {was}, now {after:.2f})",
        {"with": other, "distance_before": before, "distance_after": after},
        look=True,
    )
