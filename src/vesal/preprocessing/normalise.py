"""Normalisation of intensities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vesal.data.moments import moments_of
from vesal.planning.plan import Normalisation

#: A spread below this share of where the values lie is of a constant image: float32 has no such digits. (nnU-Net takes
#: 1e-8 in any unit: a diffusion in m²/s, about 1e-9, would be an image of nothing.) The second number is the least that
#: has an inverse in float32.
_SMALLEST, _LEAST = 1e-8, 1.2e-38

#: What a channel that is absent is throughout, after the normalisation: the mean of a z-score, the outside where 0 is
#: outside, the lower end of a range. The bias of the first layer apart, it then adds nothing.
ABSENT = 0.0

#: Voxels that stay in a core's cache between two operations.
_BLOCK = 1 << 16

Channel = NDArray[np.float32]


class Scale(NamedTuple):
    """How a channel becomes network input, its own statistics included: (x - centre) / spread.

    Attributes:
        centre, spread: in file units; a spread of (nearly) 0 beside the centre is of a constant image, which becomes 0.
        lower, upper: what is beyond is clipped beforehand; None does not.
        keeps_zero: voxels of 0 stay 0.
    """

    centre: float
    spread: float
    lower: float | None = None
    upper: float | None = None
    keeps_zero: bool = False


def normalise(channel: Channel, how: Normalisation, mask: NDArray[np.bool_] | None = None) -> None:
    """Turn one channel (*spatial) of file units into network input, in place.

    The schemes are those of `Normalisation`. A constant image becomes 0 throughout. Not finite values are the
    caller's to refuse beforehand.

    Args:
        channel: is changed.
        how: the scheme.
        mask: (*spatial), of the scheme zscore_mask.
    """
    if how.scheme == "zscore_mask":
        if mask is None:
            raise ValueError("a z-score within a mask needs the mask")
        inside = channel[mask]
        found = moments_of([inside])
        _standardise(inside, found.mean, found.std)
        channel[mask] = inside
    elif (scale := find_scale([channel], how)) is not None:
        apply_scale(channel, scale)


def find_scale(parts: Iterable[Channel], how: Normalisation) -> Scale | None:
    """The scale of a channel that comes in parts, which are looked at where its statistics count alone; None of a
    channel that stays as it is."""
    if how.scheme == "zscore":
        found = moments_of(parts)
        return Scale(found.mean, found.std)
    if how.scheme == "zscore_nonzero":
        # In the order of memory: to choose voxels in another takes twice as long.
        flat = (part.ravel(order="K") for part in parts)
        found = moments_of(part[part != 0] for part in flat)
        return Scale(found.mean, found.std, keeps_zero=True)
    if how.scheme == "minmax":
        found = moments_of(parts)
        return Scale(found.minimum, found.maximum - found.minimum)
    if how.scheme == "ct":
        return Scale(_given(how.mean), _given(how.std), how.lower, how.upper)
    if how.scheme == "window":
        lower, upper = _given(how.lower), _given(how.upper)
        return Scale(lower, upper - lower, how.lower, how.upper)
    return None


def apply_scale(channel: Channel, scale: Scale) -> None:
    """Bring a channel, or a part of one, to a scale, in place."""
    outside = channel == 0 if scale.keeps_zero else None
    if scale.lower is not None or scale.upper is not None:
        np.clip(channel, scale.lower, scale.upper, out=channel)
    _standardise(channel, scale.centre, scale.spread)
    if outside is not None:
        np.copyto(channel, 0.0, where=outside)


def _standardise(channel: Channel, centre: float, scale: float) -> None:
    if scale <= max(_SMALLEST * abs(centre), _LEAST):
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
