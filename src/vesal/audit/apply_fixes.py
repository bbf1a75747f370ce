"""From findings to fixes: what is done about each fault of each case, and which cases are left out.

Every fix measures its fault in the files before it touches anything, whatever the finding says. A case whose error
cannot be fixed is left out of the fixed set; one with a mere warning stays in it, and both are named.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from vesal.audit.checks import Finding
from vesal.audit.editable_case import CannotFix, Done, NothingToFix, Opened, Order, changed_files, open_case
from vesal.audit.fix_images import (
    channel_count,
    four_dimensional,
    image_flipped,
    inverted,
    not_finite,
    swapped_channels,
)
from vesal.audit.fix_labels import label_flipped, label_grid, label_shape, label_shifted
from vesal.audit.fix_places import channel_grid, orientation, sheared, spacing, two_forms, units
from vesal.audit.fix_values import (
    label_values,
    mismatched_label,
    stray_island,
    swapped_labels,
    undeclared_value,
)
from vesal.audit.reference_cases import Cohort
from vesal.data.dataset import Case, Dataset
from vesal.errors import VesalError
from vesal.layouts.scan_files import by_stem
from vesal.volume.io import read_volume
from vesal.volume.volume import Volume

Fix = Callable[[Opened, Order, Cohort], Done]
Outcome = Literal["fixed", "left out", "kept"]

#: By the kind of the finding, in the order in which they are done: first where things are, then what they hold, then
#: what can only be measured on sound voxels, and last what only turns or resamples all.
FIXES: dict[str, Fix] = {
    "channel-grid": channel_grid,
    "sform-qform": two_forms,
    "units": units,
    "spacing": spacing,
    "label-values": label_values,
    "undeclared-value": undeclared_value,
    "4d-file": four_dimensional,
    "channel-count": channel_count,
    "not-finite": not_finite,
    "mismatched-label": mismatched_label,
    "label-grid": label_grid,
    "label-shape": label_shape,
    "swapped-channels": swapped_channels,
    "inverted": inverted,
    "swapped-labels": swapped_labels,
    "image-flipped": image_flipped,
    "label-flipped": label_flipped,
    "label-shifted": label_shifted,
    "stray-island": stray_island,
    "sheared": sheared,
    "orientation": orientation,
}

#: Kinds whose cases are never in the fixed set, and why.
LEFT_OUT: dict[str, str] = {
    "unreadable": "its files cannot be read",
    "missing-file": "a file is missing",
    "missing-partner": "its image, its label or a channel is missing",
    "constant-image": "the image has one intensity everywhere",
    "empty-label": "the label is empty where most are not",
    "dimension": "the image has another number of axes than the others",
}

#: Whatever the finding's severity: half fixed they would teach a network what is wrong.
_ALL_OR_NOTHING = (
    "label-shifted",
    "mismatched-label",
    "label-grid",
    "label-shape",
    "undeclared-value",
    "label-values",
)

#: Fixes of labels that may still be another scan's label.
_DOUBTFUL = ("label-grid", "label-shape", "label-values", "undeclared-value")

#: Kinds of which one copy stays.
_COPIES = ("duplicate", "near-duplicate")
#: A patient who is trained and tested on.
_LEAK = "patient-leak"


class Change(BaseModel):
    """What became of one fault.

    Attributes:
        case: its id; '' where the data set as a whole is meant.
        kind: of the finding.
        outcome: 'fixed'; 'left out' of the fixed set; 'kept' as it is.
        wrong: what was wrong.
        done: what was done, or why nothing was.
        files: that were written anew, below the data set's folder.
        numbers: that the sentences rest on.
        look: somebody should look at the result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: str
    kind: str
    outcome: Outcome
    wrong: str
    done: str
    files: tuple[str, ...] = ()
    numbers: dict[str, Any] = {}
    look: bool = False


