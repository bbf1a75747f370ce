"""A synthetic chest MRI with bright blood pools; the left atrium alone is labelled, as in MSD Task02_Heart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesal.phantoms.canvas import Canvas, Field, Rng, Tube, blend_union, largest_part, rician, rotation
from vesal.volume.geometry import Geometry

VALUES = {"background": 0, "left atrium": 1}
SIZE = (72, 60, 40)
FIELD_MM = (276.0, 228.0, 150.0)

# Typical contrast-enhanced intensities, in the units of MSD Task02 (blood about 1100, lungs under 60).
_LUNG, _MUSCLE, _FAT, _MYOCARDIUM, _BLOOD, _MARROW, _LIVER = 45.0, 270.0, 190.0, 380.0, 1080.0, 240.0, 420.0

# The chambers in mm from the heart's centre (right, anterior, superior): left atrium, its appendage and veins.
_VEINS = (
    ((22.0, -20.0, 14.0), (40.0, -28.0, 22.0), (66.0, -32.0, 42.0), (86.0, -34.0, 60.0)),
    ((22.0, -24.0, -2.0), (40.0, -36.0, -10.0), (62.0, -48.0, -24.0), (80.0, -54.0, -44.0)),
    ((-26.0, -18.0, 14.0), (-42.0, -26.0, 24.0), (-62.0, -32.0, 40.0), (-78.0, -34.0, 58.0)),
    ((-26.0, -24.0, 0.0), (-42.0, -36.0, -6.0), (-62.0, -48.0, -20.0), (-76.0, -54.0, -40.0)),
)


def draw(rng: Rng, shape: tuple[int, int, int]) -> tuple[Field, NDArray[np.uint8], Geometry]:
    """Image (1, *shape), label (*shape) and grid of one heart."""
    canvas = Canvas.lay(rng, shape, FIELD_MM, tilt_degrees=6.0)
    canvas = canvas.moved(rng.normal(0.0, 5.0, 3), np.eye(3))
    canvas.warp(rng, 2.5, 32.0)
    image = _chest(rng, canvas)
    label = _heart(rng, canvas, image)
    image *= 1.0 + np.float32(0.05) * canvas.noise(rng, 5.0)
    image *= canvas.coil_shading(rng, rng.uniform(0.3, 0.6))
    image = rician(rng, image, rng.uniform(22.0, 45.0))
    return image[None], label, canvas.geometry


def _chest(rng: Rng, canvas: Canvas) -> Field:
    """Chest wall with ribs, lungs with vessels, spine, liver."""
    x, y, z = canvas.points
    girth = rng.uniform(0.92, 1.03)
    fat_mm, muscle_mm = rng.uniform(7.0, 16.0), rng.uniform(13.0, 18.0)
    radii = np.array([132.0, 102.0]) * girth
    level = ((np.abs(x) / radii[0]) ** 2.4 + (np.abs(y + 4.0) / radii[1]) ** 2.4) ** (1.0 / 2.4)
    body = (level - 1.0) * np.float32(radii.min())
    image = np.zeros(canvas.shape, dtype=np.float32)
    canvas.paint(image, body, _FAT + 120.0)
    canvas.paint(image, body + fat_mm, _MUSCLE)
    cavity = body + fat_mm + muscle_mm
    ribs = np.abs((z + 0.45 * y + 200.0) % 27.0 - 13.5) - 5.0  # slanted bands in the wall
    canvas.paint(image, np.maximum(np.maximum(ribs, body + fat_mm + 3.0), -cavity), 140.0)
    dome = z + 62.0 + rng.uniform(-6.0, 8.0)
    dome = dome - 26.0 * np.exp(-(((np.abs(x + 6.0) - 62.0) / 46.0) ** 2) - ((y + 5.0) / 70.0) ** 2)
    mediastinum = np.hypot((x + 4.0) / 1.0, (y + 10.0) * 0.42) - 30.0
    lungs = np.maximum(np.maximum(cavity, -mediastinum), -dome)
    canvas.paint(image, cavity, _FAT + 30.0)
    canvas.paint(image, np.maximum(cavity, dome + 3.0), _LIVER)
    canvas.paint(image, np.maximum(np.maximum(cavity, dome + 3.0), x + 18.0), 260.0)
    canvas.paint(image, lungs, _LUNG)
    bumps = canvas.noise(rng, 4.0)
    canvas.paint(image, np.maximum(lungs + 6.0, 2.2 - bumps) * 1.5, 420.0)  # vessels in cross-section
    body_height = (z + 200.0 + rng.uniform(0.0, 28.0)) % 28.0
    spine = canvas.ellipsoid((0.0, -62.0, 0.0), (19.0, 17.0, 900.0))
    canvas.paint(image, canvas.ellipsoid((0.0, -74.0, 0.0), (46.0, 22.0, 900.0)), _MUSCLE - 20.0)
    canvas.paint(image, spine - 2.5, 60.0)
    canvas.paint(image, spine, np.where(body_height < 6.0, 130.0, _MARROW).astype(np.float32))
    canvas.paint(image, canvas.ellipsoid((0.0, -87.0, 0.0), (9.0, 7.5, 900.0)), 480.0)
    return image


def _heart(rng: Rng, canvas: Canvas, image: Field) -> NDArray[np.uint8]:
    """Paint the heart and its vessels over the chest; return the left atrium."""
    place = np.array([-14.0, 9.0, 0.0]) + rng.normal(0.0, (4.0, 2.5, 4.0))
    turn = rotation(rng.normal(0.0, 7.0, 3))
    scale = rng.uniform(0.9, 1.1, 3) * rng.uniform(0.94, 1.06)
    heart = canvas.moved(place, turn, scale)
    atrium, veins, mitral = _left_atrium(rng, heart)
    tilt = _towards(np.array([-0.62, 0.52, -0.58]))
    thick = rng.uniform(8.5, 12.0)
    left = heart.ellipsoid((-34.0, 20.0, -24.0), (21.0 * rng.uniform(0.85, 1.15), 22.0, 41.0), tilt)
    right = heart.ellipsoid((-8.0, 36.0, -22.0), (31.0, 20.0, 37.0), rotation((-30.0, -25.0, 0.0)))
    right = np.maximum(right, -(left - thick))
    right_atrium = heart.ellipsoid((31.0, 16.0, -8.0), (20.0, 23.0, 27.0) * rng.uniform(0.9, 1.1, 3))
    vessels, right_vessels = _great_vessels(rng, heart)
    everything = np.minimum.reduce([left - thick, right - 4.0, right_atrium - 3.0, atrium - 3.0])
    canvas.paint(image, everything - rng.uniform(3.0, 7.0), _FAT)
    canvas.paint(image, np.minimum.reduce([left - thick, right - 3.5, right_atrium - 2.5]), _MYOCARDIUM)
    canvas.paint(image, np.minimum(vessels, right_vessels) - 1.8, _FAT + 60.0)
    blood = _BLOOD * rng.uniform(0.92, 1.06)
    right_blood = blood * rng.uniform(0.82, 1.05)
    canvas.paint(image, np.minimum.reduce([right, right_atrium, right_vessels]), right_blood)
    canvas.paint(image, np.minimum(left, vessels), blood * rng.uniform(0.95, 1.05))
    canvas.paint(image, veins, blood)
    canvas.paint(image, np.maximum(atrium - rng.uniform(2.5, 3.5), -mitral), _MYOCARDIUM)
    canvas.paint(image, np.maximum(mitral, left - 6.0), blood)  # the open valve
    canvas.paint(image, atrium, blood)
    return largest_part(atrium < 0).astype(np.uint8)


def _left_atrium(rng: Rng, heart: Canvas) -> tuple[Field, Field, Field]:
    """Distances to the left atrium with its stubs, to the whole pulmonary veins, and to the mitral opening."""
    grow = rng.uniform(0.86, 1.16)
    radii = np.array([31.0, 20.0, 25.0]) * grow * rng.uniform(0.93, 1.07, 3)
    atrium = heart.ellipsoid((-2.0, -16.0, 6.0), radii, rotation(rng.normal(0.0, 6.0, 3)))
    belly = heart.ellipsoid((-8.0, -8.0, -2.0), radii * (0.72, 0.85, 0.8))
    atrium = blend_union(atrium, belly, 8.0)
    appendage = [(-24.0, -4.0, 14.0), (-38.0, 6.0, 20.0), (-44.0, 18.0, 17.0), (-40.0, 26.0, 12.0)]
    ear = heart.tubes([(appendage, (8.0, 8.5, 6.0, 3.5))])
    atrium = blend_union(atrium, ear, 6.0)
    stubs, veins = [], []
    for vein in _VEINS:
        nodes = np.asarray(vein) + rng.normal(0.0, 2.5, (4, 3))
        nodes[0] = vein[0]
        wide = rng.uniform(6.5, 8.5)
        stubs.append((nodes[:2], (wide + 2.0, wide)))
        veins.append((nodes[1:], (wide, 0.75 * wide, 0.45 * wide)))
    atrium = blend_union(atrium, heart.tubes(stubs), 6.0)
    mitral = heart.tubes([([(-12.0, -2.0, -6.0), (-27.0, 13.0, -17.0)], (13.5, 13.5))])
    return atrium, heart.tubes(veins), mitral


def _great_vessels(rng: Rng, heart: Canvas) -> tuple[Field, Field]:
    """Distances to the aorta, and to the venae cavae with the pulmonary arteries."""
    wide = rng.uniform(0.88, 1.15)
    aorta = [
        (-8, 16, 2),
        (2, 20, 18),
        (10, 20, 44),
        (6, 8, 66),
        (-6, -16, 76),
        (-14, -36, 66),
        (-17, -48, 30),
        (-15, -53, -30),
        (-12, -55, -110),
    ]
    pulmonary = [(-14, 44, 4), (-18, 34, 28), (-16, 12, 42)]
    forks = [
        [(-16, 12, 42), (8, -2, 41), (34, -12, 40), (60, -20, 42)],
        [(-16, 12, 42), (-34, -10, 46), (-56, -26, 46)],
    ]
    upper, lower = [(30, 8, 110), (29, 6, 40), (30, 10, 10)], [(28, 6, -18), (28, -4, -48), (24, -10, -110)]
    arteries = heart.tubes([(aorta, [wide * r for r in (12, 14, 14, 13, 12.5, 12, 11.5, 11, 10.5)])])
    veins: list[Tube] = [(upper, (9, 9, 10)), (lower, (12, 12, 11)), (pulmonary, (13, 12.5, 12))]
    veins += [(forks[0], (11, 10, 9, 5)), (forks[1], (11, 9, 5))]
    return arteries, heart.tubes(veins)


def _towards(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rotation that lays the third axis along `direction`."""
    third = direction / np.linalg.norm(direction)
    first = np.cross((0.0, 1.0, 0.0), third)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(third, first), third], axis=1)
