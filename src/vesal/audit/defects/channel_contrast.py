"""Channels whose contrast is not that of the others: bright and dark exchanged, or two channels exchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.editable_case import CannotFix, EditableCase, FixResult
from vesal.audit.finding import CaseDetails, Finding, find_in
from vesal.audit.reference_cases import ReferenceCases, exchanged, improved
from vesal.audit.similarity import OTHERS, explained, fit, others_of
from vesal.text import listed

#: An image is inverted when it correlates by less than minus this share of the others' median correlation, where
#: 90 % of the others correlate by at least _ALIKE.
_INVERTED, _ALIKE = 0.4, 0.1


# --- found -------------------------------------------------------------------------------------------------


def find_inverted(cases: ReferenceCases) -> Iterable[Finding]:
    names = cases.fingerprint.channels
    channels: dict[str, list[int]] = {}
    for channel in range(len(names) if cases.compared else 0):
        found = np.zeros(len(cases.compared), dtype=bool)
        for pictures in (cases.around, cases.whole):
            one = pictures[:, channel : channel + 1]
            own = fit(one, others_of(one))
            if np.percentile(own, 100 * (1 - OTHERS)) >= _ALIKE:
                found |= own < -_INVERTED * float(np.median(own))
        for index in np.flatnonzero(found).tolist():
            channels.setdefault(cases.compared[index][0].id, []).append(channel)
    yield from find_in(
        "inverted",
        "warning",
        "Bright and dark seem to be exchanged in an image",
        "Look at the slices beside those of another case; if so, invert the intensities or export the scan again.",
        {
            case: {"text": listed([names[one] for one in found], last=" and "), "channels": found}
            for case, found in channels.items()
        },
    )


def find_swapped_channels(cases: ReferenceCases) -> Iterable[Finding]:
    """Two channels that have changed places: by their pictures, and by how wide their intensities spread."""
    names = cases.fingerprint.channels
    found: CaseDetails = {}
    if not cases.compared or len(names) < 2:
        return
    low, _, high = np.array(
        [[channel.percentiles for channel in record.channels] for record, _ in cases.compared]
    ).transpose(2, 0, 1)
    logs = np.log(np.maximum(high - low, 1e-12))
    for pair in combinations(range(len(names)), 2):
        both, swapped = list(pair), [pair[1], pair[0]]
        gains, own = np.zeros(len(logs)), np.zeros(len(logs))
        for pictures in (cases.around[:, both], cases.whole[:, both]):
            others = others_of(pictures)
            before, after = fit(pictures, others), fit(pictures[:, ::-1], others)
            gains, own = gains + (after - before) / 2, own + before / 2
        usual = np.median(logs[:, both], axis=0)
        # How much nearer the spreads are to the usual ones when exchanged, as a share of what that costs as a rule.
        cost = np.abs(logs[:, swapped] - usual).sum(axis=1) - np.abs(logs[:, both] - usual).sum(axis=1)
        ones = np.ones(len(cost))
        odd = explained(gains, own + gains, own) | (explained(-cost, ones, ones) & (gains > 0))
        for index in np.flatnonzero(odd).tolist():
            text, order = f"{names[pair[0]]} and {names[pair[1]]}", exchanged(len(names), pair)
            found[cases.compared[index][0].id] = {"text": text, "order": order}
    yield from find_in(
        "swapped-channels",
        "warning",
        "Two channels seem to have changed places",
        "Look at them beside those of another case; if so, exchange them in the file or the names of the files.",
        found,
    )


# --- fixed -------------------------------------------------------------------------------------------------


def fix_swapped_channels(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """Channels in another order than in the other cases, put into theirs."""
    channels, named = case.image.channels, details.get("order")
    if not isinstance(named, (list, tuple)) or sorted(named) != list(range(channels)):
        raise CannotFix("the check does not name the order of the channels")
    # One way round or the other: what fits the others says which was meant.
    options = [tuple(named), tuple(int(place) for place in np.argsort(named))]
    found = {option: others.channel_distance(case, option) for option in options}
    best = min(options, key=lambda option: found[option])
    result = FixResult(
        case.with_image(case.image.array[list(best)]),
        "the channels are in another order than in the other cases",
        f"they were put in the order {', '.join(str(place) for place in best)} of before",
        {"order": list(best)},
    )
    return improved(result, others.channel_distance(case), found[best], "reordered")


def fix_inverted(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """Bright where the others are dark: each value becomes minimum + maximum - value."""
    array = case.image.array
    fixed, ranges = array.copy(), []
    for index in details.get("channels") or range(len(array)):
        channel = array[int(index)]
        finite = channel[np.isfinite(channel)] if channel.dtype.kind == "f" else channel
        low, high = finite.min(), finite.max()
        ranges.append([float(low), float(high)])
        # Of integers without overflow: the distance from the least value is taken from the greatest.
        fixed[int(index)] = high - (channel - low)
    negated = case.with_image(fixed)
    result = FixResult(
        negated,
        "the intensities are inverted: bright where the other cases are dark",
        "each value became minimum + maximum - value",
        {"ranges": ranges},
    )
    before, after = (others.channel_distance(one) + (others.distance(one) or 0.0) for one in (case, negated))
    return improved(result, before, after, "negated")


FIND = (find_inverted, find_swapped_channels)
FIX = {"swapped-channels": Fix(fix_swapped_channels), "inverted": Fix(fix_inverted)}