@dataclass(frozen=True)
class FixPlan:
    """What is to be done.

    Attributes:
        orders: of each case that goes into the fixed set, in the order of FIXES.
        left_out: cases that cannot go into it, by id.
        kept: faults that nothing is done about.
        faulty: all cases that something is wrong with.
    """

    orders: Mapping[str, tuple[Order, ...]]
    left_out: Mapping[str, Change]
    kept: tuple[Change, ...]
    faulty: frozenset[str]


@dataclass(frozen=True, eq=False)
class FixedCase:
    """One case after its fixes.

    Attributes:
        changes: one for each fault.
        files: to be written in place of the case's own; None where the case is left out.
    """

    changes: tuple[Change, ...]
    files: Mapping[Path, Volume] | None


def plan_fixes(
    dataset: Dataset,
    findings: Sequence[Finding],
    more: Iterable[Order] = (),
    voxels: Mapping[str, int] | None = None,
) -> FixPlan:
    """What is to be done about each finding, case by case. Nothing is read.

    Args:
        dataset: to be fixed.
        findings: of it.
        more: faults that are none for Vesal, but for the readers of the layout (`split_orders`).
        voxels: of each scan: of a scan and a piece cut from it the whole one stays.
    """
    annotated = {case.id for case in dataset.cases}
    known = annotated | {case.id for case in dataset.unlabelled}
    left_out: dict[str, Change] = {}
    orders: dict[str, list[Order]] = {}
    kept: list[Change] = []
    for finding in findings:
        if finding.severity == "note" and finding.kind not in FIXES:
            continue
        if finding.kind in FIXES or finding.kind == "unreadable":
            for name in finding.cases:
                orders.setdefault(name, []).append(_order(finding, name))
        elif finding.kind in LEFT_OUT:
            for name in finding.cases:
                left_out.setdefault(name, _left(name, finding.kind, finding.message, LEFT_OUT[finding.kind]))
        elif finding.kind == _LEAK:
            for name in set(finding.cases) - annotated:
                left_out.setdefault(name, _left(name, _LEAK, finding.message, "its patient is trained on"))
        elif finding.kind not in _COPIES:
            kept += [_unmended(finding, name) for name in finding.cases or ("",)]
    for order in more:
        left_out.pop(order.case, None)
        orders.setdefault(order.case, []).append(order)
    # A file that cannot be read may be a mask of fractions; only trying tells.
    trials = {
        name: _trials(found) for name, found in orders.items() if name not in left_out and name in known
    }
    faulty = frozenset([*orders, *left_out])
    left_out |= _copies(dataset, findings, faulty, set(left_out), voxels or {})
    return FixPlan(
        orders={name: found for name, found in trials.items() if name not in left_out},
        left_out=left_out,
        kept=tuple(kept),
        faulty=faulty,
    )


def with_split(dataset: Dataset) -> Dataset:
    """nnU-Net's layout with the cases of which one 4D file holds all channels: its reader misses the other files."""
    if dataset.layout != "nnunet":
        return dataset
    rescued = []
    labels = by_stem(dataset.root / "labelsTr")
    for orphan in dataset.orphans:
        if not orphan.missing.startswith("channel") or orphan.id not in labels:
            continue
        with contextlib.suppress(VesalError, OSError):
            if read_volume(orphan.path).channels == len(dataset.channels):
                rescued.append(
                    Case(id=orphan.id, images=(orphan.path,), label=labels[orphan.id], patient=orphan.id)
                )
    names = {case.id for case in rescued}
    orphans = tuple(orphan for orphan in dataset.orphans if orphan.id not in names)
    return dataset.model_copy(update={"cases": (*dataset.cases, *rescued), "orphans": orphans})


def split_orders(dataset: Dataset) -> list[Order]:
    """The cases in nnU-Net's layout whose one file should be several."""
    if dataset.layout != "nnunet" or len(dataset.channels) < 2:
        return []
    return [
        Order(case.id, "4d-file", "error", "One 4D file holds all channels")
        for case in dataset.cases + dataset.unlabelled
        if len(case.images) == 1
    ]


