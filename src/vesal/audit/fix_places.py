"""Fixes of where an image lies: place, units, spacing, axes. Each measures its fault before it touches anything.

A fix is (opened, order, cohort) -> Done; it raises `NothingToFix` where the fault is not there and `CannotFix` where it
cannot be fixed.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from vesal.audit.editable_case import CannotFix, Done, NothingToFix, Opened, Order, resampled
from vesal.audit.reference_cases import BETTER, Cohort
from vesal.volume.geometry import TOLERANCE_MM, Array, Geometry, Turn
from vesal.volume.resample import resample_label

#: A spacing is a power of ten off when it is within this factor of the others afterwards.
_SPACING_FACTOR = 1.6
#: What a unit's factor can be: cm, m, micrometres and tenths of millimetres that were taken for millimetres.
_UNITS = {10.0: "cm", 1000.0: "m", 0.001: "µm", 0.1: "tenths of mm"}
#: Units that a NIfTI header may name, besides millimetres.
_NAMED = {"meter": 1000.0, "micron": 0.001}
#: Spacings that a scan may have (mm), where no other case tells.
_PLAUSIBLE_MM = (0.05, 20.0)
#: Cosine between two axes above which a grid is sheared; less is single precision.
_SHEARED = 1e-4
_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))


# --- place ----------------------------------------------------------------------------------------------------


def two_forms(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """A NIfTI header with two places: the one that fits the label, or else the others' spacing and axes, is kept."""
    every = [forms(path) for path in opened.case.images]
    grids = next((pair for pair in every if pair is not None), None)
    label_grids = None if opened.case.label is None else forms(opened.case.label)
    if grids is None:
        return _label_forms(opened, label_grids)
    fits = [_place_score(grid, opened, label_grids, cohort) for grid in grids]
    if abs(fits[0] - fits[1]) < 0.02:
        raise CannotFix(
            "the sform and the qform differ and neither label nor other cases tell which is right"
        )
    best = int(fits[1] < fits[0])
    kept, other = ("sform", "qform") if best == 0 else ("qform", "sform")
    gap, grid = grids[0].distance_mm(grids[1]), grids[best]
    done = replace(opened.with_image(opened.image.array, grid), rewrite=opened.rewrite | {"image"})
    if label_grids is not None and opened.label is not None and label_grids[0].shape == grid.shape:
        nearest = min(label_grids, key=grid.distance_mm)
        done = replace(done.with_label(opened.label.array, nearest), rewrite=done.rewrite | {"label"})
    told = "label" if fits[1 - best] >= 1 else "other cases"
    return Done(
        done,
        f"the sform and the qform of the header lie {gap:.3g} mm apart",
        f"the {kept} fits the {told} and is kept in both; the {other} was replaced",
        {"kept": kept, "distance_mm": gap},
    )


def forms(path: Path) -> tuple[Geometry, Geometry] | None:
    """The grids of a NIfTI file's sform and qform where both are set and they differ; else None."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    # Imported here: other formats need none of it.
    import nibabel

    try:
        header = nibabel.load(path).header
        (sform, s_code), (qform, q_code) = header.get_sform(coded=True), header.get_qform(coded=True)
        if not s_code or not q_code or sform is None or qform is None:
            return None
        shape = header.get_data_shape()[:3]
        grids = Geometry(shape, sform), Geometry(shape, qform)
    except Exception:  # a header that nibabel cannot make two grids of has no second place
        return None
    limit = max(TOLERANCE_MM, 0.01 * min(grids[0].spacing_mm))
    return grids if grids[0].distance_mm(grids[1]) > limit else None


def _label_forms(opened: Opened, grids: tuple[Geometry, Geometry] | None) -> Done:
    """Of a label's two places the one where the image is."""
    if grids is None:
        raise NothingToFix("the two places of the header agree")
    if opened.label is None or grids[0].shape != opened.image.geometry.shape:
        raise CannotFix("the sform and the qform of the label differ and its shape is not the image's")
    gaps = [grid.distance_mm(opened.image.geometry) for grid in grids]
    best = int(gaps[1] < gaps[0])
    done = replace(opened.with_label(opened.label.array, grids[best]), rewrite=opened.rewrite | {"label"})
    apart = grids[0].distance_mm(grids[1])
    return Done(
        done,
        f"the sform and the qform of the label's header lie {apart:.3g} mm apart",
        f"the {('sform', 'qform')[best]}, {gaps[best]:.3g} mm from the image, is kept in both",
        {"kept": ("sform", "qform")[best], "distance_mm": apart},
    )


