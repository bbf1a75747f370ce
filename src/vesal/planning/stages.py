"""One stage or two: by where the labels lie in the scans, and by what the time pays for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vesal.data.case_features import SAME_PLACE, LabelFeatures, place_scatter
from vesal.data.fingerprint import Fingerprint
from vesal.data.labels import LabelSet
from vesal.planning.plan import Plan
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings
from vesal.planning.topology import FIRST_FEATURES
from vesal.planning.two_stages import make_located_plan
from vesal.text import budget_text, times

#: Two stages need so many cases with labels, which are so large a share of all: a box is looked for in every scan.
_FEWEST_CASES, _LABELLED = 8, 0.9

#: The labels and the margin take at most this share of the median scan, and of nine of ten scans.
_SMALL, _SMALL_IN_MOST = 0.25, 0.4

#: Pieces between which whole planes are empty, besides the largest: in half of the cases at most, in nine of ten.
_FEW_ISLANDS, _ISLANDS_IN_MOST = 1, 3

#: Two stages must bring voxels whose sides are so many times finer.
_BETTER_VOXELS = 1.25

#: Or patches of so small a share of one stage's, which buy as many more steps.
_SMALLER_PATCH = 0.5

#: In shorter runs two stages reached no more than one, or were not tried, by dimension.
_SHORTEST_S = {2: 300.0, 3: 1200.0}


def make_staged_plan(
    fingerprint: Fingerprint,
    labels: LabelSet,
    settings: PlanSettings | None = None,
    *,
    budget_s: float | None = None,
    **device: Any,
) -> Plan:
    """The plan of one stage or of two, as asked or as suits the data and the time.

    Args:
        fingerprint, labels, settings, device: as of `make_plan`.
        budget_s: of all networks together, where settings ask for several.

    Raises:
        DataError, UsageError: as `make_plan` and `make_located_plan`.
    """
    asked = settings or PlanSettings()
    if asked.locate:
        return make_located_plan(fingerprint, labels, asked, budget_s=budget_s, **device)
    whole_s = asked.budget_s or budget_s
    each_s = None if whole_s is None else whole_s / (asked.networks or 1)
    alone = asked.model_copy(update={"budget_s": None})
    one = make_plan(fingerprint, labels, alone, budget_s=each_s, **device)
    if asked.locate is False or _fixed(asked) or not _labels(fingerprint):
        return one
    if not _coarsened(one, fingerprint) and not _narrowed(one, asked):
        return one
    if against := _against(fingerprint, one.dimension, each_s):
        return _reasoned(one, f"One stage: {against}.")
    two = make_located_plan(fingerprint, labels, asked, budget_s=budget_s, **device)
    if against := _too_large(fingerprint, two.margin_mm):
        return _reasoned(one, f"One stage: {against}.")
    if not (worse := _worse(one, two)):
        return _reasoned(one, "One stage: two would bring neither finer voxels nor cheaper steps.")
    why = (
        f"Chosen because the labels lie at about one place, and one stage would have {worse}; "
        "--set plan.locate=false plans one."
    )
    return two.model_copy(update={"reasons": (f"{two.reasons[0]} {why}", *two.reasons[1:])})


def _worse(one: Plan, two: Plan) -> str:
    """What one stage has that is worse than in two, or ''; of slices and volumes neither is."""
    if one.dimension != two.dimension:
        return ""
    if _side(one) >= _BETTER_VOXELS * _side(two):
        return f"voxels of {times(one.spacing_mm, 3)} mm"
    if math.prod(two.patch) <= _SMALLER_PATCH * math.prod(one.patch):
        return f"patches of {times(one.patch)} voxels in place of {times(two.patch)}"
    return ""


def _fixed(asked: PlanSettings) -> bool:
    """Whether patch, spacing or network are asked for, and so no matter of time."""
    return asked.features is not None or asked.patch is not None or asked.spacing_mm is not None


def _narrowed(plan: Plan, asked: PlanSettings) -> bool:
    """Whether the time does not pay for the widest network."""
    return plan.stages[0].features < max(1, round(asked.width * FIRST_FEATURES["wide"]))


def _coarsened(plan: Plan, fingerprint: Fingerprint) -> bool:
    """Whether the time does not pay for the scans at their own resolution."""
    native = np.median([case.ras_spacing_mm for case in fingerprint.cases], axis=0).tolist()
    if plan.slice_axis is not None:
        del native[plan.slice_axis]
    return _side(plan) > _BETTER_VOXELS * math.prod(native) ** (1 / len(native))


def _side(plan: Plan) -> float:
    """Of a voxel's sides the geometric mean, in mm."""
    return math.prod(plan.spacing_mm) ** (1 / len(plan.spacing_mm))


def _against(fingerprint: Fingerprint, dimension: int, budget_s: float | None) -> str:
    """Why two stages would not do for these labels, or ''."""
    found = _labels(fingerprint)
    if len(found) < _LABELLED * len(fingerprint.cases):
        return f"{len(found)} of {len(fingerprint.cases)} cases are labelled"
    if len(found) < _FEWEST_CASES:
        return f"{len(found)} cases are too few to learn where the labels lie"
    if (scatter := place_scatter([label.place for label in found])) > SAME_PLACE:
        return f"the labels lie here or there (their centres scatter by {scatter:.0%} of the scan)"
    islands = [label.islands for label in found]
    if np.median(islands) > _FEW_ISLANDS or np.percentile(islands, 90) > _ISLANDS_IN_MOST:
        return f"the labels are scattered (a median of {np.median(islands) + 1:g} pieces)"
    if budget_s is not None and budget_s < (shortest := _SHORTEST_S[dimension]):
        return f"in less than {budget_text(shortest)} of a network two reach no more"
    return ""


def _too_large(fingerprint: Fingerprint, margin_mm: float) -> str:
    """Why the labels and their margin are no small part of the scans, or ''."""
    shares = []
    for case in fingerprint.cases:
        label = None if case.case_features is None else case.case_features.label
        if label is not None:
            sides = zip(case.crop_shape, case.ras_spacing_mm, label.box_mm, strict=True)
            shares.append(
                math.prod(min(1.0, (box + 2 * margin_mm) / (size * step)) for size, step, box in sides)
            )
    if np.median(shares) > _SMALL or np.percentile(shares, 90) > _SMALL_IN_MOST:
        return f"the labels and {margin_mm:.3g} mm around them are {np.median(shares):.0%} of the median scan"
    return ""


def _labels(fingerprint: Fingerprint) -> list[LabelFeatures]:
    features = [case.case_features for case in fingerprint.cases]
    return [one.label for one in features if one is not None and one.label is not None]


def _reasoned(plan: Plan, reason: str) -> Plan:
    return plan.model_copy(update={"reasons": (reason, *plan.reasons)})