def _trials(orders: Iterable[Order]) -> tuple[Order, ...]:
    rank = {kind: place for place, kind in enumerate(FIXES)}
    unique = {(order.kind, repr(sorted(order.details.items()))): order for order in orders}
    return tuple(sorted(unique.values(), key=lambda order: rank.get(order.kind, -1)))


def _order(finding: Finding, name: str) -> Order:
    details = {"cases": list(finding.cases)} if finding.kind == "mismatched-label" else {}
    details |= finding.details.get(name, {})
    return Order(name, finding.kind, finding.severity, finding.message, details)


def _left(name: str, kind: str, wrong: str, why: str) -> Change:
    return Change(case=name, kind=kind, outcome="left out", wrong=about(wrong, name), done=f"left out: {why}")


def _unmended(finding: Finding, name: str) -> Change:
    done = "nothing: no program can fix it"
    if finding.severity == "error" and name:
        return _left(name, finding.kind, finding.message, "no program can fix it")
    return Change(case=name, kind=finding.kind, outcome="kept", wrong=about(finding.message, name), done=done)


def _copies(
    dataset: Dataset,
    findings: Sequence[Finding],
    faulty: Iterable[str],
    gone: set[str],
    voxels: Mapping[str, int],
) -> dict[str, Change]:
    """Of each scan that is there several times one stays: an annotated one before others, then the largest, then a
    sound one, then the first.

    Copies within one patient stay: every split keeps them on one side.
    """
    groups: list[tuple[set[str], Finding]] = []
    for finding in findings:
        if finding.kind not in _COPIES or finding.severity == "note":
            continue
        members, own = set(finding.cases), finding
        for group in [group for group in groups if group[0] & members]:
            members, own = members | group[0], group[1]
            groups.remove(group)
        groups.append((members, own))
    annotated = {case.id for case in dataset.cases}
    bad = set(faulty)
    place = {case.id: rank for rank, case in enumerate(dataset.cases + dataset.unlabelled)}
    found = {}
    for members, finding in groups:
        present = sorted((members - gone) & set(place), key=place.__getitem__)
        if not present:
            continue
        stays = min(
            present, key=lambda name: (name not in annotated, -voxels.get(name, 0), name in bad, name)
        )
        for name in present:
            if name != stays:
                found[name] = _left(
                    name, finding.kind, finding.message, f"it is the same scan as {stays}, which stays"
                )
    return found


def fix_case(case: Case, orders: Sequence[Order], cohort: Cohort, root: Path) -> FixedCase:
    """Read a case, fix what can be fixed, and tell what became of each fault. Nothing is written.

    Args:
        case: whose files are read.
        orders: its faults, in the order of FIXES.
        cohort: the sound cases.
        root: of the data set, below which files are named.
    """
    try:
        before = open_case(case)
    except (VesalError, OSError, MemoryError) as error:
        kind = next((order.kind for order in orders if order.kind in LEFT_OUT), "unreadable")
        wrong = str(error) or type(error).__name__
        return FixedCase((_left(case.id, kind, wrong, LEFT_OUT["unreadable"]),), None)
    after, changes = before, list[Change]()
    for order in _with_read(before, orders):
        try:
            done = _fix(after, order, cohort)
        except NothingToFix as reason:
            so_far = "nothing more" if any(change.outcome == "fixed" for change in changes) else "nothing"
            changes.append(_told(order, "kept", f"{so_far}: {reason}"))
        except CannotFix as reason:
            if order.severity == "error" or order.kind in _ALL_OR_NOTHING:
                return FixedCase((*changes, _told(order, "left out", f"left out: {reason}")), None)
            changes.append(_told(order, "kept", f"nothing: {reason}"))
        else:
            files = tuple(_named(path, root) for path in changed_files(after, done.opened))
            changes.append(_as_change(order, done, files))
            after = done.opened
    if (doubted := _doubted(changes, after, cohort)) is not None:
        return FixedCase((*changes, doubted), None)
    return FixedCase(tuple(changes), changed_files(before, after))


