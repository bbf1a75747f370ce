"""Mends of what label maps hold: values that are no classes, classes exchanged, stray pieces.

Each measures its fault before it touches anything: it raises `Settled` where the fault is not there, and `Unmendable`
where it cannot be mended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vesal.data.labels import LabelSet, values_in
from vesal.data.mend_case import Done, Opened, Order, Settled, Unmendable
from vesal.data.mend_cohort import BETTER, Cohort
from vesal.data.mend_labels import the_distance, the_label
from vesal.volume.geometry import Array

#: Of the labelled voxels, the share that may lie between two values in an interpolated mask.
_MOST_BETWEEN = 0.9
#: An island is at most this share of the foreground, and so far from the rest: millimetres, and voxels along the
#: finest axis. It holds less than half of every class: a small organ by itself is none.
ISLAND_SHARE, ISLAND_MM, ISLAND_VOXELS = 0.1, 5.0, 4.0


def label_values(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """Numbers between the values, as interpolation leaves them: each becomes the nearest declared value."""
    if opened.fractions is None or opened.fractions_grid is None:
        raise Settled("all label values are whole numbers")
    values = np.nan_to_num(opened.fractions, nan=cohort.labels.background)
    declared = np.asarray(sorted(cohort.labels.values), dtype=float)
    if values.min() < declared[0] - 0.5 or values.max() > declared[-1] + 0.5:
        raise Unmendable(
            f"the label holds {values.min():g} to {values.max():g} where {declared[0]:g} to {declared[-1]:g} are "
            "declared"
        )
    # Half way goes up, so that 0.5 of one class is that class.
    middles = (declared[1:] + declared[:-1]) / 2
    index = np.digitize(values, middles)
    kind = np.min_scalar_type(
        int(declared[-1]) if declared[0] >= 0 else int(min(declared[0], -declared[-1] - 1))
    )
    whole = declared[index].astype(kind)
    off = np.abs(values - whole) > 1e-3
    lost = int((~np.isfinite(opened.fractions)).sum())
    between, drawn = int(off.sum()), int((whole != cohort.labels.background).sum())
    if between > _MOST_BETWEEN * max(1, int((np.abs(values - cohort.labels.background) > 1e-3).sum())):
        raise Unmendable(
            "most of what is labelled lies between two values: it is an image or a map of probabilities"
        )
    largest = float(np.abs(values - whole).max())
    done = opened.with_label(whole, opened.fractions_grid)
    several = len(cohort.labels.labels) > 1
    return Done(
        done,
        f"{between + lost:,} voxels of the label are no whole number"
        + (f" ({lost:,} of them NaN or infinite)" if lost else ""),
        f"each became the nearest declared value (at most {largest:.2g} away); {drawn:,} voxels are labelled"
        + ("; between two classes an interpolated edge may be of a third" if several and between else ""),
        {"voxels": between, "not_finite": lost, "largest_distance": largest},
        look=several and between > 0,
    )


def undeclared_value(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """Values that nobody declared, where it is evident which classes they are."""
    label = the_label(opened)
    labels = cohort.labels
    found = values_in(label.array)
    foreign = [value for value in found if value not in labels.values]
    if not foreign:
        raise Settled("all label values are declared")
    volumes = {value: int((label.array == value).sum()) for value in found}
    mapping = evident_mapping(volumes, labels, _usual_volumes(cohort))
    told = ", ".join(map(str, foreign[:10]))
    if mapping is None:
        raise Unmendable(f"the label holds {told}, and which classes they are is not evident")
    array = np.full(label.array.shape, labels.background, dtype=np.min_scalar_type(max(labels.values)))
    if min(labels.values) < 0:
        array = array.astype(np.int16)
    for value in found:
        array[label.array == value] = mapping.get(value, value)
    named = {one.value: one.name for one in labels.labels}
    changes = [
        f"{old} -> {new} ({named.get(new, 'background')}, {volumes[old]:,} voxels)"
        for old, new in mapping.items()
    ]
    return Done(
        opened.with_label(array),
        f"the label holds {told} where {', '.join(map(str, sorted(labels.values)))} are declared",
        f"values were changed: {', '.join(changes)}",
        {"mapping": {str(old): new for old, new in mapping.items()}},
    )


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
        raise Unmendable("the check does not name the two classes")
    before = the_distance(opened, cohort)
    first, second = values[names[0]], values[names[1]]
    array = label.array.copy()
    array[label.array == first], array[label.array == second] = second, first
    done = opened.with_label(array)
    after = the_distance(done, cohort)
    if after > BETTER * before:
        raise Settled(f"exchanged it would be no more like the others ({before:.2f}, exchanged {after:.2f})")
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
        raise Settled("no piece of the label is both small and far")
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
    """One label map on several scans: it stays with the scan that it fits best, clearly."""
    others = [name for name in order.details.get("cases", ()) if name != order.case]
    own = cohort.distance(opened)
    theirs = [cohort.distance_of(name) for name in others]
    known = [distance for distance in theirs if distance is not None]
    if own is None or not known or len(known) < len(theirs):
        raise Unmendable("another scan has the same label map, and which of them it fits cannot be measured")
    if own <= BETTER * min(known):
        raise Settled(
            f"of the scans with this label map this is the one that it fits (distance from the other cases {own:.2f}, "
            f"with the other scan {min(known):.2f})"
        )
    raise Unmendable(
        f"another scan has the same label map, and it does not fit this one clearly better ({own:.2f}, with the other "
        f"scan {min(known):.2f})"
    )
