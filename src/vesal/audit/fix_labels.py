"""Fixes of where label maps lie: their place, their shape, their direction.

Each measures its defect before it touches anything: it raises `NothingToFix` where the defect is not there, and
`CannotFix` where it cannot be fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations, product
from typing import Any

import numpy as np

from vesal.audit.editable_case import CannotFix, Done, NothingToFix, Opened, Order, inside_share
from vesal.audit.reference_cases import BETTER, Cohort
from vesal.data.labels import LabelSet
from vesal.volume.geometry import TOLERANCE_MM, Array, Geometry
from vesal.volume.resample import resample_label
from vesal.volume.volume import LabelMap

#: Of a label's foreground, what has to lie in the image for the label to be its own.
_LEAST_INSIDE = 0.5
#: Rows that a crop may have taken off or left on.
_CROP = 3


# --- place and shape ------------------------------------------------------------------------------------------


def label_grid(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """A label of the image's shape that lies elsewhere: its header is wrong, or it was drawn on another grid."""
    label, grid = the_label(opened), opened.image.geometry
    if label.geometry.shape != grid.shape:
        return label_shape(opened, order, cohort)
    gap = grid.distance_mm(label.geometry)
    if gap <= TOLERANCE_MM:
        raise NothingToFix("the label lies where the image is")
    copied = opened.with_label(label.array, grid)
    if gap < 0.5 * min(grid.spacing_mm):
        return Done(
            copied,
            f"the label lies {gap:.3g} mm from its image, less than half a voxel",
            "the image's place was copied into the label's header; the voxels are as they were",
            {"distance_mm": gap},
        )
    wrong = f"the label lies {gap:.3g} mm from its image"
    box, inside = overlap(label, grid, cohort.labels)
    moved = opened.with_label(resample_label(label, grid, cohort.labels.background).array, grid)
    by_voxel, by_place = cohort.distance(copied), cohort.distance(moved)
    numbers: dict[str, Any] = {
        "distance_mm": gap,
        "overlap_percent": 100 * box,
        "foreground_inside_percent": 100 * inside,
    }
    numbers |= {"unlike_if_copied": by_voxel, "unlike_if_resampled": by_place}
    if box == 0:
        raise CannotFix(f"{wrong}: the two do not overlap")
    if by_voxel is not None and (by_place is None or by_voxel < BETTER * by_place):
        placed = "outside the image" if by_place is None else f"at {by_place:.2f}"
        return Done(
            copied,
            wrong,
            "voxel by voxel it fits the image (distance from the other cases "
            f"{by_voxel:.2f}, by its header {placed}), so the image's place was copied into its header",
            numbers,
            look=True,
        )
    return _resampled(moved, wrong, (box, inside), numbers, coarse=_coarser(label.geometry, grid))


def _resampled(
    moved: Opened, wrong: str, shares: tuple[float, float], numbers: dict[str, Any], *, coarse: bool
) -> Done:
    box, inside = shares
    if inside < _LEAST_INSIDE:
        raise CannotFix(f"{wrong}: only {inside:.0%} of what is labelled lies in the image")
    rough = "; it is coarser than the image, and so are its edges now" if coarse else ""
    return Done(
        moved,
        wrong,
        f"it was resampled onto the image's grid by its nearest voxels; {box:.0%} of its field of view and "
        f"{inside:.0%} of what is labelled lie in the image{rough}",
        numbers,
        look=coarse or inside < 0.99,
    )


def _coarser(label: Geometry, grid: Geometry) -> bool:
    return label.voxel_volume_mm3 > 1.5 * grid.voxel_volume_mm3


