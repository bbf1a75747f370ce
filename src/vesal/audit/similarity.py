"""How like the others a case is: numbers, small pictures of BLOCKS blocks an axis, and all that a case holds.

The pictures of a fingerprint are enough to find what is odd among many cases; `measure` reads the voxels of one,
to tell whether a fix brings it nearer to the others.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vesal.audit.editable_case import EditableCase, same_place
from vesal.data.case_features import BLOCKS
from vesal.data.labels import IGNORE, LabelSet
from vesal.errors import VesalError
from vesal.volume.geometry import Array
from vesal.volume.resample import resize

#: With fewer cases none is compared with the others.
FEWEST_CASES = 6
#: An outlier lies this many times as far from the median as this share of the other cases.
_BEYOND = 3.0
OTHERS = 0.9

#: A change must cost the median case so much of its correlation before it can show a mistake in one.
_TELLING = 0.1
#: The change must gain a case so much of what it costs the median of the others ...
_GAIN = 0.5
#: ... and bring it so near to the others as this share of their own median correlation.
FITS = 0.6

#: Least robust standard deviation: of a z-score, of a place in the field of view.
_FLOORS = {"bright": 0.15, "ring": 0.15, "place": 0.03}
#: A deviation counts at most so many robust standard deviations.
CUT = 6.0
_CORRELATION_WEIGHT = 3.0


# --- numbers -----------------------------------------------------------------------------------------------


def outliers(
    values: Sequence[float], least: float, *, beyond: float = _BEYOND, middle: float | None = None
) -> NDArray[np.float64]:
    """(n,) numbers -> how many times too far from the median each is; more than 1 is an outlier. NaN is none.

    A number is an outlier when it lies farther from the median than 3 times as far as 90 % of the other cases do,
    and farther than a least distance that matters. Where more than a tenth of the cases lie far away, that is how
    this data set is. For normally distributed numbers this is 4.9 standard deviations: one false alarm in a million.

    Args:
        values: one of each case.
        least: distance from the median that matters.
        beyond: how many times as far as 90 % of the others.
        middle: stands in place of the median.

    >>> values = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 5.0]
    >>> (outliers(values, least=0.1) > 1).tolist()
    [False, False, False, False, False, False, False, True]
    """
    data = np.asarray(values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(data))
    found = np.zeros(len(data))
    if len(known) < FEWEST_CASES:
        return found
    far = np.abs(data[known] - (np.median(data[known]) if middle is None else middle))
    order = np.sort(far)
    # Of the n - 1 others, so many may lie farther out.
    allowed = max(0, math.floor((1 - OTHERS) * (len(known) - 1)))
    for place, distance in zip(known, far, strict=True):
        rest = np.delete(order, np.searchsorted(order, distance))
        found[place] = distance / max(least, beyond * float(rest[len(rest) - 1 - allowed]))
    return found


def deviations(own: Array, usual: Array, floor: float) -> Array:
    """Distance of `own` (...) from the median of `usual` (n, ...) in robust standard deviations; NaN where unknown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a class that no case has
        middle = np.nanmedian(usual, axis=0)
        # 1.4826 turns the median absolute deviation into the standard deviation of a normal distribution.
        spread = 1.4826 * np.nanmedian(np.abs(usual - middle), axis=0)
    return np.asarray(np.minimum(np.abs(own - middle) / np.maximum(np.nan_to_num(spread), floor), CUT))


# --- small pictures ----------------------------------------------------------------------------------------


def normed(pictures: Array) -> Array:
    """(n, channels, blocks...): each channel of each picture with mean 0 and length 1."""
    axes = tuple(range(2, pictures.ndim))
    centred = pictures - pictures.mean(axis=axes, keepdims=True)
    return np.asarray(centred / np.maximum(np.sqrt((centred**2).sum(axis=axes, keepdims=True)), 1e-6))


def others_of(pictures: Array) -> Array:
    """(n, channels, blocks...): for each picture the sum of all others, each with mean 0 and length 1."""
    each = normed(pictures)
    return np.asarray(each.sum(axis=0) - each)


