"""Labels beside what they show: the image around them is that of the others, but moved.

Of the few such cases the files are read once more: where the label was moved back, its classes and their surroundings
have to be separated better by their intensities than where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.audit.defect import Fix
from vesal.audit.editable_case import CannotFix, EditableCase, FixResult
from vesal.audit.finding import CaseDetails, Finding, find_in
from vesal.audit.reference_cases import ReferenceCases, improved
from vesal.audit.similarity import FITS, fit, normed, others_of, outliers
from vesal.data.case import read_case
from vesal.data.case_features import AROUND, BLOCKS, LabelFeatures
from vesal.data.dataset import Case
from vesal.data.fingerprint import CaseRecord
from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.volume.geometry import Array, Geometry

#: A label may be shifted when moving it raises the correlation of the image around it with that of the other cases
#: by at least this much ...
_GAIN = 0.15
#: ... and by this many times the best gain of 90 % of the other cases.
_BEYOND = 2.5
#: Cases that are read again at most.
_READ_AGAIN = 20
#: ... and when its classes and their rim explain so many times more of the intensities after the move.
_EXPLAINED = 2.5
#: Voxels of the rim.
_RIM = 2
#: Moves that are tried, in blocks: first coarse ones on all cases, then every one on the odd ones.
_COARSE, _FINE = (-2, 0, 2), (-3, -2, -1, 0, 1, 2, 3)


# --- found -------------------------------------------------------------------------------------------------


def find_shifts(cases: ReferenceCases) -> Iterable[Finding]:
    if not cases.compared:
        return
    others = others_of(cases.around)
    coarse = _moves(cases.around, others, _COARSE)
    gains = np.max(list(coarse.values()), axis=0) - coarse[0, 0, 0]
    far = outliers(gains.tolist(), _GAIN, beyond=_BEYOND, middle=0.0)
    limit = FITS * float(np.median(fit(cases.around, others)))
    odd = set(np.flatnonzero(far > 1).tolist()) - set(cases.label_changes)
    found: CaseDetails = {}
    for index in sorted(odd, key=lambda i: -far[i])[:_READ_AGAIN]:
        fine = _moves(cases.around[index : index + 1], others[index : index + 1], _FINE)
        move = max(fine, key=lambda each: float(fine[each][0]))
        record, label = cases.compared[index]
        case = cases.case(record.id)
        if fine[move][0] < limit or case is None:
            continue
        if (voxels := _best_move(case, cases.labels, _in_voxels(record, label, move))) is not None:
            text = f"it would fit {', '.join(f'{step:+d}' for step in voxels)} voxels away"
            found[record.id] = {"text": text, "voxels": voxels}
    yield from find_in(
        "label-shifted",
        "warning",
        "A label lies beside what it shows",
        "Look at the slices; if so, move the label back, or draw it anew.",
        found,
    )


def _moves(own: Array, others: Array, steps: Sequence[int]) -> dict[tuple[int, ...], NDArray[np.float64]]:
    """Move of a label in blocks -> (n,) correlations of `own`, (n, C, blocks...), with `others` where both are."""
    found = {}
    for move in product(steps, repeat=3):
        first = tuple(slice(max(step, 0), BLOCKS + min(step, 0)) for step in move)
        second = tuple(slice(max(-step, 0), BLOCKS + min(-step, 0)) for step in move)
        joint = normed(own[:, :, *first]) * normed(others[:, :, *second])
        found[move] = joint.sum(axis=(2, 3, 4)).mean(axis=1).astype(np.float64)
    return found


def _in_voxels(record: CaseRecord, label: LabelFeatures, move: Sequence[int]) -> list[int]:
    """A move in blocks of the surroundings, RAS axes -> voxels along the array's own axes."""
    turn = Geometry(record.shape, np.array(record.affine)).turn_to_ras()
    voxels = [0] * len(move)
    for axis, (source, flipped) in enumerate(zip(turn.order, turn.flips, strict=True)):
        mm = move[axis] * label.box_mm[axis] * (1 + 2 * AROUND) / BLOCKS
        voxels[source] = (-1 if flipped else 1) * round(mm / record.ras_spacing_mm[axis])
    return voxels


