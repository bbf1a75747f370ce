"""A synthetic cine MRI stack across the left ventricle: thick slices, shifted by breathing, labelled as ACDC is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesal.phantoms.canvas import Canvas, Field, Rng, largest_part, rician, rotation
from vesal.volume.geometry import Geometry

VALUES = {"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3}
SIZE = (96, 96, 10)
FIELD_MM = (146.0, 146.0, 100.0)

# Balanced steady-state intensities: blood and fat bright, muscle dark, lung nearly black.
_LUNG, _MUSCLE, _MYOCARDIUM, _BLOOD, _FAT, _LIVER = 18.0, 95.0, 105.0, 400.0, 460.0, 150.0

#: Thin sheets that are averaged into one thick slice, over this share of the distance between slices.
_SHEETS, _THICKNESS = 4, 0.8


def draw(rng: Rng, shape: tuple[int, int, int]) -> tuple[Field, NDArray[np.uint8], Geometry]:
    """Image (1, *shape), label (*shape) and grid of one stack."""
    thick = Canvas.lay(rng, shape, FIELD_MM, tilt_degrees=14.0)
    canvas = _sheets(rng, thick)
    image = _surroundings(rng, canvas)
    inside = _ventricles(rng, canvas, image)
    image = _averaged(image)
    shares = np.stack([_averaged(part) for part in inside])  # of RV, myocardium and LV in every voxel
    label = np.where(shares.sum(axis=0) > 0.5, shares.argmax(axis=0) + 1, 0).astype(np.uint8)
    label[~largest_part(label > 0)] = 0  # crumbs where a wall thins out
    image *= 1.0 + np.float32(0.06) * thick.noise(rng, (4.0, 4.0, 10.0))
    image *= thick.coil_shading(rng, rng.uniform(0.25, 0.55))
    image = rician(rng, image, rng.uniform(7.0, 15.0))
    return image[None], label, thick.geometry


def _sheets(rng: Rng, thick: Canvas) -> Canvas:
    """The stack at the resolution of thin sheets in the slices' own axes, every slice shifted in plane."""
    slices = thick.shape[2]
    geometry = thick.geometry.with_shape((*thick.shape[:2], slices * _SHEETS))
    inplane = np.diag(np.sign(np.diag(thick.geometry.affine)))
    affine = inplane @ np.diag([*geometry.spacing_mm, 1.0])  # an upright patient: the tilt is the planning's
    canvas = Canvas(Geometry(geometry.shape, affine))
    part = (np.arange(slices * _SHEETS) % _SHEETS + 0.5) / _SHEETS - 0.5
    canvas.points[2] -= (part * (1.0 - _THICKNESS) * affine[2, 2] * _SHEETS).astype(np.float32)
    breath = np.repeat(rng.normal(0.0, 1.1, (2, slices)), _SHEETS, axis=1).astype(np.float32)
    canvas.points[:2] += breath[:, None, None, :]
    canvas.points += rng.normal(0.0, (5.0, 5.0, 4.0)).astype(np.float32)[:, None, None, None]
    canvas.edge_mm = float(np.mean(canvas.geometry.spacing_mm[:2]))
    canvas.warp(rng, 1.6, 28.0)
    return canvas.moved((0.0, 0.0, 0.0), rotation((0.0, 0.0, rng.uniform(-18.0, 18.0))))


def _averaged(field: Field) -> Field:
    return field.reshape(*field.shape[:2], -1, _SHEETS).mean(axis=3)


