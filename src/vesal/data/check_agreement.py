"""Labels and images that do not fit each other or the rest: flipped, exchanged, inverted.

Each case is compared with the mean of all others, seen small: the shape of its label in the label's own box, the
image around the label, the whole image. A mistake is told where the case fits the others clearly better without it
(flipped back, classes exchanged back), and where that can be told at all: where such a change makes nearly all
other cases fit clearly worse. A symmetric organ cannot show its mirror image, so nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vesal.data.check_finding import Finding, if_any
from vesal.data.dataset import Dataset
from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.data.traits import BLOCKS, unpack
from vesal.volume.geometry import Geometry

Array = NDArray[np.float32]

_FEWEST_CASES = 6
#: A change of all cases must cost the median of them so much of the correlation before it can be told in one.
_TELLING = 0.1
#: The change must gain a case so much of what it costs the median of the others ...
_GAIN = 0.5
#: ... and bring it so near to the others as this share of their own median correlation.
_FITS = 0.6
#: Of the others, so many may contradict.
_OTHERS = 0.9
#: An image is inverted when it correlates by less than minus this share of the others' median correlation, where
#: 90 % of the others correlate by at least _ALIKE.
_INVERTED, _ALIKE = 0.4, 0.1

_FLIPS = tuple(axes for count in (1, 2, 3) for axes in combinations(range(3), count))
_AXES = ("left-right", "back-front", "down-up")


@dataclass(frozen=True, eq=False)
class Cohort:
    """Small pictures of all labelled volumes, each (cases, channels or classes, blocks, blocks, blocks)."""

    records: tuple[CaseRecord, ...]
    shapes: Array
    around: Array
    whole: Array

    @cached_property
    def shape_fit(self) -> NDArray[np.float64]:
        """(cases,): how the label's shape correlates with the others'."""
        return fit(self.shapes, self.shapes)

    @cached_property
    def around_fit(self) -> NDArray[np.float64]:
        """(cases,): how the image around the label correlates with the others'."""
        return fit(self.around, self.around)

    @cached_property
    def whole_fit(self) -> NDArray[np.float64]:
        """(cases,): how the whole image correlates with the others'."""
        return fit(self.whole, self.whole)


def cohort_of(dataset: Dataset, fingerprint: Fingerprint) -> Cohort | None:
    """Of the labelled volumes that have all channels; None where there are too few to compare."""
    channels, classes = len(fingerprint.channels), len(dataset.labels.labels)
    records = tuple(
        record
        for record in fingerprint.cases
        if len(record.shape) == 3
        and len(record.channels) == channels
        and record.traits is not None
        and record.traits.label is not None
    )
    if len(records) < _FEWEST_CASES:
        return None
    cube = (BLOCKS,) * 3
    traits = [record.traits for record in records if record.traits is not None]
    labels = [each.label for each in traits if each.label is not None]
    return Cohort(
        records,
        np.stack([unpack(each.shape_picture).reshape(classes, *cube) for each in labels]),
        np.stack([unpack(each.surroundings).reshape(channels, *cube) for each in labels]),
        np.stack([unpack(each.picture).reshape(channels, *cube) for each in traits]),
    )


def fit(changed: Array, pictures: Array) -> NDArray[np.float64]:
    """(n,): correlation of each changed picture with the mean of all others as they are; each channel by itself."""
    axes = tuple(range(2, pictures.ndim))
    total = np.zeros(len(pictures))
    for channel in range(pictures.shape[1]):
        own, raw = changed[:, channel], pictures[:, channel]
        flat = tuple(axis - 1 for axis in axes)
        own = own - own.mean(axis=flat, keepdims=True)
        raw = raw - raw.mean(axis=flat, keepdims=True)
        raw /= np.maximum(np.sqrt((raw**2).sum(axis=flat, keepdims=True)), 1e-6)
        others = raw.sum(axis=0) - raw
        product = (own * others).sum(axis=flat)
        size = np.sqrt((own**2).sum(axis=flat) * (others**2).sum(axis=flat))
        total += product / np.maximum(size, 1e-6)
    return np.asarray(total / pictures.shape[1])


