"""Normalisation of intensities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesal.data.moments import moments
from vesal.planning.plan import Normalisation

#: Standard deviations below this are of a constant image (nnU-Net).
_SMALLEST = 1e-8

#: What a channel that is absent is throughout, after the normalisation: the mean of a z-score, the outside where 0 is
#: outside, the lower end of a range. The bias of the first layer apart, it then adds nothing.
ABSENT = 0.0

#: Voxels that stay in a core's cache between two operations.
_BLOCK = 1 << 16


def normalise(
    channel: NDArray[np.float32], how: Normalisation, mask: NDArray[np.bool_] | None = None
) -> None:
    """Turn one channel (*spatial) of file units into network input, in place.

    The schemes are those of `Normalisation`. A constant image becomes 0 throughout. Not finite values are the
    caller's to refuse beforehand.

    Args:
        channel: is changed.
        how: the scheme.
        mask: (*spatial), of the scheme zscore_mask.
    """
    if how.scheme == "zscore":
        found = moments(channel)
        _standardise(channel, found.mean, found.std)
    elif how.scheme == "zscore_nonzero":
        outside = channel == 0
        # In the order of memory: to choose voxels in another takes twice as long.
        flat = channel.ravel(order="K")
        found = moments(flat[flat != 0])
        _standardise(channel, found.mean, found.std)
        np.copyto(channel, 0.0, where=outside)
    elif how.scheme == "zscore_mask":
        if mask is None:
            raise ValueError("a z-score within a mask needs the mask")
        inside = channel[mask]
        found = moments(inside)
        _standardise(inside, found.mean, found.std)
        channel[mask] = inside
    elif how.scheme == "ct":
        np.clip(channel, how.lower, how.upper, out=channel)
        _standardise(channel, _given(how.mean), _given(how.std))
    elif how.scheme == "minmax":
        found = moments(channel)
        _standardise(channel, found.minimum, found.maximum - found.minimum)
    elif how.scheme == "window":
        np.clip(channel, how.lower, how.upper, out=channel)
        _standardise(channel, _given(how.lower), _given(how.upper) - _given(how.lower))


def _standardise(channel: NDArray[np.float32], centre: float, scale: float) -> None:
    if scale <= _SMALLEST:
        channel[...] = 0.0
        return
    flat = channel.ravel(order="K")
    blocks = [flat[first : first + _BLOCK] for first in range(0, flat.size, _BLOCK)]
    if not np.may_share_memory(flat, channel):  # a copy, of an array with gaps
        blocks = [channel]
    for block in blocks:
        # (x - centre) / scale; not x * a + b, which loses digits where the centre is far from zero.
        block -= np.float32(centre)
        block *= np.float32(1.0 / scale)


def _given(value: float | None) -> float:
    if value is None:
        raise ValueError("the normalisation is not complete")
    return value