def fit(changed: Array, others: Array) -> NDArray[np.float64]:
    """(n,): correlation of each picture with the mean of the others (`others_of`); each channel by itself."""
    axes = tuple(range(2, others.ndim))
    size = np.maximum(np.sqrt((others**2).sum(axis=axes)), 1e-9)
    return np.asarray(((normed(changed) * others).sum(axis=axes) / size).mean(axis=1), dtype=np.float64)


def explained(
    gains: NDArray[np.float64], changed_fit: NDArray[np.float64], own_fit: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(n,): which cases a change makes fit the others, where such a mistake would show (see the constants).

    Args:
        gains: what the change adds to the fit of each case, (n,).
        changed_fit, own_fit: fit of each case with and without the change, (n,).
    """
    usual = float(np.median(gains))
    if usual > -_TELLING:
        return np.zeros(len(gains), dtype=bool)
    order = np.sort(gains)[::-1]
    allowed = int((1 - OTHERS) * (len(gains) - 1))
    found = (gains > -_GAIN * usual) & (changed_fit >= FITS * np.median(own_fit))
    # The case itself is not asked; so many of the others may contradict.
    contradicted = (
        np.where(gains >= order[allowed], order[min(allowed + 1, len(order) - 1)], order[allowed]) > 0
    )
    return np.asarray(found & ~contradicted)


# --- all that a case holds ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Features:
    """The measured numbers of one case; NaN for a class that it does not hold.

    Attributes:
        bright: z-score of each class in each channel of the image, (K, C).
        ring: the same against the two voxels around the class, (K, C).
        place: middle of each class in the field of view, 0 to 1, (K, ndim).
        image: z-scores, blurred to BLOCKS an axis, (C, blocks...).
        label: share of each class, likewise, (K, blocks...).
    """

    bright: Array
    ring: Array
    place: Array
    image: Array
    label: Array

    def mirrored(self, axes: Sequence[int]) -> Features:
        """Of the mirror image along these RAS axes."""
        place = self.place.copy()
        place[:, list(axes)] = 1 - place[:, list(axes)]
        flips = tuple(axis + 1 for axis in axes)
        return replace(self, place=place, image=np.flip(self.image, flips), label=np.flip(self.label, flips))

    def distance(self, others: Sequence[Features]) -> float:
        """How unlike the others the case is, without a unit; only two distances of one case are compared.

        The mean deviation of its numbers from the others' medians in robust standard deviations, plus 3 for each
        correlation's distance from 1.
        """
        gaps = [
            deviations(getattr(self, name), np.stack([getattr(one, name) for one in others]), floor).ravel()
            for name, floor in _FLOORS.items()
        ]
        fits = []
        for name in ("image", "label"):
            pictures = normed(np.stack([getattr(one, name) for one in others]))
            fits.append(fit(getattr(self, name)[None], pictures.sum(axis=0, keepdims=True))[0])
        return float(np.nanmean(np.concatenate(gaps)) + _CORRELATION_WEIGHT * sum(1 - one for one in fits))


def measure(case: EditableCase, labels: LabelSet) -> Features | None:
    """The features of a case; None where image and label are not on one grid, or the label is empty or foreign."""
    label, grid = case.label, case.image.geometry
    if label is None or not same_place(grid, label.geometry):
        return None
    try:
        contiguous = labels.encode(label.array)
    except VesalError:
        return None
    turn = grid.turn_to_ras()
    drawn = turn.apply(np.where(contiguous == IGNORE, 0, contiguous))
    if not drawn.any():
        return None
    image = turn.apply(np.nan_to_num(np.asarray(case.image.array, dtype=np.float32), posinf=0, neginf=0))
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
    shares = np.zeros((classes, *(BLOCKS,) * ndim), dtype=np.float32)
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

    blurred = ndimage.gaussian_filter(channel, [size / (2 * BLOCKS) for size in channel.shape])
    return np.asarray(resize(blurred[None], (BLOCKS,) * channel.ndim, 1)[0])
