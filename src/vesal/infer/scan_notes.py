"""What a scan alone says against its result; and pictures in grey or colour as the model has them."""

from __future__ import annotations

import numpy as np

from vesal.planning.plan import Plan
from vesal.text import significant
from vesal.volume.volume import Volume

_COLOURS = ("red", "green", "blue")
#: So many values are looked at first: a scan that is not constant is done with them.
_SAMPLE = 997


def scan_note(volume: Volume, plan: Plan) -> str:
    """Why a scan as its file holds it, (C, *spatial), is to be reviewed whatever the network makes of it; '' without
    a reason."""
    reasons = []
    flat = [number for number, channel in enumerate(volume.array) if _constant(channel)]
    if len(flat) == volume.channels:
        reasons.append(f"the scan holds one value throughout ({significant(float(volume.array.flat[0]))})")
    elif flat:
        names = (
            plan.channels
            if len(plan.channels) == volume.channels
            else tuple(map(str, range(volume.channels)))
        )
        which = ", ".join(names[number] for number in flat)
        reasons.append(f"channel {which} holds one value throughout")
    if volume.channels == 1 and plan.channels == _COLOURS:
        reasons.append("the scan is grey and the model was trained on colours")
    return "; ".join(reasons)


def with_channels(volume: Volume, plan: Plan) -> Volume:
    """Grey pictures that were saved in colour, and the other way round, as the model has them."""
    wanted, array = len(plan.channels), volume.array
    if volume.geometry.ndim != 2 or volume.channels == wanted or {wanted, volume.channels} != {1, 3}:
        return volume
    if wanted == 3:
        # Three channels of a scan are no colours: there a single one is an error.
        colours = plan.channels == _COLOURS
        return Volume(np.repeat(array, 3, axis=0), volume.geometry) if colours else volume
    grey = np.array_equal(array[0], array[1]) and np.array_equal(array[0], array[2])
    return Volume(array[:1], volume.geometry) if grey else volume


def _constant(channel: np.ndarray) -> bool:
    first = channel.flat[0]
    step = max(1, channel.size // _SAMPLE)
    return bool((channel.flat[::step] == first).all() and (channel == first).all())