def _best_move(case: Case, labels: LabelSet, voxels: Sequence[int]) -> list[int] | None:
    """The move near `voxels` after which the label explains the intensities best; None where that is hardly better."""
    try:
        raw = read_case(case)
        label = None if raw.label is None else labels.encode(raw.label.array)
    except (VesalError, OSError):
        return None
    if label is None or label.shape != raw.image.geometry.shape:
        return None

    def after(move: Sequence[int]) -> float:
        moved = np.roll(label, list(move), axis=tuple(range(label.ndim)))
        return float(np.mean([_explained_share(channel, moved) for channel in raw.image.array]))

    steps = (-_RIM, 0, _RIM)
    near = [[a + b for a, b in zip(voxels, step, strict=True)] for step in product(steps, repeat=label.ndim)]
    best = max(near, key=after)
    return best if after(best) > _EXPLAINED * after([0] * label.ndim) else None


def _explained_share(image: NDArray[Any], label: NDArray[np.uint8]) -> float:
    """Share of the intensities' variance that the classes and a rim around them explain, 0..1.

    Args:
        image: (X, Y, Z); label: (X, Y, Z), contiguous, 0 for the background.
    """
    from scipy import ndimage

    where = tuple(slice(max(0, int(a.min()) - _RIM), int(a.max()) + _RIM + 1) for a in np.nonzero(label))
    held, inside = image[where].astype(np.float64), label[where]
    near = ndimage.maximum_filter(inside > 0, 2 * _RIM + 1, mode="constant")
    values, classes = held[near], inside[near]
    known = np.isfinite(values)
    values, classes = values[known], classes[known]
    spread = float(((values - values.mean()) ** 2).sum())
    counts = np.maximum(np.bincount(classes), 1)
    sums = np.bincount(classes, values - values.mean())
    return float((sums**2 / counts).sum() / max(spread, 1e-12))


# --- fixed -------------------------------------------------------------------------------------------------


def fix_shift(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """A label that lies some voxels beside what it shows: moved back by about what the check measured.

    The check sees small pictures and may be some voxels off, so that the best place nearby is looked for.
    """
    from scipy import ndimage

    label, voxels = case.label_map, details.get("voxels")
    if not isinstance(voxels, (list, tuple)) or len(voxels) != label.array.ndim:
        raise CannotFix("the check does not say by how many voxels the label is shifted")
    known: dict[tuple[int, ...], float] = {}

    def moved(by: tuple[int, ...]) -> EditableCase:
        return case.with_label(ndimage.shift(label.array, by, order=0, cval=others.labels.background))

    def unlike(by: tuple[int, ...]) -> float:
        if by not in known:
            found = others.distance(moved(by))
            known[by] = np.inf if found is None else found
        return known[by]

    before = others.known_distance(case)
    best = min([tuple(sign * round(value) for value in voxels) for sign in (-1, 1)], key=unlike)
    for step in (4, 2, 1):
        best = _descend(best, step, unlike)
    done = f"it was moved by {', '.join(map(str, best))} voxels"
    result = FixResult(moved(best), "the label lies beside what it shows", done, {"voxels": list(best)})
    # Back where it was is no move.
    return improved(result, before, unlike(best) if any(best) else np.inf, "moved")


def _descend(
    start: tuple[int, ...], step: int, unlike: Callable[[tuple[int, ...]], float]
) -> tuple[int, ...]:
    """The place that is least unlike, found from `start` by steps along one axis at a time; at most eight of them."""
    best = start
    for _ in range(8):
        around = [
            (*best[:axis], best[axis] + sign * step, *best[axis + 1 :])
            for axis in range(len(best))
            for sign in (-1, 1)
        ]
        nearest = min(around, key=unlike)
        if unlike(nearest) >= unlike(best):
            break
        best = nearest
    return best


FIND = (find_shifts,)
FIX = {"label-shifted": Fix(fix_shift, required=True)}
