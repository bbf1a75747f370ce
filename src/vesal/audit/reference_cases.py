"""What the other cases of a data set are like: the one measure of what checks find odd and of what fixes improve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vesal.audit.editable_case import (
    CannotFix,
    Contradicted,
    EditableCase,
    FixResult,
    NothingToFix,
    open_case,
)
from vesal.audit.similarity import (
    FEWEST_CASES,
    Features,
    deviations,
    explained,
    fit,
    measure,
    others_of,
)
from vesal.data.case_features import BLOCKS, LabelFeatures, unpack
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import CaseRecord, ChannelStatistics, Fingerprint, channel_statistics
from vesal.data.labels import LabelSet
from vesal.data.whole_volumes import WholeVolume, whole_volumes
from vesal.errors import VesalError
from vesal.volume.geometry import Array, Geometry

#: Cases that a fix is measured by, and how few are too few.
_MOST, FEWEST = 16, 4
#: A fix is believed when it brings the case nearer to the others by so much of the distance.
BETTER = 0.9
#: A defect is contradicted where its fix takes the case so many times as far away. Phantoms that small pictures show
#: turned round go to 1.4 (a short axis) or 3 times (atria); a prostate whose label is turned round, among seven,
#: to 1.2.
_CONTRADICTED = 1.3
#: Times the median distance within which a case is usual (two atria that pictures show turned round have 1.1 and 1.6),
#: and the fewest cases whose median says so: among seven prostates it does not.
_USUAL, _FEWEST_FOR_USUAL = 2.0, 12
#: How much farther than the farthest sound case a fixed one may be.
_FARTHEST = 1.5

_FLIPS = tuple(axes for count in (1, 2, 3) for axes in combinations(range(3), count))


class LabelChange(NamedTuple):
    """A change that makes a label fit those of the other cases: RAS axes of a flip, or the indices of two classes
    that are exchanged, the other of the two (); and the correlation with the others afterwards."""

    fit: float
    axes: tuple[int, ...]
    pair: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ReferenceCases:
    """A data set whose cases are compared with each other.

    Attributes:
        dataset: as it was read.
        fingerprint: one record a case.
        defective: cases that others are not compared with, by id; a check knows of none.
    """

    dataset: Dataset
    fingerprint: Fingerprint
    defective: frozenset[str] = frozenset()

    @property
    def labels(self) -> LabelSet:
        """Of the data set."""
        return self.dataset.labels

    @cached_property
    def scans(self) -> tuple[CaseRecord, ...]:
        """All cases that could be read, annotated or not."""
        return self.fingerprint.cases + self.fingerprint.unlabelled

    @cached_property
    def volumes(self) -> tuple[CaseRecord, ...]:
        """Those in 3D."""
        return tuple(record for record in self.scans if len(record.shape) == 3)

    @cached_property
    def annotated_wholes(self) -> tuple[WholeVolume, ...]:
        """The annotated cases, and in place of slices the volumes that they make."""
        annotated = {case.id for case in self.dataset.cases if case.label is not None}
        records = [record for record in self.fingerprint.cases if record.id in annotated]
        return whole_volumes(self.dataset, records)

    @cached_property
    def labelled(self) -> tuple[tuple[CaseRecord, LabelFeatures], ...]:
        """Cases with a label that holds something, and what is known of it."""
        return tuple(
            (record, record.case_features.label)
            for record in self.fingerprint.cases
            if record.case_features and record.case_features.label
        )

    @cached_property
    def sound(self) -> tuple[CaseRecord, ...]:
        """Cases that are not defective; all, where hardly any would be left."""
        sound = tuple(record for record in self.scans if record.id not in self.defective)
        return sound if len(sound) >= FEWEST else self.scans

    # --- headers --------------------------------------------------------------------------------------------

    @cached_property
    def axis_codes(self) -> str:
        """The most frequent orientation of volumes, such as 'LPS'; '' in 2D."""
        codes = Counter(record.axis_codes for record in self.sound if record.axis_codes)
        return codes.most_common(1)[0][0] if codes else ""

    @cached_property
    def spacings(self) -> Array:
        """(cases, axes) in RAS order (mm), of the cases with as many axes as most."""
        rows = [record.ras_spacing_mm for record in self.sound]
        ndim = Counter(map(len, rows)).most_common(1)[0][0] if rows else 3
        return np.asarray([row for row in rows if len(row) == ndim]).reshape(-1, ndim)

    @cached_property
    def usual_spacing(self) -> Array:
        """(axes,) in RAS order (mm): the median of the logarithms."""
        return np.asarray(np.exp(np.median(np.log(self.spacings), axis=0)))

    def spacing_ratio(self, spacing_mm: Sequence[float]) -> Array | None:
        """How many times too large each axis' spacing (RAS order, mm) is; None without others to compare with."""
        if len(self.spacings) < FEWEST or self.spacings.shape[1] != len(spacing_mm):
            return None
        return np.asarray(np.asarray(spacing_mm, dtype=float) / self.usual_spacing)

    def grid_ratio(self, grid: Geometry) -> Array | None:
        """The same of a grid."""
        return self.spacing_ratio([grid.spacing_mm[axis] for axis in grid.turn_to_ras().order])

    @cached_property
    def usual_field(self) -> Array:
        """(axes,) in RAS order (mm): sides of the field of view, the median of the logarithms."""
        ndim = self.spacings.shape[1]
        sides = [
            np.log(record.ras_shape) + np.log(record.ras_spacing_mm)
            for record in self.sound
            if len(record.ras_shape) == ndim
        ]
        return np.asarray(np.exp(np.median(sides, axis=0)))

    def nearer_field(self, shape: Sequence[int], spacing_mm: Sequence[float], factors: Array) -> bool:
        """Whether spacings times `factors` bring the sides of a field of view nearer to the usual ones, all together.

        Of a scan that is really finer they do not: it has so many more voxels. All in RAS order.
        """
        off = np.log(np.asarray(shape) * np.asarray(spacing_mm) / self.usual_field)
        return bool(np.abs(off + np.log(factors)).sum() < np.abs(off).sum())

    # --- channels -------------------------------------------------------------------------------------------

    def channel_distance(self, case: EditableCase, order: Sequence[int] | None = None) -> float:
        """How far the channels of a case, put in an order, are from what those of the data set are like.

        Raises:
            CannotFix: there are too few others.
        """
        count = case.image.channels
        rows = [record.channels for record in self.sound if len(record.channels) == count]
        if len(rows) < FEWEST:
            raise CannotFix("there are too few other cases to tell the channels by")
        usual = np.asarray([[_signature(channel) for channel in row] for row in rows])
        own = _signatures(case, self.labels)
        # (found, expected): NaN where a case has no label on its grid.
        gaps = np.nanmean(deviations(own[:, None], usual[:, None], 0.1), axis=2)
        return float(np.mean([gaps[old, new] for new, old in enumerate(order or range(count))]))

    # --- small pictures -------------------------------------------------------------------------------------

    @cached_property
    def compared(self) -> tuple[tuple[CaseRecord, LabelFeatures], ...]:
        """The labelled volumes with all channels, whose pictures are compared; none where there are too few."""
        found = tuple(
            (record, label)
            for record, label in self.labelled
            if len(record.shape) == 3 and len(record.channels) == len(self.fingerprint.channels)
        )
        return found if len(found) >= FEWEST_CASES else ()

    @cached_property
    def shapes(self) -> Array:
        """Of each label in its own box, (cases, classes, blocks...)."""
        return _unpacked([label.shape_picture for _, label in self.compared], len(self.labels.labels))

    @cached_property
    def around(self) -> Array:
        """Of the image around each label, (cases, channels, blocks...)."""
        channels = len(self.fingerprint.channels)
        return _unpacked([label.surroundings for _, label in self.compared], channels)

    @cached_property
    def whole(self) -> Array:
        """Of each whole image, (cases, channels, blocks...)."""
        features = [record.case_features for record, _ in self.compared]
        return _unpacked([one.picture for one in features if one], len(self.fingerprint.channels))

    @cached_property
    def label_changes(self) -> dict[int, LabelChange]:
        """Of each of the compared cases whose label is odd (by place) the change that makes it fit the others best."""
        found: dict[int, LabelChange] = {}
        if not self.compared:
            return found
        others = others_of(self.shapes)
        own = fit(self.shapes, others)

        def propose(changed: Array, asked: NDArray[np.bool_], *change: tuple[int, ...]) -> None:
            if asked.sum() < FEWEST_CASES:
                return
            after = fit(changed, others)
            odd = explained((after - own)[asked], after[asked], own[asked])
            for index in np.flatnonzero(asked)[odd].tolist():
                if index not in found or after[index] > found[index].fit:
                    found[index] = LabelChange(float(after[index]), *change)

        every = np.ones(len(own), dtype=bool)
        for axes in _FLIPS:
            propose(np.flip(self.shapes, tuple(axis + 2 for axis in axes)), every, axes, ())
        names = self.labels.names
        for pair in combinations(range(len(names)), 2):
            # Where a class is not there, exchanging it shows nothing.
            both = [all(record.voxels.get(names[k], 0) for k in pair) for record, _ in self.compared]
            propose(self.shapes[:, exchanged(len(names), pair)], np.array(both), (), pair)
        return found

    # --- a case before and after a fix ----------------------------------------------------------------------

    @cached_property
    def _measured(self) -> tuple[Features, ...]:
        names = {record.id for record in self.sound}
        cases = [case for case in self.dataset.cases if case.id in names and case.label is not None]
        found = []
        for case in cases[:: max(1, len(cases) // _MOST)][: 2 * _MOST]:
            try:
                features = measure(open_case(case), self.labels)
            except VesalError:
                continue
            if features is not None:
                found.append(features)
            if len(found) == _MOST:
                break
        if not found:
            return ()
        shape = Counter(one.image.shape for one in found).most_common(1)[0][0]
        return tuple(one for one in found if one.image.shape == shape)

    @cached_property
    def limit(self) -> float | None:
        """A distance that no sound case should pass; None where too few could be measured."""
        if len(self._measured) < FEWEST:
            return None
        return 0.5 + _FARTHEST * max(features.distance(self._measured) for features in self._measured)

    def is_usual(self, case: EditableCase) -> bool:
        """Whether a case as it is lies no farther from the others than twice their own median distance; False where
        there are too few to tell.
        """
        if len(self._measured) < _FEWEST_FOR_USUAL:
            return False
        distance = self.distance(case)
        middle = float(np.median([features.distance(self._measured) for features in self._measured]))
        return distance is not None and distance <= _USUAL * middle

    def tells_mirrored(self, axes: Sequence[int]) -> bool:
        """Whether a case's mirror image along RAS axes would be told: each of enough cases is unlike the others so.

        A tumour that lies on either side does not tell left from right, nor does a symmetric organ.
        """
        if len(self._measured) < FEWEST_CASES:
            return False
        for one in self._measured:
            others = [other for other in self._measured if other is not one]
            if one.distance(others) > BETTER * one.mirrored(axes).distance(others):
                return False
        return True

    def case(self, name: str) -> Case | None:
        """An annotated case, defective or not."""
        return next((case for case in self.dataset.cases if case.id == name), None)

    def distance(self, case: EditableCase) -> float | None:
        """How unlike the others a case is; None where that cannot be measured."""
        if len(self._measured) < FEWEST:
            return None
        own = measure(case, self.labels)
        if own is None or own.image.shape != self._measured[0].image.shape:
            return None
        return own.distance(self._measured)

    def known_distance(self, case: EditableCase) -> float:
        """The same, where it has to be known.

        Raises:
            CannotFix: it cannot be measured.
        """
        distance = self.distance(case)
        if distance is None:
            raise CannotFix("there are too few other cases to measure it by")
        return distance


def improved(result: FixResult, before: float, after: float, how: str) -> FixResult:
    """A fix that only the comparison with the other cases can confirm, with its two distances.

    Args:
        result: of the fix.
        before, after: distance of the case from the others.
        how: it was changed, as a participle.

    Raises:
        NothingToFix: the case is not clearly nearer to the others than before.
        Contradicted: it is clearly farther away.
    """
    if not after <= BETTER * before:
        kind = Contradicted if after > _CONTRADICTED * before else NothingToFix
        raise kind(f"{how} it would be no more like the others ({before:.2f}, {how} {after:.2f})")
    done = f"{result.done} (distance from the other cases {before:.2f}, now {after:.2f})"
    numbers = result.numbers | {"distance_before": before, "distance_after": after}
    return FixResult(result.case, result.wrong, done, numbers, look=True)


def exchanged(count: int, pair: Sequence[int]) -> list[int]:
    """The order of `count` things in which two have changed places.

    >>> exchanged(4, (1, 3))
    [0, 3, 2, 1]
    """
    order = list(range(count))
    order[pair[0]], order[pair[1]] = pair[1], pair[0]
    return order


def _unpacked(pictures: Sequence[str], count: int) -> Array:
    return np.stack([unpack(picture).reshape(count, *(BLOCKS,) * 3) for picture in pictures])


def _signatures(case: EditableCase, labels: LabelSet) -> Array:
    """(C, 4): of each channel; how bright the labels are only where they lie on the image's grid."""
    label = case.label
    if label is None or label.geometry.shape != case.image.geometry.shape:
        inside = np.zeros(case.image.geometry.shape, dtype=bool)
    else:
        inside = (label.array != labels.background) & (label.array != labels.ignore)
    found = []
    for channel in case.image.array:
        values = channel[inside & np.isfinite(channel)].astype(np.float64)
        # The signature asks for the mean of the labelled voxels alone.
        statistics, _ = channel_statistics(channel, values.mean(keepdims=True) if values.size else values)
        found.append(_signature(statistics))
    return np.array(found)


def _signature(channel: ChannelStatistics) -> tuple[float, float, float, float]:
    """What tells a channel: its spread and range (logarithms), where its median lies, how bright the labels are."""
    low, middle, high = channel.percentiles
    span = max(high - low, 1e-6)
    labelled = np.mean(channel.foreground_samples) if channel.foreground_samples else np.nan
    return (
        float(np.log(max(channel.std, 1e-6))),
        float(np.log(span)),
        (middle - low) / span * 4,
        float((labelled - channel.mean) / max(channel.std, 1e-6)),
    )