def _doubted(changes: Sequence[Change], after: Opened, cohort: Cohort) -> Change | None:
    """Why a case is left out, though its label was fixed: it fits its image worse than any sound case's."""
    doubtful = [change for change in changes if change.outcome == "fixed" and change.kind in _DOUBTFUL]
    if not doubtful or all(change.kind == "label-grid" and not change.look for change in doubtful):
        return None
    distance, limit = cohort.distance(after), cohort.limit
    if distance is None or limit is None or distance <= limit:
        return None
    return Change(
        case=after.case.id,
        kind=doubtful[-1].kind,
        outcome="left out",
        wrong="even when fixed the label does not fit its image",
        done=f"left out: its distance from the other cases is {distance:.2f}, of sound ones at most {limit:.2f}",
        numbers={"distance": distance, "limit": limit},
    )


def _with_read(opened: Opened, orders: Sequence[Order]) -> tuple[Order, ...]:
    """What made a case unreadable, now that it was read: a label of other than whole numbers, channels apart."""
    found = []
    for kind, there in (("label-values", opened.fractions is not None), ("channel-grid", bool(opened.apart))):
        if there:
            told = next((one.message for one in orders if one.kind in ("unreadable", kind)), f"A {kind}")
            found.append(Order(opened.case.id, kind, "error", told))
    kinds = {"unreadable", *(order.kind for order in found)} if found else set()
    return _trials([*(order for order in orders if order.kind not in kinds), *found])


def _fix(opened: Opened, order: Order, cohort: Cohort) -> Done:
    if order.kind in FIXES:
        return FIXES[order.kind](opened, order, cohort)
    if order.kind == "unreadable":
        raise NothingToFix("it can be read")
    raise CannotFix(LEFT_OUT[order.kind])


def _told(order: Order, outcome: Outcome, done: str) -> Change:
    return Change(
        case=order.case, kind=order.kind, outcome=outcome, wrong=about(order.message, order.case), done=done
    )


def _as_change(order: Order, done: Done, files: tuple[str, ...]) -> Change:
    return Change(
        case=order.case,
        kind=order.kind,
        outcome="fixed",
        wrong=done.wrong,
        done=done.done,
        files=files,
        numbers=done.numbers,
        look=done.look,
    )


def _named(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def settled(changes: Sequence[Change], remaining: Sequence[Finding]) -> tuple[Change, ...]:
    """The faults that were kept and are not found in the fixed copy: they went with another fix of their case.

    A spacing in centimetres, say, makes a volume that is far too small.
    """
    there = {(name, finding.kind) for finding in remaining for name in finding.cases}
    fixed = {change.case for change in changes if change.outcome == "fixed"}
    return tuple(
        change.model_copy(update={"outcome": "fixed", "done": "it went with the other fixes of this case"})
        if change.outcome == "kept" and change.case in fixed and (change.case, change.kind) not in there
        else change
        for change in changes
    )


def _bare(message: str) -> str:
    return message.removesuffix(".")


def about(message: str, case: str) -> str:
    """What a finding that names many cases says of one.

    >>> about("A label is odd, in 2 cases: a (3 mm) and b (4 mm).", "b")
    'A label is odd (4 mm)'
    """
    what, many, rest = message.partition(" cases: ")
    if not many:
        return _bare(message)
    found = re.search(rf"(?:^|, | and ){re.escape(case)}(?: \(([^()]*)\))?(?:, | and |\.|$)", rest)
    detail = f" ({found[1]})" if found is not None and found[1] else ""
    return re.sub(r", in \d+$", "", what) + detail