def told(
    gains: NDArray[np.float64], changed_fit: NDArray[np.float64], own_fit: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(n,): which cases a change makes fit the others, where it can be told (see the constants)."""
    usual = float(np.median(gains))
    if usual > -_TELLING:
        return np.zeros(len(gains), dtype=bool)
    order = np.sort(gains)[::-1]
    allowed = int((1 - _OTHERS) * (len(gains) - 1))
    found = (gains > -_GAIN * usual) & (changed_fit >= _FITS * np.median(own_fit))
    # The case itself is not asked; so many of the others may contradict.
    contradicted = (
        np.where(gains >= order[allowed], order[min(allowed + 1, len(order) - 1)], order[allowed]) > 0
    )
    return np.asarray(found & ~contradicted)


# --- findings ----------------------------------------------------------------------------------------------


def _compared(dataset: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    cohort = cohort_of(dataset, fingerprint)
    if cohort is not None:
        yield from _labels(dataset, cohort)
        yield from _inverted(cohort, fingerprint.channels)


def _labels(dataset: Dataset, cohort: Cohort) -> Iterable[Finding]:
    """Flips and exchanged classes: the change that fits best of those that are told."""
    best: dict[int, tuple[float, tuple[int, ...] | None, tuple[int, int] | None]] = {}

    def propose(changed: Array, axes: tuple[int, ...] | None, pair: tuple[int, int] | None) -> None:
        found = fit(changed, cohort.shapes)
        for index in np.flatnonzero(told(found - cohort.shape_fit, found, cohort.shape_fit)).tolist():
            if index not in best or found[index] > best[index][0]:
                best[index] = (float(found[index]), axes, pair)

    for axes in _FLIPS:
        propose(np.flip(cohort.shapes, tuple(axis + 2 for axis in axes)), axes, None)
    names = dataset.labels.names
    for pair in combinations(range(len(names)), 2):
        order = list(range(len(names)))
        order[pair[0]], order[pair[1]] = pair[1], pair[0]
        propose(cohort.shapes[:, order], None, pair)
    yield from _exchanged(cohort, names, best)
    yield from _flipped(cohort, best)


def _exchanged(cohort: Cohort, names: tuple[str, ...], best: dict) -> Iterable[Finding]:
    items, details = [], {}
    for index, (_, _, pair) in best.items():
        record = cohort.records[index]
        if pair is None or not all(record.voxels.get(names[k], 0) for k in pair):
            continue
        items.append((record.id, f"{names[pair[0]]} and {names[pair[1]]}"))
        details[record.id] = {"exchange": [names[pair[0]], names[pair[1]]]}
    yield from if_any(
        "swapped-labels",
        "warning",
        items,
        "Two labels seem to have changed places",
        "Look at the slices; if so, exchange the two values in the label file.",
        details,
    )


def _flipped(cohort: Cohort, best: dict) -> Iterable[Finding]:
    items: dict[str, list[tuple[str, str]]] = {"image-flipped": [], "label-flipped": []}
    details: dict[str, dict[str, object]] = {}
    for index, (_, axes, _) in best.items():
        if axes is None:
            continue
        record = cohort.records[index]
        kind = "image-flipped" if _image_too(cohort, index, axes) else "label-flipped"
        items[kind].append((record.id, " and ".join(_AXES[axis] for axis in axes)))
        order = Geometry(record.shape, np.array(record.affine)).turn_to_ras().order
        turned = [order[axis] for axis in axes]
        details[record.id] = {"axis": turned[0]} if len(turned) == 1 else {"axes": turned}
    yield from if_any(
        "label-flipped",
        "warning",
        items["label-flipped"],
        "A label runs the other way than in the others, its image does not",
        "Look at the slices; if so, flip the label's array back along that axis.",
        details,
    )
    yield from if_any(
        "image-flipped",
        "warning",
        items["image-flipped"],
        "Image and label run the other way than the others",
        "Look whether left and right, front and back, top and bottom are where the header says; if not, correct "
        "the header or flip both arrays.",
        details,
    )


def _image_too(cohort: Cohort, index: int, axes: tuple[int, ...]) -> bool:
    """Whether the image, too, fits the others better flipped: by that picture of it which tells more."""
    flips = tuple(axis + 2 for axis in axes)
    gains = [
        fit(np.flip(cohort.around, flips), cohort.around) - cohort.around_fit,
        fit(np.flip(cohort.whole, flips), cohort.whole) - cohort.whole_fit,
    ]
    telling = min(gains, key=lambda gain: float(np.median(gain)))
    return bool(telling[index] > 0)


def _inverted(cohort: Cohort, channels: tuple[str, ...]) -> Iterable[Finding]:
    items: list[tuple[str, str]] = []
    details: dict[str, dict[str, list[int]]] = {}
    for channel, name in enumerate(channels):
        found = np.zeros(len(cohort.records), dtype=bool)
        for pictures in (cohort.around, cohort.whole):
            one = pictures[:, channel : channel + 1]
            own = fit(one, one)
            if np.percentile(own, 100 * (1 - _OTHERS)) >= _ALIKE:
                found |= own < -_INVERTED * float(np.median(own))
        for index in np.flatnonzero(found).tolist():
            case = cohort.records[index].id
            items.append((case, name))
            details.setdefault(case, {"channels": []})["channels"].append(channel)
    yield from if_any(
        "inverted",
        "warning",
        items,
        "Bright and dark seem to be exchanged in an image",
        "Look at the slices beside those of another case; if so, invert the intensities or export the scan again.",
        details,
    )


CHECKS: tuple[Callable[[Dataset, Fingerprint], Iterable[Finding]], ...] = (_compared,)
