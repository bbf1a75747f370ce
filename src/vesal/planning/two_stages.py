"""Plans of two stages: a coarse network sees the whole scan and finds a box, a fine one looks only there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from vesal.data.case_features import rounded
from vesal.data.crop import in_order
from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.data.labels import LabelSet, Region
from vesal.errors import UsageError
from vesal.planning.plan import Plan
from vesal.planning.planner import View, check_cases, make_plan
from vesal.planning.settings import PlanSettings
from vesal.text import times

#: Seconds of the coarse stage: a start, and a share of the budget; at most a larger share.
_LOCATOR_START_S, _LOCATOR_SHARE, _MOST_LOCATOR_SHARE = 60.0, 0.05, 0.3

#: Steps of the coarse stage where steps or epochs set the length: the fine stage's, within these bounds.
LOCATOR_STEPS = (300, 1000)

#: The coarse stage's grid has at most so many voxels in the median scan, by dimension; its network's features.
_GRID_VOXELS = {2: 64 * 64, 3: 40_000}
_FEATURES = (8, 16, 32, 64)

#: Room in its patch for larger scans than the median.
_ROOM = 1.1

#: The fine stage's patch holds the whole median box, at coarser voxels where the time is short.
_FINE_COVERAGE = 1.0

#: Margin around what is labelled: a share of the box's longest side, between so many coarse voxels and so many mm.
_MARGIN_SHARE, _MARGIN_VOXELS, _MOST_MARGIN_MM = 0.25, 1.0, 20.0

#: The grid becomes coarser in steps of 3 %.
_COARSER = 1.03

#: Volumes with fewer voxels along an axis are seen slice by slice, as by the fine stage.
_FLAT = 4


def locator_budget_s(budget_s: float) -> float:
    """Seconds of a run's budget that the coarse stage takes; it needs little more in a longer run.

    >>> [locator_budget_s(60.0 * minutes) for minutes in (3, 8, 20, 60)]
    [54.0, 84.0, 120.0, 240.0]
    """
    return min(_LOCATOR_START_S + _LOCATOR_SHARE * budget_s, _MOST_LOCATOR_SHARE * budget_s)


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
        budget_s: of both together, and of all networks of the fine stage.

    Raises:
        DataError, UsageError: as `make_plan`, or no case is labelled.
    """
    asked = settings or PlanSettings()
    check_cases(fingerprint)
    boxes = [box for case in fingerprint.cases if (box := _box_mm(case))]
    if not boxes:
        raise UsageError("No case is labelled, so there is nothing to locate; leave out plan.locate.")
    budget_s = asked.budget_s or budget_s
    coarse_s = None if budget_s is None else locator_budget_s(budget_s)
    coarse = _coarse_plan(fingerprint, labels, asked, coarse_s, device)
    margin_mm = max(
        _MARGIN_VOXELS * max(coarse.spacing_mm),
        min(_MOST_MARGIN_MM, _MARGIN_SHARE * float(np.median([max(box) for box in boxes]))),
    )
    cases = tuple(_seen(case, margin_mm) for case in fingerprint.cases)
    fine = make_plan(
        fingerprint,
        labels,
        asked.model_copy(update={"locate": False, "budget_s": None}),
        budget_s=None
        if budget_s is None or coarse_s is None
        else (budget_s - coarse_s) / (asked.networks or 1),
        view=View(cases, coverage=_FINE_COVERAGE),
        **device,
    )
    pairs = zip(fingerprint.cases, cases, strict=True)
    share = np.median([math.prod(seen.crop_shape) / math.prod(case.crop_shape) for case, seen in pairs])
    reason = (
        f"Two stages: the labels and {margin_mm:.3g} mm around them are {share:.1%} of the median scan. A small "
        f"network finds the box in the whole scan, in voxels of {times(coarse.spacing_mm, 3)} mm; what follows looks "
        "only there."
    )
    return fine.model_copy(
        update={
            "locator": coarse,
            "margin_mm": rounded(margin_mm, 3),
            "label_sizes": label_sizes(fingerprint.cases),
            "label_gaps_mm": label_gaps(fingerprint.cases),
            "reasons": (reason, *fine.reasons),
        }
    )


