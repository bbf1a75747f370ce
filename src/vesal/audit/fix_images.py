"""Fixes of an image's channels and intensities, and of arrays that run the wrong way.

Each measures its defect before it touches anything: it raises `NothingToFix` where the defect is not there, and
`CannotFix` where it cannot be fixed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vesal.audit.editable_case import CannotFix, Done, NothingToFix, Opened, Order
from vesal.audit.fix_labels import axes_said, named_axes
from vesal.audit.reference_cases import BETTER, Cohort


def not_finite(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """NaN and infinite voxels become the least finite value of their channel, which is the background's as a rule."""
    array = opened.image.array
    bad = ~np.isfinite(array) if array.dtype.kind == "f" else np.zeros(array.shape, dtype=bool)
    count = int(bad.sum())
    if not count:
        raise NothingToFix("all voxels are finite")
    fixed, values = array.copy(), []
    for channel, wrong in zip(fixed, bad, strict=True):
        if wrong.all():
            raise CannotFix("a channel holds no finite voxel")
        values.append(float(channel[~wrong].min()))
        channel[wrong] = values[-1]
    share = count / array.size
    if share > 0.5:
        raise CannotFix(f"{share:.0%} of its voxels are NaN or infinite")
    return Done(
        opened.with_image(fixed),
        f"{count:,} of {array.size:,} voxels are NaN or infinite",
        f"they were replaced by the least finite value of their channel ({', '.join(f'{v:g}' for v in values)})",
        {"voxels": count, "values": values},
        look=share > 0.01,
    )


def swapped_channels(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """Channels in another order than in the other cases, put into theirs."""
    channels = opened.image.channels
    named = order.details.get("order")
    if not isinstance(named, (list, tuple)) or sorted(named) != list(range(channels)):
        raise CannotFix("the check does not name the order of the channels")
    # One way round or the other: what fits the others says which was meant.
    options = [tuple(named), tuple(int(place) for place in np.argsort(named))]
    found = {option: _channel_fit(opened, option, cohort) for option in [tuple(range(channels)), *options]}
    best = min(options, key=lambda option: found[option])
    before, after = found[tuple(range(channels))], found[best]
    if not after <= BETTER * before:
        raise NothingToFix(
            f"in that order it would be no more like the others ({before:.2f}, now {after:.2f})"
        )
    return Done(
        opened.with_image(opened.image.array[list(best)]),
        "the channels are in another order than in the other cases",
        f"they were put in the order {', '.join(str(place) for place in best)} of before (distance from the others "
        f"{before:.2f}, now {after:.2f})",
        {"order": list(best), "distance_before": before, "distance_after": after},
        look=True,
    )


def _channel_fit(opened: Opened, order: tuple[int, ...], cohort: Cohort) -> float:
    """How far the channels in this order are from the others'."""
    distances = cohort.channel_distances(opened)
    if distances is None:
        raise CannotFix("there are too few other cases to tell the channels by")
    return float(np.mean([distances[old, new] for new, old in enumerate(order)]))


def inverted(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """Bright where the others are dark: each value becomes minimum + maximum - value."""
    array = opened.image.array
    wanted = order.details.get("channels") or (
        [order.details["channel"]] if "channel" in order.details else range(len(array))
    )
    fixed, told = array.copy(), []
    for index in wanted:
        channel = array[int(index)]
        finite = channel[np.isfinite(channel)] if channel.dtype.kind == "f" else channel
        low, high = finite.min(), finite.max()
        told.append([float(low), float(high)])
        # Of integers without overflow: the distance from the least value is taken from the greatest.
        fixed[int(index)] = high - (channel - low)
    before, after = (_contrast(each, cohort) for each in (opened, opened.with_image(fixed)))
    if not after <= BETTER * before:
        raise NothingToFix(f"negated it would be no more like the others ({before:.2f}, negated {after:.2f})")
    return Done(
        opened.with_image(fixed),
        "the intensities are inverted: bright where the other cases are dark",
        "each was negated about the middle of its range (minimum + maximum - value; distance from the others "
        f"{before:.2f}, now {after:.2f})",
        {"ranges": told, "distance_before": before, "distance_after": after},
        look=True,
    )


def _contrast(opened: Opened, cohort: Cohort) -> float:
    """Distance from the others by the channels' statistics and, where there is a label, by the full measure."""
    within = _channel_fit(opened, tuple(range(opened.image.channels)), cohort)
    whole = cohort.distance(opened)
    return within if whole is None else within + whole


def image_flipped(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """An array that runs the other way along an axis than its header says: flipped back, with or without the label."""
    if opened.label is None:
        raise CannotFix("without a label it cannot be measured whether it is fixed")
    before = cohort.distance(opened)
    if before is None:
        raise CannotFix("there are too few other cases to measure it by")
    options = []
    for axes in named_axes(order, opened.image.geometry.ndim):
        flipped = np.flip(opened.image.array, tuple(axis + 1 for axis in axes))
        alone = opened.with_image(np.ascontiguousarray(flipped))
        both = alone.with_label(np.ascontiguousarray(np.flip(opened.label.array, axes)))
        options += [(cohort.distance(alone), axes, "the image was", alone)]
        options += [(cohort.distance(both), axes, "image and label were", both)]
    distance, axes, what, done = min(options, key=lambda item: np.inf if item[0] is None else item[0])
    if distance is None or distance > BETTER * before:
        after = "not measurable" if distance is None else f"{distance:.2f}"
        raise NothingToFix(f"flipped it would be no more like the others ({before:.2f}, flipped {after})")
    return Done(
        done,
        f"the voxels run the wrong way along {axes_said(axes)}",
        f"{what} flipped back (distance from the others {before:.2f}, now {distance:.2f})",
        {
            "axes": list(axes),
            "with_label": "label" in what,
            "distance_before": before,
            "distance_after": distance,
        },
        look=True,
    )


def channel_count(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """More channels than declared that are all the same, as a gray picture saved in colour: one is kept."""
    expected = cohort.channels
    array = opened.image.array
    if len(array) == expected:
        raise NothingToFix("it has as many channels as the others")
    if expected == len(opened.case.images) == 1 and all(
        np.array_equal(array[0], other) for other in array[1:]
    ):
        return Done(
            opened.with_image(array[:1]),
            f"it has {len(array)} channels where the others have one",
            "they are the same to the last voxel, so one was kept",
            {"channels": len(array)},
        )
    raise CannotFix(f"it has {len(array)} channels where {expected} are declared")


def four_dimensional(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """All channels in the one file CASE_0000 where nnU-Net has a file for each: split up."""
    channels = opened.image.channels
    if len(opened.case.images) > 1 or channels == 1 or "_0000" not in opened.case.images[0].name:
        raise NothingToFix("each channel has its file")
    if channels != cohort.channels:
        raise CannotFix(f"its file holds {channels} channels where {cohort.channels} are declared")
    return Done(
        replace(opened, split=True),
        f"one 4D file holds all {channels} channels where nnU-Net has a file for each",
        f"it was split into {channels} files",
        {"channels": channels},
    )
