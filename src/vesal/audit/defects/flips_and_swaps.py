"""Labels whose classes are exchanged, and labels and images that run the wrong way along an axis.

A mistake is reported where the case fits the others clearly better without it, and where such a change makes nearly all
other cases fit clearly worse. A symmetric organ cannot show its mirror image, so there is no finding for it. The small
pictures of the fingerprint make a case suspect; the voxels of this one case, measured as before a fix, may not
contradict it: an organ of an unusual shape can look turned round in the pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vesal.audit.defect import Apply, Fix
from vesal.audit.editable_case import (
    CannotFix,
    Contradicted,
    EditableCase,
    FixResult,
    NothingToFix,
    open_case,
)
from vesal.audit.finding import CaseDetails, Finding, find_in
from vesal.audit.reference_cases import ReferenceCases, improved
from vesal.audit.similarity import fit, others_of
from vesal.data.dataset import Case
from vesal.errors import VesalError
from vesal.volume.geometry import Geometry

_AXES = ("left-right", "back-front", "down-up")


# --- found -------------------------------------------------------------------------------------------------


def find_exchanged_classes(cases: ReferenceCases) -> Iterable[Finding]:
    found: CaseDetails = {}
    for index, change in cases.label_changes.items():
        if change.pair:
            names = [cases.labels.names[place] for place in change.pair]
            found[cases.compared[index][0].id] = {"text": " and ".join(names), "exchange": names}
    found = _not_contradicted(cases, found, fix_exchanged_classes)
    yield from find_in(
        "swapped-labels",
        "warning",
        "Two labels seem to have changed places",
        "Look at the slices; if so, exchange the two values in the label file.",
        found,
    )


def find_flips(cases: ReferenceCases) -> Iterable[Finding]:
    found: dict[bool, CaseDetails] = {False: {}, True: {}}
    for index, change in cases.label_changes.items():
        if change.axes:
            record = cases.compared[index][0]
            order = Geometry(record.shape, np.array(record.affine)).turn_to_ras().order
            found[_image_too(cases, index, change.axes)][record.id] = {
                "text": " and ".join(_AXES[axis] for axis in change.axes),
                "axes": [order[axis] for axis in change.axes],
            }
    yield from find_in(
        "label-flipped",
        "warning",
        "A label runs the other way than in the others, its image does not",
        "Look at the slices; if so, flip the label's array back along that axis.",
        _not_contradicted(cases, found[False], fix_flipped_label),
    )
    yield from find_in(
        "image-flipped",
        "warning",
        "Image and label run the other way than the others",
        "Look whether left and right, front and back, top and bottom are where the header says; if not, correct "
        "the header or flip both arrays.",
        _not_contradicted(cases, found[True], fix_flipped_image),
    )


def _contradicted(cases: ReferenceCases, case: Case, details: str | dict[str, Any], fix: Apply) -> bool:
    try:
        opened = open_case(case)
        fix(opened, details if isinstance(details, dict) else {}, cases)
    except Contradicted:
        return True
    except NothingToFix:
        return cases.is_usual(opened)
    except (CannotFix, VesalError):
        pass  # the voxels do not tell, so the pictures stand
    return False


def _not_contradicted(cases: ReferenceCases, suspects: CaseDetails, fix: Apply) -> CaseDetails:
    """The suspects without those that the fix would take clearly farther from the other cases, and those that it
    would not bring nearer though they are like the others as they are.
    """
    found: CaseDetails = {}
    for name, details in suspects.items():
        if (case := cases.case(name)) is None or not _contradicted(cases, case, details, fix):
            found[name] = details
    return found


def _image_too(cases: ReferenceCases, index: int, axes: tuple[int, ...]) -> bool:
    """Whether the image, too, fits the others better flipped: by that picture of it which tells more."""
    flips = tuple(axis + 2 for axis in axes)
    gains = []
    for pictures in (cases.around, cases.whole):
        others = others_of(pictures)
        gains.append(fit(np.flip(pictures, flips), others) - fit(pictures, others))
    telling = min(gains, key=lambda gain: float(np.median(gain)))
    return bool(telling[index] > 0)


# --- fixed -------------------------------------------------------------------------------------------------


def fix_exchanged_classes(
    case: EditableCase, details: Mapping[str, Any], others: ReferenceCases
) -> FixResult:
    """Two classes that were named the wrong way round."""
    label = case.label_map
    values = {one.name: one.value for one in others.labels.labels}
    names = list(details.get("exchange", ()))
    if len(names) != 2 or not set(names) <= set(values):
        raise CannotFix("the check does not name the two classes")
    first, second = values[names[0]], values[names[1]]
    array = label.array.copy()
    array[label.array == first], array[label.array == second] = second, first
    fixed = case.with_label(array)
    wrong, done = f"{names[0]} and {names[1]} seem to be exchanged", "they were exchanged back"
    before, after = others.known_distance(case), others.known_distance(fixed)
    return improved(FixResult(fixed, wrong, done, {"exchange": names}), before, after, "exchanged")


def fix_flipped_label(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """A label that runs the other way than its image: flipped back."""
    before = others.known_distance(case)
    options = []
    for axes in _named_axes(details, case.label_map.array.ndim):
        flipped = case.with_label(np.ascontiguousarray(np.flip(case.label_map.array, axes)))
        options.append((others.known_distance(flipped), axes, flipped))
    after, axes, flipped = min(options, key=lambda item: item[:2])
    wrong = f"the label runs the other way than its image along {_axes_text(axes)}"
    result = FixResult(flipped, wrong, "it was flipped back", {"axes": list(axes)})
    return improved(result, before, after, "flipped")


def fix_flipped_image(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """An array that runs the other way along an axis than its header says: flipped back, with or without the label."""
    if case.label is None:
        raise CannotFix("without a label it cannot be measured whether it is fixed")
    before = others.known_distance(case)
    options = []
    for axes in _named_axes(details, case.image.geometry.ndim):
        flipped = np.flip(case.image.array, tuple(axis + 1 for axis in axes))
        alone = case.with_image(np.ascontiguousarray(flipped))
        both = alone.with_label(np.ascontiguousarray(np.flip(case.label.array, axes)))
        options += [(others.distance(alone), axes, "the image was", alone)]
        options += [(others.distance(both), axes, "image and label were", both)]
    after, axes, what, fixed = min(options, key=lambda item: np.inf if item[0] is None else item[0])
    if after is None:
        raise NothingToFix("flipped it cannot be compared with the others")
    wrong = f"the voxels run the wrong way along {_axes_text(axes)}"
    numbers = {"axes": list(axes), "with_label": "label" in what}
    return improved(FixResult(fixed, wrong, f"{what} flipped back", numbers), before, after, "flipped")


def _named_axes(details: Mapping[str, Any], ndim: int) -> list[tuple[int, ...]]:
    """The axes of the array, together, that a finding names; each by itself where it names none."""
    if "axes" not in details:
        return [(axis,) for axis in range(ndim)]
    return [tuple(int(axis) for axis in details["axes"])]


def _axes_text(axes: tuple[int, ...]) -> str:
    return f"ax{'i' if len(axes) == 1 else 'e'}s {' and '.join(map(str, axes))}"


FIND = (find_exchanged_classes, find_flips)
FIX = {
    "swapped-labels": Fix(fix_exchanged_classes),
    "image-flipped": Fix(fix_flipped_image),
    "label-flipped": Fix(fix_flipped_label),
}
