"""What the other cases of a data set are like, to measure whether a fix makes a case more like them.

The measure of a case that has image and label on one grid, turned to RAS+:
  how bright each class is against the whole image, and against the two voxels around it (z-scores, each channel),
  where the middle of each class lies in the field of view, and
  how image and label, blurred to 16 voxels an axis, go along with the mean of the others (correlation).
The distance is the mean of the deviations from the others' medians in robust standard deviations, each cut off at
6, plus 3 for each correlation's distance from 1. It has no unit; only two distances of one case are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vesal.audit.editable_case import Opened, open_case
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import CaseRecord, ChannelStatistics, Fingerprint
from vesal.data.labels import IGNORE, LabelSet
from vesal.errors import VesalError
from vesal.volume.geometry import TOLERANCE_MM, Array
from vesal.volume.resample import resize

#: Cases that the measure is learned from, and how few are too few.
_MOST, _FEWEST = 16, 4
#: Voxels an axis of the blurred copies.
_COARSE = 16
#: A fix is believed when it brings the case nearer to the others by so much of the distance.
BETTER = 0.9
#: Least robust standard deviation: of a z-score, of a place in the field of view.
_FLOORS = {"bright": 0.15, "ring": 0.15, "place": 0.03}
_CUT = 6.0
_CORRELATION_WEIGHT = 3.0
#: How much farther than the farthest sound case a fixed one may be.
_FARTHEST = 1.5


@dataclass(frozen=True, eq=False)
class Features:
    """The measured numbers of one case; NaN for a class that it does not hold.

    Attributes:
        bright, ring: (K, C) z-scores; place: (K, 3) or (K, 2), 0 to 1.
        image: (C, 16, 16, 16) blurred z-scores; label: (K, 16, 16, 16) shares.
    """

    bright: Array
    ring: Array
    place: Array
    image: Array
    label: Array


@dataclass(frozen=True)
class Cohort:
    """The cases that nothing is wrong with.

    Attributes:
        labels: of the data set.
        channels: how many it declares.
        records: of the sound cases, annotated or not.
        cases: sound and annotated, to measure.
        every: all annotated cases.
    """

    labels: LabelSet
    channels: int
    records: tuple[CaseRecord, ...]
    cases: tuple[Case, ...]
    every: tuple[Case, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset, record: Fingerprint, faulty: set[str]) -> Cohort:
        """The cases of a data set without the faulty ones; with them, where hardly any would be left."""
        every = record.cases + record.unlabelled
        sound = tuple(one for one in every if one.id not in faulty)
        if len(sound) < _FEWEST:
            sound = every
        names = {one.id for one in record.cases} & {one.id for one in sound}
        cases = tuple(case for case in dataset.cases if case.id in names and case.label is not None)
        return cls(dataset.labels, len(dataset.channels), sound, cases, dataset.cases)

    @cached_property
    def axis_codes(self) -> str:
        """The most frequent orientation, such as 'LPS'; '' in 2D."""
        return Counter(one.axis_codes for one in self.records).most_common(1)[0][0] if self.records else ""

    @cached_property
    def spacings(self) -> Array:
        """(cases, axes) in RAS order (mm), of the cases with as many axes as most."""
        rows = [one.ras_spacing_mm for one in self.records]
        if not rows:
            return np.empty((0, 3))
        ndim = Counter(map(len, rows)).most_common(1)[0][0]
        return np.asarray([row for row in rows if len(row) == ndim])

    def spacing_ratio(self, spacing_mm: Sequence[float]) -> Array | None:
        """How many times too large or too small each RAS axis' spacing is against the median; None without others."""
        if len(self.spacings) < _FEWEST or self.spacings.shape[1] != len(spacing_mm):
            return None
        found: Array = np.asarray(spacing_mm, dtype=float) / np.median(self.spacings, axis=0)
        return found

    # --- statistics of channels -----------------------------------------------------------------------------

    def channel_distances(self, opened: Opened) -> Array | None:
        """(found, expected): how far each channel of a case is from what each of the data set's is like.

        None where too few others are known.
        """
        rows = [one.channels for one in self.records if len(one.channels) == opened.image.channels]
        if len(rows) < _FEWEST:
            return None
        usual = np.asarray([[_signature(channel) for channel in row] for row in rows])
        middle = _nanmedian(usual)
        spread = np.maximum(np.nan_to_num(1.4826 * _nanmedian(np.abs(usual - middle))), 0.1)
        own = np.asarray([_signature(channel) for channel in _statistics(opened, self.labels)])
        gaps = np.minimum(np.abs(own[:, None] - middle[None]) / spread[None], _CUT)
        found: Array = np.nanmean(gaps, axis=2)
        return found

    def learn(self) -> None:
        """Measure the sound cases now; several threads would each do it."""
        _ = self.limit

    # --- the measure ----------------------------------------------------------------------------------------

    @cached_property
    def _measured(self) -> tuple[Features, ...]:
        step = max(1, len(self.cases) // _MOST)
        found = []
        for case in self.cases[::step][: 2 * _MOST]:
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
        """A distance that no sound case should pass: 0.5 and 1.5 times that of the farthest measured one."""
        if len(self._measured) < _FEWEST:
            return None
        return 0.5 + _FARTHEST * max(self._distance(features) for features in self._measured)

    def opened(self, name: str) -> Opened:
        """Another annotated case, as its files are.

        Raises:
            DataError: it cannot be read.
        """
        return open_case(next(case for case in self.every if case.id == name))

    def distance_of(self, name: str) -> float | None:
        """How unlike the others another case is, as its files are; None where that cannot be measured."""
        try:
            return self.distance(self.opened(name))
        except (VesalError, OSError, StopIteration):
            return None

    def distance(self, opened: Opened) -> float | None:
        """How unlike the others a case is; None where that cannot be measured."""
        others = self._measured
        if len(others) < _FEWEST:
            return None
        own = measure(opened, self.labels)
        if own is None or own.image.shape != others[0].image.shape:
            return None
        return self._distance(own)

    def _distance(self, own: Features) -> float:
        others, gaps = self._measured, []
        for name, floor in _FLOORS.items():
            usual = np.stack([getattr(one, name) for one in others])
            with np.errstate(all="ignore"):
                middle = _nanmedian(usual)
                spread = np.maximum(1.4826 * _nanmedian(np.abs(usual - middle)), floor)
                gaps.append(np.minimum(np.abs(getattr(own, name) - middle) / spread, _CUT).ravel())
        deviation = float(np.nanmean(np.concatenate(gaps)))
        unlike = sum(
            1 - _correlation(getattr(own, name), np.mean([getattr(one, name) for one in others], axis=0))
            for name in ("image", "label")
        )
        return deviation + _CORRELATION_WEIGHT * unlike


def measure(opened: Opened, labels: LabelSet) -> Features | None:
    """The features of a case; None where image and label are not on one grid, or the label is empty or foreign."""
    label = opened.label
    if label is None or label.geometry.shape != opened.image.geometry.shape:
        return None
    if opened.image.geometry.distance_mm(label.geometry) > max(
        TOLERANCE_MM, 0.5 * min(opened.image.geometry.spacing_mm)
    ):
        return None
    try:
        contiguous = labels.encode(label.array)
    except VesalError:
        return None
    turn = opened.image.geometry.turn_to_ras()
    drawn = turn.apply(np.where(contiguous == IGNORE, 0, contiguous))
    if not drawn.any():
        return None
    image = turn.apply(np.nan_to_num(np.asarray(opened.image.array, dtype=np.float32)))
    spatial = tuple(range(1, image.ndim))
    spread = image.std(axis=spatial, keepdims=True)
    image = (image - image.mean(axis=spatial, keepdims=True)) / np.maximum(spread, 1e-6)
    return _features(image, drawn, len(labels.labels))


def _features(image: Array, drawn: Array, classes: int) -> Features:
    from scipy import ndimage

    channels, ndim = len(image), drawn.ndim
    bright = np.full((classes, channels), np.nan)
    ring = np.full((classes, channels), np.nan)
    place = np.full((classes, ndim), np.nan)
    shares = np.zeros((classes, *(_COARSE,) * ndim), dtype=np.float32)
    for index in range(classes):
        mask = drawn == index + 1
        if not mask.any():
            continue
        around = ndimage.binary_dilation(mask, iterations=2) & ~mask
        bright[index] = [channel[mask].mean() for channel in image]
        if around.any():
            ring[index] = bright[index] - [channel[around].mean() for channel in image]
        place[index] = [
            (where.mean() + 0.5) / size for where, size in zip(np.nonzero(mask), drawn.shape, strict=True)
        ]
        shares[index] = _coarse(mask.astype(np.float32))
    return Features(bright, ring, place, np.stack([_coarse(channel) for channel in image]), shares)


def _coarse(channel: Array) -> Array:
    from scipy import ndimage

    blurred = ndimage.gaussian_filter(channel, [size / (2 * _COARSE) for size in channel.shape])
    small: Array = resize(blurred[None], (_COARSE,) * channel.ndim, 1)[0]
    return small


def _nanmedian(values: Array) -> Array:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a class that nobody has
        found: Array = np.nanmedian(values, axis=0)
    return found


def _correlation(first: Array, second: Array) -> float:
    first, second = first.ravel() - first.mean(), second.ravel() - second.mean()
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float(first @ second) / size if size > 0 else 0.0


def _statistics(opened: Opened, labels: LabelSet) -> list[ChannelStatistics]:
    """Of each channel, over all its finite voxels; those in the label only where it lies on the image's grid."""
    label = opened.label
    drawn = None
    if label is not None and label.geometry.shape == opened.image.geometry.shape:
        drawn = (label.array != labels.background) & (label.array != labels.ignore)
    found = []
    for channel in opened.image.array:
        values = np.asarray(channel[np.isfinite(channel)], dtype=np.float64)
        inside = np.asarray(channel[drawn], dtype=np.float64) if drawn is not None else values[:0]
        low, middle, high = np.percentile(values, (0.5, 50, 99.5)) if values.size else (0.0, 0.0, 0.0)
        inside = inside[np.isfinite(inside)]
        found.append(
            ChannelStatistics(
                minimum=float(values.min(initial=np.inf)),
                maximum=float(values.max(initial=-np.inf)),
                mean=float(values.mean()) if values.size else 0.0,
                std=float(values.std()) if values.size else 0.0,
                percentiles=(float(low), float(middle), float(high)),
                # The signature asks for their mean alone.
                foreground_samples=(float(inside.mean()),) if inside.size else (),
            )
        )
    return found


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