def _surroundings(rng: Rng, canvas: Canvas) -> Field:
    """Chest wall with fat and ribs, lung with vessels, liver, stomach, descending aorta."""
    x, y, z = canvas.points
    fat_mm, muscle_mm = rng.uniform(8.0, 20.0), rng.uniform(9.0, 13.0)
    body = np.float32(96.0) * (np.hypot((x + 22.0) / 118.0, (y + 22.0 + 0.12 * z) / 98.0) - 1.0)
    image = np.zeros(canvas.shape, dtype=np.float32)
    canvas.paint(image, body, _FAT)
    canvas.paint(image, body + fat_mm, _MUSCLE)
    ribs = np.abs((np.degrees(np.arctan2(y + 22.0, x + 22.0)) + 0.7 * z + 400.0) % 24.0 - 12.0) - 4.0
    canvas.paint(image, np.maximum(ribs, np.abs(body + fat_mm + 0.5 * muscle_mm) - 3.0), 210.0)
    cavity = body + fat_mm + muscle_mm
    canvas.paint(image, cavity, _LUNG)
    spots = canvas.noise(rng, (3.5, 3.5, 14.0))
    canvas.paint(image, np.maximum(cavity + 4.0, 2.2 * (2.0 - spots)), 260.0)
    texture = 1.0 + np.float32(0.1) * canvas.noise(rng, (3.0, 3.0, 8.0))
    dome = y + 34.0 + 0.22 * z + 0.004 * (x - 18.0) ** 2 + 2.0 * canvas.noise(rng, 25.0)
    canvas.paint(image, np.maximum(dome - 3.5, cavity), _FAT * 0.8)
    canvas.paint(image, np.maximum(dome, cavity), _LIVER * texture)
    veins = canvas.noise(rng, (5.0, 5.0, 20.0))
    canvas.paint(image, np.maximum(np.maximum(dome + 8.0, cavity), 2.5 * (1.5 - veins)), 290.0)
    stomach = canvas.ellipsoid((-44.0, -58.0, -10.0), (26.0, 17.0, 60.0), rotation((0.0, 0.0, 25.0)))
    canvas.paint(image, stomach - 4.0, _FAT * 0.85)
    canvas.paint(image, stomach, 70.0 + 90.0 * (canvas.noise(rng, 12.0) > 0.4))
    return image


def _ventricles(rng: Rng, canvas: Canvas, image: Field) -> list[Field]:
    """Paint the heart; return the shares of right ventricle, myocardium and left ventricle in every voxel."""
    base = rng.uniform(36.0, 44.0)
    length = rng.uniform(78.0, 92.0)
    cavity_mm, wall_mm = rng.uniform(16.0, 27.0), rng.uniform(7.5, 12.5)  # from end-systole to dilated
    x, y, z = canvas.points
    drift = rng.normal((-10.0, 0.0), 4.0)
    depth = (np.float32(base) - z) / np.float32(length)  # 0 at the base, 1 at the apex
    u = x + 10.0 - np.float32(drift[0]) * depth
    v = y - 2.0 - np.float32(drift[1]) * depth
    angle = np.arctan2(v, u)
    oval = 1.0 + rng.uniform(0.0, 0.06) * np.cos(2.0 * (angle - rng.uniform(0.0, np.pi)))
    radius = np.hypot(u, v) * oval.astype(np.float32)
    wall = wall_mm * (1.0 + 0.14 * np.cos(angle - rng.uniform(0.0, 6.3)) + 0.05 * canvas.noise(rng, 14.0))
    outer = radius - (cavity_mm + wall_mm) * _taper(depth, 1.0)
    endo = np.minimum(cavity_mm * _taper(depth, 0.9), (cavity_mm + wall_mm) * _taper(depth, 1.0) - wall)
    inner = radius - endo
    above = (np.float32(base) - z) * -1.0  # positive above the mitral plane
    reach = 0.5 * (cavity_mm + wall_mm)
    crescent = _crescent(rng, canvas, (u, v), depth, cavity_mm + wall_mm)
    right = np.maximum(np.maximum(crescent, -outer), above)
    left = np.maximum(inner, above)
    muscle = np.maximum(np.maximum(outer, -inner), above)
    canvas.paint(
        image, np.maximum(np.minimum(outer, crescent) - rng.uniform(2.5, 6.5), above - 12.0), _FAT * 0.75
    )
    _atria(canvas, image, (u, v), above, reach)
    canvas.paint(image, np.maximum(np.maximum(crescent - 3.0, -outer), above - 6.0), _MYOCARDIUM)
    canvas.paint(image, muscle, _MYOCARDIUM * rng.uniform(0.9, 1.15))
    blood = _BLOOD * rng.uniform(0.92, 1.08)
    canvas.paint(image, right, blood * rng.uniform(0.85, 1.0))
    canvas.paint(image, left, blood)
    _trabeculae(rng, canvas, image, left, right)
    _papillary(rng, canvas, image, (u, v, depth), inner)
    cavity = canvas.cover(left)
    ring = canvas.cover(muscle) * (1.0 - cavity)
    return [canvas.cover(right) * (1.0 - cavity) * (1.0 - ring), ring, cavity]