def label_shape(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """A label of another shape: onto the image's grid by its place, unless it fits better cropped or padded."""
    label, grid = the_label(opened), opened.image.geometry
    if label.geometry.shape == grid.shape:
        if grid.distance_mm(label.geometry) <= TOLERANCE_MM:
            raise NothingToFix("the label has the image's shape")
        return label_grid(opened, order, cohort)
    if label.geometry.ndim != grid.ndim:
        raise CannotFix("the label is 2D and the image 3D, or the other way")
    wrong = f"the label has {_times(label.geometry.shape)} voxels and the image {_times(grid.shape)}"
    box, inside = overlap(label, grid, cohort.labels)
    options = [(opened.with_label(resample_label(label, grid, cohort.labels.background).array, grid), "")]
    options += _cropped(opened, label, cohort) + _transposed(opened, label)
    found = [cohort.distance(option) for option, _ in options]
    scores = [np.inf if score is None else score for score in found]
    best = int(np.argmin(scores))
    numbers = {"overlap_percent": 100 * box, "foreground_inside_percent": 100 * inside, "unlike": found[best]}
    if best and scores[best] < BETTER * scores[0] and _same_steps(label.geometry, grid):
        placed = "it would hold nothing" if not np.isfinite(scores[0]) else f"{scores[0]:.2f}"
        return Done(
            options[best][0],
            wrong,
            f"{options[best][1]}, where it is most like the other cases (distance {scores[best]:.2f}, by its header "
            f"{placed})",
            numbers,
            look=True,
        )
    if box == 0:
        raise CannotFix(f"{wrong}, and the two do not overlap")
    return _resampled(options[0][0], wrong, (box, inside), numbers, coarse=_coarser(label.geometry, grid))


def _cropped(opened: Opened, label: LabelMap, cohort: Cohort) -> list[tuple[Opened, str]]:
    """The label with rows put on or taken off at either end of each axis; none where many would be needed."""
    gaps = [want - have for want, have in zip(opened.image.geometry.shape, label.geometry.shape, strict=True)]
    if max(map(abs, gaps)) > _CROP:
        return []
    found = []
    for ends in product(*[((0, gap), (gap, 0)) if gap else ((0, 0),) for gap in gaps]):
        cut = tuple(
            slice(max(0, -low), size - max(0, -high))
            for (low, high), size in zip(ends, label.array.shape, strict=True)
        )
        pads = [(max(0, low), max(0, high)) for low, high in ends]
        array = np.pad(label.array[cut], pads, constant_values=cohort.labels.background)
        told = ", ".join(
            f"{abs(low + high)} row{'s' if abs(low + high) > 1 else ''} {'added' if low + high > 0 else 'taken off'} "
            f"at the {'start' if low else 'end'} of axis {axis}"
            for axis, (low, high) in enumerate(ends)
            if low or high
        )
        found.append((opened.with_label(array, opened.image.geometry), f"it got {told}"))
    return found


def _transposed(opened: Opened, label: LabelMap) -> list[tuple[Opened, str]]:
    """The label with its axes exchanged, as far as it has the image's shape then."""
    grid = opened.image.geometry
    return [
        (
            opened.with_label(np.ascontiguousarray(label.array.transpose(order)), grid),
            f"its axes were put in the order {', '.join(map(str, order))}",
        )
        for order in permutations(range(grid.ndim))
        if order != tuple(range(grid.ndim)) and tuple(label.array.shape[axis] for axis in order) == grid.shape
    ]


def overlap(label: LabelMap, grid: Geometry, labels: LabelSet) -> tuple[float, float]:
    """(share of the label's field of view, share of its labelled voxels) that lies within the grid's voxel faces."""
    steps = [np.linspace(-0.5, size - 0.5, 24) for size in label.geometry.shape]
    box = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, label.geometry.ndim)
    drawn = np.argwhere(label.array != labels.background)
    return inside_share(box, label.geometry, grid), inside_share(drawn, label.geometry, grid)


