"""The noise of the perturbed windows: standard normal numbers that are the same on every machine."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Numbers that are made together: eight radii and eight angles.
_GROUP = 16


@lru_cache(2)
def standard_normal(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Those of torch.randn(shape) with the seed 0 on the CPU, up to rounding: quality models were fitted to them.

    Torch draws 24 bits a number from MT19937 and turns groups of 16 into normal ones (Box and Muller, 1958); where the
    last group is not full, it draws the last 16 numbers anew.

    Args:
        shape: of at least 16 numbers; of fewer the first ones.

    >>> [round(float(value), 3) for value in standard_normal((2, 8))[0, :3]]
    [-1.126, -1.152, -0.251]
    """
    size = int(np.prod(shape))
    count = max(size, _GROUP)
    draws = np.random.RandomState(0)
    numbers = _uniform(draws, count)
    whole = count - count % _GROUP
    found = np.empty(count, dtype=np.float32)
    found[:whole] = _normal(numbers[:whole])
    if whole < count:
        found[-_GROUP:] = _normal(_uniform(draws, _GROUP))
    found = found[:size].reshape(shape)
    found.flags.writeable = False
    return found


def _uniform(draws: np.random.RandomState, count: int) -> NDArray[np.float32]:
    """0 to under 1."""
    words = np.frombuffer(draws.bytes(4 * count), dtype="<u4")
    return (words & np.uint32((1 << 24) - 1)).astype(np.float32) * np.float32(2.0**-24)


def _normal(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first eight of each sixteen uniform numbers give radii, the others angles."""
    radii, angles = np.moveaxis(uniform.reshape(-1, 2, _GROUP // 2), 1, 0)
    radius = np.sqrt(-2.0 * np.log(1.0 - radii))
    angle = np.float32(2.0 * np.pi) * angles
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