def label_sizes(cases: Sequence[CaseRecord]) -> tuple[float, float]:
    """mm³ of the smallest and the largest label; the smallest is 0 where a case has none."""
    sizes = [sum(case.voxels.values()) * case.voxel_volume_mm3 for case in cases]
    return rounded(min(sizes), 3), rounded(max(sizes), 3)


def label_gaps(cases: Sequence[CaseRecord]) -> tuple[float, ...] | None:
    """mm that the labels stay away from the border of their scans at least, at the first and last end of each RAS axis.

    None where no case, or not every one with labels, says it.
    """
    features = [case.case_features.label for case in cases if case.case_features is not None]
    gaps = [label.gaps_mm for label in features if label is not None]
    if not gaps or not all(gaps):
        return None
    return tuple(min(ends) for ends in zip(*gaps, strict=True))


def foreground_alone(labels: LabelSet) -> LabelSet:
    """The labels as the coarse stage sees them: all of them one region."""
    return labels.model_copy(update={"regions": (Region(name="foreground", members=labels.names),)})


def _coarse_plan(
    fingerprint: Fingerprint,
    labels: LabelSet,
    asked: PlanSettings,
    budget_s: float | None,
    device: dict[str, Any],
) -> Plan:
    """Of a network that sees the whole scan as few voxels, and tells only what is labelled from what is not."""
    cases = fingerprint.cases
    dimension, slice_axis = _coarse_frame(cases)
    sizes = np.array([np.multiply(case.crop_shape, case.ras_spacing_mm) for case in cases])
    native = np.median([case.ras_spacing_mm for case in cases], axis=0)
    size_mm = in_order(tuple(np.median(sizes, axis=0)), slice_axis, first=0.0)[-dimension:]
    native_mm = in_order(tuple(native), slice_axis, first=0.0)[-dimension:]
    spacing = _coarse_spacing(size_mm, native_mm, _GRID_VOXELS[dimension])
    patch = tuple(_patch_side(size / step) for size, step in zip(size_mm, spacing, strict=True))
    everything = foreground_alone(labels)
    settings = PlanSettings(
        dimension=None if slice_axis is not None else dimension,
        spacing_mm=spacing,
        patch=patch,
        features=_FEATURES,
        heads=1,
        batch=2 if dimension == 3 else 8,
        normalisation=asked.normalisation,
        rate=asked.rate,
        memory_gb=asked.memory_gb,
    )
    plan = make_plan(
        fingerprint, everything, settings, budget_s=budget_s, view=View(cases, coverage=1.0), **device
    )
    # So short a training learns faster without mirroring, and organs have their side.
    return plan.model_copy(update={"blocks": True, "mirror_axes": ()})


def _patch_side(median: float) -> int:
    """Of the coarse network's patch: the median scan and some room, in the nearest multiple that holds the median.

    >>> _patch_side(37.0), _patch_side(51.2), _patch_side(9.0)
    (40, 56, 12)
    """
    multiple = 8 if median > 16 else 4
    return max(math.ceil(_ROOM * median / multiple - 0.5), math.ceil(median / multiple)) * multiple


def _coarse_frame(cases: tuple[CaseRecord, ...]) -> tuple[Literal[2, 3], int | None]:
    """Dimension of the coarse network and, where it sees volumes slice by slice, the axis of the slices."""
    if len(cases[0].ras_shape) == 2:
        return 2, None
    shape = np.median([case.crop_shape for case in cases], axis=0)
    return (2, int(np.argmin(shape))) if shape.min() < _FLAT else (3, None)


def _coarse_spacing(
    size_mm: tuple[float, ...], native_mm: tuple[float, ...], voxels: float
) -> tuple[float, ...]:
    """Alike along all axes that the scans resolve so finely, such that the median scan has so many voxels at most."""
    step = min(native_mm)
    while True:
        spacing = tuple(max(step, own) for own in native_mm)
        if math.prod(size / each for size, each in zip(size_mm, spacing, strict=True)) <= voxels:
            return tuple(rounded(each, 4) for each in spacing)
        step *= _COARSER


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
