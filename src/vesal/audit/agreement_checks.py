"""Labels and images that do not fit each other or the rest: flipped, exchanged, inverted.

Each case is compared with the mean of all others, seen small: the shape of its label in the label's own box, the
image around the label, the whole image. A mistake is told where the case fits the others clearly better without it
(flipped back, classes exchanged back), and where that can be told at all: where such a change makes nearly all
other cases fit clearly worse. A symmetric organ cannot show its mirror image, so nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.audit.finding import Finding, if_any
from vesal.audit.outliers import outliers
from vesal.data.case import read_case
from vesal.data.case_features import AROUND, BLOCKS, unpack
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.data.labels import LabelSet
from vesal.errors import VesalError
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

#: A label counts as shifted when the image around it, moved, correlates with the others' by so much more, and by so
#: many times more than that of 90 % of the others does at best.
_SHIFT_GAIN, _SHIFT_BEYOND, _READ_AGAIN = 0.15, 2.5, 20
#: ... and when its classes and their rim part the intensities so many times better after the move.
_PARTED = 2.5
#: Moves that are tried, in blocks: first coarse ones on all cases, then every one on the odd ones.
_COARSE, _FINE = (-2, 0, 2), (-3, -2, -1, 0, 1, 2, 3)

#: How well a change fits, and the axes of a flip or the two classes that it exchanges.
Change = tuple[float, tuple[int, ...] | None, tuple[int, int] | None]

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
        and record.case_features is not None
        and record.case_features.label is not None
    )
    if len(records) < _FEWEST_CASES:
        return None
    cube = (BLOCKS,) * 3
    case_features = [record.case_features for record in records if record.case_features is not None]
    labels = [each.label for each in case_features if each.label is not None]
    return Cohort(
        records,
        np.stack([unpack(each.shape_picture).reshape(classes, *cube) for each in labels]),
        np.stack([unpack(each.surroundings).reshape(channels, *cube) for each in labels]),
        np.stack([unpack(each.picture).reshape(channels, *cube) for each in case_features]),
    )


def fit(changed: Array, pictures: Array) -> NDArray[np.float64]:
    """(n,): correlation of each changed picture with the mean of all others as they are; each channel by itself."""
    axes = tuple(range(2, pictures.ndim))
    own, each = normed(changed), normed(pictures)
    others = each.sum(axis=0) - each
    size = np.maximum(np.sqrt((others**2).sum(axis=axes)), 1e-9)
    return np.asarray(((own * others).sum(axis=axes) / size).mean(axis=1), dtype=np.float64)


def normed(pictures: Array) -> Array:
    """Each channel of each picture with mean 0 and length 1."""
    axes = tuple(range(2, pictures.ndim))
    centred = pictures - pictures.mean(axis=axes, keepdims=True)
    return np.asarray(centred / np.maximum(np.sqrt((centred**2).sum(axis=axes, keepdims=True)), 1e-6))


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
        changed = _changes(dataset, cohort)
        yield from _exchanged(cohort, dataset.labels.names, changed)
        yield from _flipped(cohort, changed)
        yield from _shifted(dataset, cohort, frozenset(changed))
        yield from _inverted(cohort, fingerprint.channels)
        yield from _channels(cohort, fingerprint.channels)


def _changes(dataset: Dataset, cohort: Cohort) -> dict[int, Change]:
    """Flips and exchanged classes: of each odd case the change that fits best of those that are told."""
    best: dict[int, Change] = {}

    def propose(changed: Array, axes: tuple[int, ...] | None, pair: tuple[int, int] | None) -> None:
        found = fit(changed, cohort.shapes)
        # Where a class is not there, nothing is told by exchanging it.
        asked = np.array(
            [pair is None or all(each.voxels.get(names[k], 0) for k in pair) for each in cohort.records]
        )
        if asked.sum() < _FEWEST_CASES:
            return
        odd = told((found - cohort.shape_fit)[asked], found[asked], cohort.shape_fit[asked])
        for index in np.flatnonzero(asked)[odd].tolist():
            if index not in best or found[index] > best[index][0]:
                best[index] = (float(found[index]), axes, pair)

    names = dataset.labels.names

    for axes in _FLIPS:
        propose(np.flip(cohort.shapes, tuple(axis + 2 for axis in axes)), axes, None)
    for pair in combinations(range(len(names)), 2):
        order = list(range(len(names)))
        order[pair[0]], order[pair[1]] = pair[1], pair[0]
        propose(cohort.shapes[:, order], None, pair)
    return best


def _exchanged(cohort: Cohort, names: tuple[str, ...], best: Mapping[int, Change]) -> Iterable[Finding]:
    items, details = [], {}
    for index, (_, _, pair) in best.items():
        record = cohort.records[index]
        if pair is None:
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


def _flipped(cohort: Cohort, best: Mapping[int, Change]) -> Iterable[Finding]:
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


def _shifted(dataset: Dataset, cohort: Cohort, otherwise: frozenset[int]) -> Iterable[Finding]:
    """Labels beside what they show: the image around them is that of the others, but moved.

    Of the few such cases the files are read once more: where the label was moved back, its classes and their
    surroundings have to be told apart better by their intensities than where it is.
    """
    others = normed(cohort.around)
    others = others.sum(axis=0) - others
    coarse = _moves(cohort.around, others, _COARSE)
    gains = np.max(list(coarse.values()), axis=0) - coarse[0, 0, 0]
    far = outliers(gains.tolist(), _SHIFT_GAIN, beyond=_SHIFT_BEYOND, middle=0.0)
    cases = {case.id: case for case in dataset.cases}
    items: list[tuple[str, str]] = []
    details: dict[str, dict[str, Any]] = {}
    for index in sorted(set(np.flatnonzero(far > 1).tolist()) - otherwise, key=lambda i: -far[i])[
        :_READ_AGAIN
    ]:
        fine = _moves(cohort.around[index : index + 1], others[index : index + 1], _FINE)
        move = max(fine, key=lambda each: float(fine[each][0]))
        record = cohort.records[index]
        voxels = _in_voxels(record, move)
        fits = fine[move][0] >= _FITS * float(np.median(cohort.around_fit))
        best = _parted_best(cases[record.id], dataset.labels, voxels) if fits and record.id in cases else None
        if best is not None:
            voxels = best
            items.append(
                (record.id, f"it would fit {', '.join(f'{step:+d}' for step in voxels)} voxels away")
            )
            details[record.id] = {"voxels": voxels}
    yield from if_any(
        "label-shifted",
        "warning",
        items,
        "A label lies beside what it shows",
        "Look at the slices; if so, move the label back, or draw it anew.",
        details,
    )


def _moves(own: Array, others: Array, steps: Sequence[int]) -> dict[tuple[int, ...], NDArray[np.float64]]:
    """Move of a label in blocks -> (n,) correlations of `own`, (n, C, blocks...), with `others` where both are."""
    found = {}
    for move in product(steps, repeat=3):
        first = tuple(slice(max(step, 0), BLOCKS + min(step, 0)) for step in move)
        second = tuple(slice(max(-step, 0), BLOCKS + min(-step, 0)) for step in move)
        joint = normed(own[:, :, *first]) * normed(others[:, :, *second])
        found[move] = joint.sum(axis=(2, 3, 4)).mean(axis=1).astype(np.float64)
    return found


def _parted_best(case: Case, labels: LabelSet, voxels: Sequence[int]) -> list[int] | None:
    """The move near `voxels` that parts the intensities best; None where it parts them hardly better than no move."""
    try:
        raw = read_case(case)
        label = None if raw.label is None else labels.encode(raw.label.array)
    except (VesalError, OSError):
        return None
    if label is None or label.shape != raw.image.geometry.shape:
        return None

    def after(move: Sequence[int]) -> float:
        moved = np.roll(label, list(move), axis=tuple(range(label.ndim)))
        return float(np.mean([parted(channel, moved) for channel in raw.image.array]))

    near = [
        [a + b for a, b in zip(voxels, step, strict=True)] for step in product((-2, 0, 2), repeat=label.ndim)
    ]
    best = max(near, key=after)
    return best if after(best) > _PARTED * after([0] * label.ndim) else None


def parted(image: NDArray[Any], label: NDArray[np.uint8]) -> float:
    """Share of the intensities' variance that the classes and a rim of two voxels around them explain, 0..1.

    Args:
        image: (X, Y, Z); label: (X, Y, Z), contiguous, 0 for the background.
    """
    where = tuple(slice(max(0, int(a.min()) - 2), int(a.max()) + 3) for a in np.nonzero(label))
    held, inside = image[where].astype(np.float64), label[where]
    near = _widened(inside > 0, 2)
    values, classes = held[near], inside[near]
    known = np.isfinite(values)
    values, classes = values[known], classes[known]
    spread = float(((values - values.mean()) ** 2).sum())
    counts = np.maximum(np.bincount(classes), 1)
    sums = np.bincount(classes, values - values.mean())
    return float((sums**2 / counts).sum() / max(spread, 1e-12))


def _widened(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """All voxels at most `by` from the mask along each axis: without scipy, which is slow to load."""
    for axis in range(mask.ndim):
        wide = mask.copy()
        for step in range(1, by + 1):
            ahead, behind = (np.moveaxis(wide, axis, 0), np.moveaxis(mask, axis, 0))
            ahead[step:] |= behind[:-step]
            ahead[:-step] |= behind[step:]
        mask = wide
    return mask


def _in_voxels(record: CaseRecord, move: Sequence[int]) -> list[int]:
    """A move in blocks of the surroundings, RAS axes -> voxels along the array's own axes."""
    case_features = record.case_features.label if record.case_features else None
    if case_features is None:
        return [0] * len(move)
    turn = Geometry(record.shape, np.array(record.affine)).turn_to_ras()
    voxels = [0] * len(move)
    for axis, (source, flipped) in enumerate(zip(turn.order, turn.flips, strict=True)):
        mm = move[axis] * case_features.box_mm[axis] * (1 + 2 * AROUND) / BLOCKS
        voxels[source] = (-1 if flipped else 1) * round(mm / record.ras_spacing_mm[axis])
    return voxels


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


