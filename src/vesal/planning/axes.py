"""Axes of a network's input: which lie within thick slices, which runs from left to right, which may be mirrored."""

from __future__ import annotations

from vesal.planning.plan import Plan
from vesal.volume.geometry import Geometry, Turn

#: A grid whose coarsest axis exceeds its finest by more than this is anisotropic (nnU-Net). It is planned in 2D where
#: it has few slices, and warped within its slices only ("dummy 2D"): a rotation out of the plane would interpolate
#: between slices that share no structure.
ANISOTROPIC = 3.0


def prepared_turn(grid: Geometry, plan: Plan) -> Turn:
    """The permutation and flips that bring a scan's axes into the plan's order."""
    turn = grid.turn_to_ras()
    if plan.as_stored:
        turn = Turn(tuple(range(grid.ndim)), (False,) * grid.ndim)
    order = plan.axis_order or tuple(range(grid.ndim))
    return Turn(tuple(turn.order[axis] for axis in order), tuple(turn.flips[axis] for axis in order))


def warped_axes(plan: Plan) -> tuple[int, ...]:
    """Network axes that rotation, scaling and deformation act on: all, or those within the slice."""
    if plan.dimension == 3 and max(plan.spacing_mm) > ANISOTROPIC * min(plan.spacing_mm):
        coarse = plan.spacing_mm.index(max(plan.spacing_mm))
        return tuple(axis for axis in range(3) if axis != coarse)
    return tuple(range(plan.dimension))


def lateral_axis(plan: Plan) -> int | None:
    """The network axis that runs from the patient's left to right, or None where there is none or none is known.

    Prepared arrays lie along R, A, S; a 2D network sees what remains of them without the slice axis. Of scans that are
    taken as they are stored, x is held to be it, as it is in nearly all axial ones.
    """
    if plan.axis_order is not None:
        place = plan.axis_order.index(0) - (plan.scan_dimension - plan.dimension)
        return place if place >= 0 and plan.scan_dimension == 3 else None
    if plan.dimension == 3:
        return 0
    return 0 if plan.slice_axis in (1, 2) else None


def mirror_axes(plan: Plan) -> tuple[int, ...]:
    """The plan's mirror axes without those that could make a left organ look like a right one.

    A 2D image has no known left and right, so where labels name sides a mirror on either axis might exchange
    them: such images are not mirrored. (Sagittal slices of a volume can be: neither of their axes is left/right.)
    A lone left organ has no label for its mirror image, so with it the left/right axis is not mirrored.
    """
    sided = bool(plan.labels.swaps) or plan.labels.one_sided
    if sided and plan.scan_dimension == 2:
        return ()
    if plan.labels.one_sided:
        return tuple(axis for axis in plan.mirror_axes if axis != lateral_axis(plan))
    return plan.mirror_axes