def label_shifted(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """A label that lies some voxels beside what it shows: moved back by about what the check measured.

    The check sees small pictures and may be some voxels off, so that the best place nearby is looked for.
    """
    label = the_label(opened)
    voxels = order.details.get("voxels")
    if not isinstance(voxels, (list, tuple)) or len(voxels) != label.array.ndim:
        raise CannotFix("the check does not say by how many voxels the label is shifted")
    known: dict[tuple[int, ...], float] = {}

    def unlike(by: tuple[int, ...]) -> float:
        if by not in known:
            moved = opened.with_label(shifted(label.array, by, cohort.labels.background))
            found = cohort.distance(moved)
            known[by] = np.inf if found is None else found
        return known[by]

    before = the_distance(opened, cohort)
    best = min([tuple(sign * round(value) for value in voxels) for sign in (-1, 1)], key=unlike)
    for step in (4, 2, 1):
        best = _descend(best, step, unlike)
    if unlike(best) > BETTER * before or not any(best):
        raise NothingToFix(
            f"moved it would be no more like the others ({before:.2f}, moved {unlike(best):.2f})"
        )
    return Done(
        opened.with_label(shifted(label.array, best, cohort.labels.background)),
        "the label lies beside what it shows",
        f"it was moved by {', '.join(map(str, best))} voxels (distance from the other cases {before:.2f}, now "
        f"{unlike(best):.2f})",
        {"voxels": list(best), "distance_before": before, "distance_after": unlike(best)},
        look=True,
    )


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


def shifted(array: Array, by: Sequence[int], fill: int) -> Array:
    """Moved by whole voxels; what leaves is lost, `fill` comes in.

    >>> shifted(np.array([1, 2, 3]), [1], 0).tolist()
    [0, 1, 2]
    """
    out = np.full_like(array, fill)
    to = tuple(slice(max(0, step), size + min(0, step)) for step, size in zip(by, array.shape, strict=True))
    out_of = tuple(
        slice(max(0, -step), size + min(0, -step)) for step, size in zip(by, array.shape, strict=True)
    )
    out[to] = array[out_of]
    return out


def label_flipped(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """A label that runs the other way than its image: flipped back."""
    label = the_label(opened)
    before = the_distance(opened, cohort)
    options = []
    for axes in named_axes(order, label.array.ndim):
        flipped = opened.with_label(np.ascontiguousarray(np.flip(label.array, axes)))
        options.append((the_distance(flipped, cohort), axes, flipped))
    after, axes, flipped = min(options, key=lambda item: item[:2])
    if after > BETTER * before:
        raise NothingToFix(f"flipped it would be no more like the others ({before:.2f}, flipped {after:.2f})")
    return Done(
        flipped,
        f"the label runs the other way than its image along {axes_said(axes)}",
        f"it was flipped back (distance from the other cases {before:.2f}, now {after:.2f})",
        {"axes": list(axes), "distance_before": before, "distance_after": after},
        look=True,
    )


def named_axes(order: Order, ndim: int) -> list[tuple[int, ...]]:
    """The axes of the array, together, that a finding names; each by itself where it names none."""
    named = order.details.get("axes", [order.details["axis"]] if "axis" in order.details else None)
    if named is None:
        return [(axis,) for axis in range(ndim)]
    return [tuple(int(axis) for axis in named)]


def axes_said(axes: Sequence[int]) -> str:
    """'axis 0' or 'axes 0 and 2'."""
    return f"ax{'i' if len(axes) == 1 else 'e'}s {' and '.join(map(str, axes))}"


def the_label(opened: Opened) -> LabelMap:
    """The label of a case that has to have one."""
    if opened.label is None:
        raise CannotFix("there is no label that can be read")
    return opened.label


def the_distance(opened: Opened, cohort: Cohort) -> float:
    """How unlike the others a case is, where that has to be known."""
    distance = cohort.distance(opened)
    if distance is None:
        raise CannotFix("there are too few other cases to measure it by")
    return distance


def _same_steps(first: Geometry, second: Geometry) -> bool:
    """Whether the spacings are the same, in whichever order."""
    return bool(np.allclose(sorted(first.spacing_mm), sorted(second.spacing_mm), rtol=0.01))


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
