"""What a scan alone says against its result; and pictures in grey or colour as the model has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vesal.data.case import grey_or_colour
from vesal.data.dataset import COLOURS
from vesal.data.value_tables import slabs_of, slow_axis
from vesal.memory_limit import breathe
from vesal.planning.plan import Plan
from vesal.text import significant, times
from vesal.volume.volume import Volume

#: So many values are looked at first: a scan that is not constant is done with them.
_SAMPLE = 997
#: A volume so many times as long or short as those of training, in the mean of its axes, is hardly one of their kind.
#: Millimetres that are metres or micrometres differ by 1000, a whole body from a heart by less than 10.
_SIZES = 10.0


def scan_note(volume: Volume, plan: Plan, shape: Sequence[int]) -> str:
    """Why a scan is to be reviewed whatever the network makes of it; '' without a reason.

    Args:
        volume: as its file holds it, (C, *spatial).
        plan: of the model.
        shape: of the scan without its empty rim, on the grid of the plan.
    """
    reasons = []
    flat = [
        number
        for number, channel in enumerate(volume.array)
        if number not in volume.absent and _constant(channel)
    ]
    if len(flat) == volume.channels - len(volume.absent):
        reasons.append(f"the scan holds one value throughout ({significant(float(volume.array.flat[0]))})")
    elif flat:
        names = (
            plan.channels
            if len(plan.channels) == volume.channels
            else tuple(map(str, range(volume.channels)))
        )
        which = ", ".join(names[number] for number in flat)
        reasons.append(f"channel {which} holds one value throughout")
    if volume.channels == 1 and plan.channels == COLOURS:
        reasons.append("the scan is grey and the model was trained on colours")
    if size := _size(volume, plan, shape[-plan.dimension :]):
        reasons.append(size)
    return "; ".join(reasons)


def _size(volume: Volume, plan: Plan, shape: Sequence[int]) -> str:
    """Whether a volume is far smaller or larger than those of training; of pictures nobody knows their size."""
    ratio = math.prod(n / usual for n, usual in zip(shape, plan.median_shape, strict=True))
    if plan.scan_dimension == 2 or 1 / _SIZES < ratio ** (1 / len(shape)) < _SIZES:
        return ""
    grid = volume.geometry
    size = times((n * mm for n, mm in zip(grid.shape, grid.spacing_mm, strict=True)), 3)
    usual = times((n * mm for n, mm in zip(plan.median_shape, plan.spacing_mm, strict=True)), 3)
    return (
        f"the scan measures {size} mm and those of training {usual} mm, so its spacing "
        f"({times(grid.spacing_mm, 3)} mm) may be wrong"
    )


def with_channels(volume: Volume, plan: Plan) -> Volume:
    """Grey pictures that were saved in colour, and the other way round, as the model has them."""
    wanted = len(plan.channels)
    # Three channels of a scan are no colours: there a single one is an error.
    if volume.geometry.ndim != 2 or (wanted == 3 and plan.channels != COLOURS):
        return volume
    return replace(volume, array=grey_or_colour(volume.array, wanted))


def _constant(channel: np.ndarray) -> bool:
    first = channel.flat[0]
    step = max(1, channel.size // _SAMPLE)
    return bool((channel.flat[::step] == first).all()) and all(
        _all_are(first, slab) for slab in slabs_of(channel, slow_axis(channel))
    )


def _all_are(value: Any, slab: np.ndarray) -> bool:
    breathe()
    return bool((slab == value).all())