def _channels(cohort: Cohort, names: tuple[str, ...]) -> Iterable[Finding]:
    """Two channels that have changed places: by their pictures, and by how wide their intensities spread."""
    spans = np.array([[channel.percentiles[2] - channel.percentiles[0] for channel in record.channels]
                      for record in cohort.records])  # fmt: skip
    logs = np.log(np.maximum(spans, 1e-12))
    items, details = [], {}
    for pair in combinations(range(len(names)), 2):
        order = list(range(len(names)))
        order[pair[0]], order[pair[1]] = pair[1], pair[0]
        both, swapped = list(pair), [pair[1], pair[0]]
        gains, after = np.zeros(len(logs)), np.zeros(len(logs))
        for pictures in (cohort.around[:, both], cohort.whole[:, both]):
            own, other = fit(pictures, pictures), fit(pictures[:, ::-1], pictures)
            gains, after = gains + (other - own) / 2, after + own / 2
        usual = np.median(logs[:, both], axis=0)
        # How much nearer the spreads are to the usual ones when exchanged, as a share of what that costs as a rule.
        cost = np.abs(logs[:, swapped] - usual).sum(axis=1) - np.abs(logs[:, both] - usual).sum(axis=1)
        found = told(gains, after + gains, after) | (
            told(-cost, np.ones(len(cost)), np.ones(len(cost))) & (gains > 0)
        )
        for index in np.flatnonzero(found).tolist():
            case = cohort.records[index].id
            items.append((case, f"{names[pair[0]]} and {names[pair[1]]}"))
            details[case] = {"order": order}
    yield from if_any(
        "swapped-channels",
        "warning",
        items,
        "Two channels seem to have changed places",
        "Look at them beside those of another case; if so, exchange them in the file or the names of the files.",
        details,
    )


CHECKS: tuple[Callable[[Dataset, Fingerprint], Iterable[Finding]], ...] = (_compared,)