def _place_score(
    grid: Geometry, opened: Opened, label_grids: tuple[Geometry, Geometry] | None, cohort: Cohort
) -> float:
    """0 for a grid like the label's and the others'; 1 where the label lies elsewhere; a part for other spacing."""
    score = 0.0
    if opened.label is not None and label_grids is None and opened.label.geometry.shape == grid.shape:
        score += grid.distance_mm(opened.label.geometry) > 0.5 * min(grid.spacing_mm)
    turn = grid.turn_to_ras()
    ratio = cohort.spacing_ratio([grid.spacing_mm[axis] for axis in turn.order])
    if ratio is not None:
        score += 0.4 * min(1.0, float(np.abs(np.log(ratio)).max()))
    score += 0.3 * (grid.axis_codes != cohort.axis_codes)
    return score


def units(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """A whole grid in another unit than mm: everything times 10, 1000, 0.001 or 0.1, the label's too if it lay on it.

    The other cases tell the factor; where there are none, the unit that the header names does, if a scan can have
    that spacing. A header that names another unit, though its numbers are millimetres, is written anew.
    """
    grid = opened.image.geometry
    turn = grid.turn_to_ras()
    ratio = cohort.spacing_ratio([grid.spacing_mm[axis] for axis in turn.order])
    named = next((unit for path in opened.case.images if (unit := _named_unit(path))), None)
    shown = f"the spacing {_listed(grid.spacing_mm)} mm"
    if ratio is None:
        factor = _NAMED.get(named or "", 1.0)
        low, high = (limit / factor for limit in _PLAUSIBLE_MM)
        if named is None or not all(low <= step <= high for step in grid.spacing_mm):
            raise CannotFix("there are too few other cases to tell the unit by")
        return _in_mm(opened, factor, f"{shown} is in the unit that the header names, {named}")
    for factor, name in _UNITS.items():
        if np.abs(np.log(ratio * factor)).max() < np.log(_SPACING_FACTOR):
            return _in_mm(opened, factor, f"{shown} is in {name}, as the other cases show")
    if np.abs(np.log(ratio)).max() >= np.log(_SPACING_FACTOR):
        raise CannotFix(f"{shown} fits the other cases in no unit: cm, m, µm or tenths of mm")
    if named is None:
        raise NothingToFix("the spacing is that of the other cases")
    return Done(
        replace(opened, rewrite=opened.rewrite | {"image"}),
        f"the header names {named}s, and the spacing is that of the other cases in millimetres",
        "the header names millimetres now; the numbers are as they were",
        {"unit": named, "factor": 1.0},
    )


def _in_mm(opened: Opened, factor: float, wrong: str) -> Done:
    scaled = opened.image.geometry.affine.copy()
    scaled[:-1] *= factor
    moved = opened.moved(Geometry(opened.image.geometry.shape, scaled))
    return Done(
        _label_units(moved, opened, factor),
        wrong,
        f"spacing and place were multiplied by {factor:g}",
        {"factor": factor},
    )


def _named_unit(path: Path) -> str | None:
    """'meter' or 'micron' where a NIfTI header names it."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    import nibabel

    try:
        unit = nibabel.load(path).header.get_xyzt_units()[0]
    except Exception:  # a unit that nibabel does not know is none
        return None
    return unit if unit in _NAMED else None


def channel_grid(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """Channels that lay on different grids, which reading has brought onto one."""
    if not opened.apart:
        raise NothingToFix("all channels lie on one grid")
    return Done(
        opened,
        "the channels lie on different grids",
        f"they were brought onto one: {', '.join(opened.apart)}",
        {"files": list(opened.apart)},
        look=any("resampled" in told for told in opened.apart),
    )


def _label_units(done: Opened, before: Opened, factor: float) -> Opened:
    """The label in the same unit, though elsewhere: it has the spacing that the image had."""
    label = done.label
    if label is None or label.geometry.ndim != before.image.geometry.ndim:
        return done
    ratio = np.asarray(label.geometry.spacing_mm) / before.image.geometry.spacing_mm
    if (
        before.label is not None
        and label.geometry is before.label.geometry
        and np.allclose(ratio, 1, atol=0.1)
    ):
        scaled = label.geometry.affine.copy()
        scaled[:-1] *= factor
        return done.with_label(label.array, Geometry(label.geometry.shape, scaled))
    return done


def spacing(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """The spacing of one or all axes that is exactly a power of ten off: the first voxel keeps its place."""
    grid = opened.image.geometry
    turn = grid.turn_to_ras()
    ratio = cohort.spacing_ratio([grid.spacing_mm[axis] for axis in turn.order])
    if ratio is None:
        raise CannotFix("there are too few other cases to tell the spacing by")
    powers = np.rint(-np.log10(ratio))
    left = np.abs(np.log(ratio * 10.0**powers)).max()
    if not powers.any():
        if left < np.log(_SPACING_FACTOR):
            raise NothingToFix("the spacing is that of the other cases")
        raise CannotFix(
            f"the spacing {_listed(grid.spacing_mm)} mm is far from the others', and not by a power of ten"
        )
    tight = max(
        np.log(1.02), float(np.abs(np.log(cohort.spacings / np.median(cohort.spacings, axis=0))).max())
    )
    if left > min(tight, np.log(_SPACING_FACTOR)):
        raise CannotFix(
            f"the spacing {_listed(grid.spacing_mm)} mm is far from the others', and not by a power of ten"
        )
    factors = np.ones(grid.ndim)
    factors[list(turn.order)] = 10.0**powers
    affine = grid.affine.copy()
    affine[:-1, :-1] *= factors
    done = opened.moved(Geometry(grid.shape, affine))
    return Done(
        done,
        f"the spacing {_listed(grid.spacing_mm)} mm is a power of ten off the others'",
        f"it is {_listed(done.image.geometry.spacing_mm)} mm now",
        {"factors": factors.tolist()},
        look=True,
    )


# --- axes -----------------------------------------------------------------------------------------------------


def orientation(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """Arrays turned to the others' axes (RAS+ where they have none in common), voxel by voxel; the place stays.

    Where the axes are those of the others but for their direction, the header may be wrong and the voxels right (LPS
    taken for RAS): if the case is clearly more like the others so, the header is corrected and the voxels stay.
    """
    grid = opened.image.geometry
    wanted = cohort.axis_codes or "RAS"
    if grid.ndim == 2 or grid.axis_codes == wanted:
        raise NothingToFix("the axes run as in the other cases")
    turned = _turned(opened, wanted)
    wrong = f"the axes run {grid.axis_codes} where the others' run {wanted}"
    numbers: dict[str, Any] = {"from": grid.axis_codes, "to": wanted}
    if (corrected := _mirrored_world(opened, wanted)) is not None:
        by_header, by_voxel = cohort.distance(turned), cohort.distance(corrected)
        numbers |= {"unlike_if_turned": by_header, "unlike_if_corrected": by_voxel}
        if by_header is not None and by_voxel is not None and by_voxel < BETTER * by_header:
            return Done(
                corrected,
                wrong,
                f"voxel by voxel it is like the others (distance {by_voxel:.2f}, by its header {by_header:.2f}), so "
                "the header was corrected and the voxels left as they are",
                numbers,
                look=True,
            )
    return Done(
        turned,
        wrong,
        f"image{' and label were' if opened.label is not None else ' was'} turned to {wanted} without loss; every "
        "voxel keeps its value and its place",
        numbers,
    )


def _turned(opened: Opened, wanted: str) -> Opened:
    grid = opened.image.geometry
    turn = turn_to(grid.axis_codes, wanted)
    done = opened.with_image(np.ascontiguousarray(turn.apply(opened.image.array)), grid.turned(turn))
    if (label := opened.label) is not None:
        own = turn_to(label.geometry.axis_codes, wanted)
        done = done.with_label(np.ascontiguousarray(own.apply(label.array)), label.geometry.turned(own))
    return done


def _mirrored_world(opened: Opened, wanted: str) -> Opened | None:
    """The same voxels with the world's axes the other way where the codes differ; None where it takes another order."""
    grid = opened.image.geometry
    codes = grid.axis_codes
    if any(code not in (want, _OPPOSITE[want]) for code, want in zip(codes, wanted, strict=True)):
        return None
    flipped = {want for code, want in zip(codes, wanted, strict=True) if code != want}
    world = np.diag([*(-1.0 if flipped & set(pair) else 1.0 for pair in ("RL", "AP", "SI")), 1.0])
    return opened.moved(Geometry(grid.shape, world @ grid.affine))


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


def sheared(opened: Opened, order: Order, cohort: Cohort) -> Done:
    """A grid whose axes are not at right angles, onto the nearest one whose axes are (polar decomposition)."""
    grid = opened.image.geometry
    unit = grid.affine[:-1, :-1] / np.asarray(grid.spacing_mm)
    cosines = np.abs(unit.T @ unit - np.eye(grid.ndim)).max()
    if cosines < _SHEARED:
        raise NothingToFix("the axes are at right angles")
    angle = float(90 - np.degrees(np.arccos(min(1.0, cosines))))
    left, _, right = np.linalg.svd(unit)
    straight = _boxed(grid, left @ right)
    if straight.shape == grid.shape and straight.distance_mm(grid) < 0.5 * min(grid.spacing_mm):
        done = opened.moved(straight)
        how = "less than half a voxel: the header was straightened and the voxels left as they are"
    else:
        done = opened.with_image(resampled(opened.image, straight), straight)
        how = f"the image was resampled (linearly) onto {_times(straight.shape)} voxels at right angles"
        if opened.label is not None:
            moved = resample_label(opened.label, straight)
            done = done.with_label(moved.array, straight)
            how += ", the label by its nearest voxels"
    numbers = {"angle_degrees": angle, "shape": list(straight.shape)}
    return Done(done, f"the axes of the grid are sheared by {angle:.2g} degrees", how, numbers)


def _boxed(grid: Geometry, rotation: Array) -> Geometry:
    """The grid along `rotation`'s columns, of the same spacing, around all voxels of `grid`."""
    spacing_mm = np.asarray(grid.spacing_mm)
    corners = np.array(list(product(*[(0, size - 1) for size in grid.shape])), dtype=float)
    world = corners @ grid.affine[:-1, :-1].T + grid.affine[:-1, -1]
    along = world @ rotation / spacing_mm
    # A hundredth of a voxel is no reason for another row.
    low = along.min(axis=0)
    size = np.maximum(1, np.ceil(along.max(axis=0) - low - 0.01).astype(int) + 1)
    affine = np.eye(grid.ndim + 1)
    affine[:-1, :-1] = rotation * spacing_mm
    affine[:-1, -1] = rotation @ (low * spacing_mm)
    return Geometry(tuple(int(value) for value in size), affine)


def _listed(values: tuple[float, ...]) -> str:
    return "x".join(f"{value:.3g}" for value in values)


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
