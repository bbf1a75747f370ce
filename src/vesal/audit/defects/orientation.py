"""Arrays whose axes run otherwise than in most cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.editable_case import EditableCase, FixResult, NothingToFix
from vesal.audit.finding import RARE, Finding, find_in
from vesal.audit.reference_cases import BETTER, ReferenceCases
from vesal.volume.geometry import Geometry, Turn

_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))


def find_orientations(cases: ReferenceCases) -> Iterable[Finding]:
    usual = cases.axis_codes
    wrong = {record.id: record.axis_codes for record in cases.volumes if record.axis_codes != usual}
    if len(wrong) > RARE * len(cases.volumes):
        return  # a mixture is how some hospitals export, and every image is turned to RAS; a few are suspicious
    yield from find_in(
        "orientation",
        "warning",
        f"The axes of an image run otherwise than in most cases ({usual})",
        "Look at the slices: if the patient stands upright in them the header is right and nothing is to be done "
        "(all images are turned to RAS); if not, correct the affine of image and label.",
        wrong,
    )


def fix_orientation(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """Arrays turned to the others' axes (RAS+ where they have none in common), voxel by voxel; the place stays.

    Where the axes are those of the others but for their direction, the header may be wrong and the voxels right (LPS
    taken for RAS): if the case is clearly more like the others so, and they tell a mirror image, the header is
    corrected and the voxels stay.
    """
    grid = case.image.geometry
    wanted = others.axis_codes or "RAS"
    if grid.ndim == 2 or grid.axis_codes == wanted:
        raise NothingToFix("the axes run as in the other cases")
    turned = _turned(case, wanted)
    wrong = f"the axes run {grid.axis_codes} where the others' run {wanted}"
    numbers: dict[str, Any] = {"from": grid.axis_codes, "to": wanted}
    if (corrected := _mirrored_world(case, wanted)) is not None:
        by_header, by_voxel = others.distance(turned), others.distance(corrected)
        numbers |= {"unlike_if_turned": by_header, "unlike_if_corrected": by_voxel}
        nearer = by_header is not None and by_voxel is not None and by_voxel < BETTER * by_header
        mirrored = [_axis(want) for code, want in zip(grid.axis_codes, wanted, strict=True) if code != want]
        if nearer and others.tells_mirrored(mirrored):
            return FixResult(
                corrected,
                wrong,
                f"voxel by voxel it is like the others (distance {by_voxel:.2f}, by its header {by_header:.2f}), so "
                "the header was corrected and the voxels left as they are",
                numbers,
                look=True,
            )
    return FixResult(
        turned,
        wrong,
        f"image{' and label were' if case.label is not None else ' was'} turned to {wanted} without loss; every "
        "voxel keeps its value and its place",
        numbers,
    )


def _turned(case: EditableCase, wanted: str) -> EditableCase:
    grid = case.image.geometry
    turn = turn_to(grid.axis_codes, wanted)
    turned = case.with_image(np.ascontiguousarray(turn.apply(case.image.array)), grid.turned(turn))
    if (label := case.label) is None:
        return turned
    own = turn_to(label.geometry.axis_codes, wanted)
    return turned.with_label(np.ascontiguousarray(own.apply(label.array)), label.geometry.turned(own))


def _mirrored_world(case: EditableCase, wanted: str) -> EditableCase | None:
    """The same voxels with the world's axes the other way where the codes differ; None where it takes another order."""
    grid = case.image.geometry
    codes = grid.axis_codes
    if any(code not in (want, _OPPOSITE[want]) for code, want in zip(codes, wanted, strict=True)):
        return None
    world = np.eye(4)
    for code, want in zip(codes, wanted, strict=True):
        if code != want:
            world[_axis(want), _axis(want)] = -1.0
    return case.moved(Geometry(grid.shape, world @ grid.affine))


def _axis(letter: str) -> int:
    """The RAS axis that runs towards, or away from, a letter."""
    return next(axis for axis, pair in enumerate(("RL", "AP", "SI")) if letter in pair)


def turn_to(codes: str, wanted: str) -> Turn:
    """The turn from one orientation to another.

    >>> turn_to("LPS", "RAS")
    Turn(order=(0, 1, 2), flips=(True, True, False))
    >>> turn_to("SAR", "RAS").order
    (2, 1, 0)
    """
    order = tuple(
        next(axis for axis, code in enumerate(codes) if code in (letter, _OPPOSITE[letter]))
        for letter in wanted
    )
    return Turn(order, tuple(codes[axis] != letter for axis, letter in zip(order, wanted, strict=True)))


FIND = (find_orientations,)
FIX = {"orientation": Fix(fix_orientation)}
