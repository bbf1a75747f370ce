"""Plans of two stages: a coarse network sees the whole scan and finds a box, a fine one looks only there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.planning.plan import Plan
from vesal.planning.planner import View, check_cases, make_plan
from vesal.planning.settings import PlanSettings
from vesal.text import times

#: Of the training time, the coarse stage's.
LOCATOR_SHARE = 0.2

#: Margin around what is labelled: a share of the box's longest side, between so many coarse voxels and so many mm.
_MARGIN_SHARE, _MARGIN_VOXELS, _MOST_MARGIN_MM = 0.25, 2.0, 20.0


def make_located_plan(
    fingerprint: Fingerprint,
    labels: LabelSet,
    settings: PlanSettings | None = None,
    *,
    budget_s: float | None = None,
    **device: Any,
) -> Plan:
    """The plan of the fine stage, with that of the coarse one as its locator.

    Args:
        fingerprint, labels, settings, device: as of `make_plan`; settings are of the fine stage.
        budget_s: of both together.

    Raises:
        DataError, UsageError: as `make_plan`, or no case is labelled.
    """
    asked = settings or PlanSettings()
    check_cases(fingerprint)
    boxes = [box for case in fingerprint.cases if (box := _box_mm(case))]
    if not boxes:
        raise UsageError("No case is labelled, so there is nothing to locate; leave out plan.locate.")
    budget_s = asked.budget_s or budget_s
    shared = {name: getattr(asked, name) for name in ("memory_gb", "rate", "measure", "sigmoid", "dimension")}
    coarse = make_plan(
        fingerprint,
        labels,
        PlanSettings(**shared),
        budget_s=None if budget_s is None else LOCATOR_SHARE * budget_s,
        view=View(fingerprint.cases, coverage=1.0),
        **device,
    )
    margin_mm = max(
        _MARGIN_VOXELS * max(coarse.spacing_mm),
        min(_MOST_MARGIN_MM, _MARGIN_SHARE * float(np.median([max(box) for box in boxes]))),
    )
    cases = tuple(_seen(case, margin_mm) for case in fingerprint.cases)
    fine = make_plan(
        fingerprint,
        labels,
        asked.model_copy(update={"locate": False, "budget_s": None}),
        budget_s=None if budget_s is None else (1.0 - LOCATOR_SHARE) * budget_s,
        view=View(cases),
        **device,
    )
    pairs = zip(fingerprint.cases, cases, strict=True)
    share = np.median([math.prod(seen.crop_shape) / math.prod(case.crop_shape) for case, seen in pairs])
    reason = (
        f"Two stages: the labels and {margin_mm:.3g} mm around them are {share:.1%} of the median scan. A network with "
        f"voxels of {times(coarse.spacing_mm, 3)} mm and a patch of {times(coarse.patch)} finds the box in the whole "
        f"scan in {LOCATOR_SHARE:.0%} of the time; what follows looks only there."
    )
    return fine.model_copy(
        update={"locator": coarse, "margin_mm": round(margin_mm, 3), "reasons": (reason, *fine.reasons)}
    )


def _box_mm(case: CaseRecord) -> tuple[float, ...]:
    """Sides of the box of what is labelled; empty without anything."""
    features = case.case_features
    return features.label.box_mm if features is not None and features.label is not None else ()


def _seen(case: CaseRecord, margin_mm: float) -> CaseRecord:
    """The case with its box and the margin in place of its crop; as it is where nothing is labelled."""
    box_mm = _box_mm(case) or tuple(math.inf for _ in case.crop_shape)
    sides = zip(case.crop_shape, box_mm, case.ras_spacing_mm, strict=True)
    shape = (min(whole, (box + 2 * margin_mm) / step) for whole, box, step in sides)
    return case.model_copy(update={"crop_shape": tuple(map(math.ceil, shape))})