def _taper(depth: Field, end: float) -> Field:
    """How wide a ventricle is, 1 near the base and 0 at the depth `end`: a blunt ellipsoid."""
    level = np.clip(depth / end, 0.0, 1.0)
    return np.sqrt(np.maximum(1.0 - level**2.4, 0.0)) * (1.0 - 0.08 * np.clip(-depth, 0.0, 1.0))


def _crescent(rng: Rng, canvas: Canvas, plane: tuple[Field, Field], depth: Field, outer_mm: float) -> Field:
    """Distance to the right ventricle's free wall, before the left ventricle is cut out of it."""
    u, v = plane
    wide = _taper(depth, rng.uniform(0.8, 0.9))
    dilated = rng.uniform(0.9, 1.2)
    at = 0.62 * outer_mm * wide + 4.0
    across, along = dilated * 0.86 * outer_mm * wide, dilated * 1.06 * outer_mm * wide
    slope = np.float32(rng.uniform(0.1, 0.3))
    p, q = u - at, v - slope * at
    level = np.hypot(p / np.maximum(across, 1.0), q / np.maximum(along, 1.0))
    return (level - 1.0) * np.maximum(0.5 * (across + along), 1.0) + np.float32(0.8) * canvas.noise(rng, 9.0)


def _atria(canvas: Canvas, image: Field, plane: tuple[Field, Field], above: Field, reach: float) -> None:
    """Above the valves: left and right atrium and the outflow tract, bright and unlabelled."""
    u, v = plane
    left = np.hypot((u + 4.0) / 1.15, v + 7.0) - 1.25 * reach
    right = np.hypot(u - 2.6 * reach, (v + 8.0) / 1.1) - 1.05 * reach
    tract = np.hypot(u - 14.0, v - 1.15 * reach) - 13.0
    rooms = np.maximum(np.minimum(np.minimum(left, right), tract), -above)
    canvas.paint(image, np.maximum(rooms - 2.5, -above), _MYOCARDIUM)
    canvas.paint(image, rooms, _BLOOD * 0.95)


def _trabeculae(rng: Rng, canvas: Canvas, image: Field, left: Field, right: Field) -> None:
    strands = canvas.noise(rng, (2.2, 2.2, 16.0))
    for room, wide in ((left, 5.0), (right, 8.0)):
        near = np.clip((room + wide) / wide, 0.0, 1.0) * canvas.cover(room)
        image -= near * np.clip(strands, 0.0, 1.2) * np.float32(130.0)


def _papillary(
    rng: Rng, canvas: Canvas, image: Field, place: tuple[Field, Field, Field], inner: Field
) -> None:
    """Two muscles within the cavity at mid height; ACDC counts them to the cavity."""
    u, v, depth = place
    for degrees in (rng.uniform(110.0, 150.0), rng.uniform(215.0, 250.0)):
        angle = np.deg2rad(degrees)
        rim = np.hypot(u, v) - inner  # the cavity's radius here
        axis = np.hypot(u - 0.68 * rim * np.cos(angle), v - 0.68 * rim * np.sin(angle))
        muscle = np.maximum(axis - rng.uniform(2.8, 4.2), 40.0 * (np.abs(depth - 0.5) - 0.2))
        canvas.paint(image, np.maximum(muscle, inner), _MYOCARDIUM)
