"""Which classes lie within which, such as the tumour core within the whole tumour, so that a picture shows each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet


def containers(labels: LabelSet) -> tuple[tuple[int, ...], ...]:
    """For each class the indices of the regions that hold all of its labels and more.

    >>> tumour = {"whole": ["oedema", "core"], "core": ["core"]}
    >>> containers(LabelSet.from_values({"oedema": 1, "core": 2}, regions=tumour))
    ((), (0,))
    """
    table = labels.class_table[:, 1:]
    classes = range(len(table))
    return tuple(
        tuple(other for other in classes if (table[other] >= own).all() and (table[other] > own).any())
        for own in table
    )


def inner_first(labels: LabelSet) -> list[int]:
    """Indices of the classes, those within others before these: lines of outer ones are drawn last and thinner."""
    within = containers(labels)
    return sorted(range(len(within)), key=lambda index: -len(within[index]))


def innermost(labels: LabelSet, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(classes, *spatial) masks, each without the classes that lie within it: what is filled in its colour."""
    kept = masks.copy()
    for inner, outers in enumerate(containers(labels)):
        for outer in outers:
            kept[outer] &= ~masks[inner]
    return kept
