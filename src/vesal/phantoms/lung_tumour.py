"""A synthetic chest CT in Hounsfield units with one lung tumour, as in MSD Task06_Lung."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesal.phantoms.canvas import FAR_MM, Canvas, Field, Rng, Tube, blend_union, largest_part, rotation
from vesal.volume.geometry import Geometry

VALUES = {"background": 0, "cancer": 1}
SIZE = (96, 80, 64)
FIELD_MM = (342.0, 266.0, 256.0)

# Hounsfield units, after injection of contrast medium.
_AIR, _LUNG, _FAT, _MUSCLE, _BLOOD, _LIVER = -1000.0, -860.0, -95.0, 48.0, 165.0, 95.0
_CORTEX, _MARROW = 780.0, 190.0

#: The tumour's share of all voxels.
SHARE = (0.001, 0.005)


# Where the vessels of each part of a lung set out from its hilum (outwards, forwards, upwards).
_LOBES = (
    (0.45, 0.25, 1.0),
    (0.5, -0.5, 0.75),
    (0.75, 0.8, 0.1),
    (1.0, 0.0, -0.2),
    (0.55, -0.7, -0.6),
    (0.5, 0.2, -1.0),
)


def draw(rng: Rng, shape: tuple[int, int, int]) -> tuple[Field, NDArray[np.uint8], Geometry]:
    """Image (1, *shape) in HU, label (*shape) and grid of one chest."""
    canvas = Canvas.lay(rng, shape, FIELD_MM, tilt_degrees=4.0)
    canvas = canvas.moved(rng.normal(0.0, 4.0, 3), np.eye(3), rng.uniform(0.95, 1.04, 3))
    image = np.full(shape, _AIR, dtype=np.float32)
    table = np.abs(canvas.points[1] + 121.0 - 0.0006 * canvas.points[0] ** 2)
    canvas.paint(image, np.maximum(table - 3.0, np.abs(canvas.points[0]) - 190.0), -250.0)
    canvas.warp(rng, 2.0, 45.0)
    cavity = _wall(rng, canvas, image)
    lungs = _lungs(rng, canvas, cavity)
    _abdomen(rng, canvas, image, cavity)
    _lung_tissue(rng, canvas, image, lungs)
    _mediastinum(rng, canvas, image)
    label = _tumour(rng, canvas, image, lungs)
    image += np.float32(rng.uniform(14.0, 32.0)) * _grain(rng, canvas, image)
    return np.clip(image, -1024.0, 3071.0)[None], label, canvas.geometry


def _wall(rng: Rng, canvas: Canvas, image: Field) -> Field:
    """Skin, fat, muscle, ribs, breast bone, shoulder blades and spine; return the distance to the cavity."""
    x, y, z = canvas.points
    narrow = 1.0 - 0.14 * np.clip((z - 40.0) / 90.0, 0.0, 1.5) ** 2
    level = ((np.abs(x) / (150.0 * narrow)) ** 2.5 + (np.abs(y) / 103.0) ** 2.5) ** 0.4
    body = (level - 1.0) * np.float32(103.0)
    fat_mm, muscle_mm = rng.uniform(7.0, 17.0), rng.uniform(15.0, 19.0)
    canvas.paint(image, body, _FAT)
    canvas.paint(image, body + fat_mm, _MUSCLE + 12.0 * canvas.noise(rng, 8.0))
    cavity = body + fat_mm + muscle_mm + 0.35 * np.maximum(z - 50.0, 0.0) ** 1.2 * 0.6
    canvas.paint(image, cavity, _FAT)
    spine = canvas.ellipsoid((0.0, -62.0, 0.0), (20.0, 17.0, 2000.0))
    canvas.paint(image, canvas.ellipsoid((0.0, -80.0, 0.0), (52.0, 21.0, 2000.0)), _MUSCLE + 8.0)
    level_mm = (z + 300.0 + rng.uniform(0.0, 24.0)) % 24.0
    disc = level_mm < 5.0
    # Arch and wings of the vertebrae: x, y and radius.
    bars = ((0.0, -92.0, 4.5), (-26.0, -84.0, 6.0), (26.0, -84.0, 6.0))
    tubes: list[Tube] = [([(px, py, -300.0), (px, py, 300.0)], (r, r)) for px, py, r in bars]
    arches = canvas.tubes(tubes, reach_mm=8.0)
    canvas.paint(image, np.maximum(arches, np.abs(level_mm - 14.0) - 7.0), 520.0)
    canvas.paint(image, canvas.ellipsoid((0.0, -82.0, 0.0), (13.0, 11.0, 2000.0)), 600.0)
    canvas.paint(image, canvas.ellipsoid((0.0, -82.0, 0.0), (8.5, 7.0, 2000.0)), 35.0)
    canvas.paint(image, spine, np.where(disc, 95.0, 520.0).astype(np.float32))
    canvas.paint(image, spine + 3.5, np.where(disc, 90.0, _MARROW).astype(np.float32))
    ribs = canvas.tubes(_ribs(rng, 150.0, 103.0, fat_mm + 0.55 * muscle_mm), reach_mm=6.0)
    canvas.paint(image, ribs, _CORTEX)
    canvas.paint(image, ribs + 2.6, _MARROW + 60.0)
    breastbone = canvas.ellipsoid((0.0, 103.0 - fat_mm - 0.6 * muscle_mm, 20.0), (17.0, 6.0, 85.0))
    canvas.paint(image, breastbone, 420.0)
    canvas.paint(image, breastbone + 2.5, 130.0)
    for side in (-1.0, 1.0):
        blade = canvas.ellipsoid(
            (side * 98.0, -82.0, 75.0), (30.0, 4.0, 58.0), rotation((0.0, 0.0, side * 32.0))
        )
        canvas.paint(image, blade, 480.0)
    return cavity


def _ribs(rng: Rng, wide: float, deep: float, inset: float) -> list[Tube]:
    """Twelve pairs that leave the spine, sink towards the front and end in cartilage."""
    ribs: list[Tube] = []
    phase = rng.uniform(0.0, 24.0)
    angles = np.deg2rad(np.linspace(-80.0, 62.0, 13))
    for level in range(-5, 9):
        for side in (-1.0, 1.0):
            top = 24.0 * level + phase - 12.0
            path = []
            for angle in angles:
                sink = 34.0 * (1.0 - np.cos(0.63 * (angle - angles[0])))
                narrow = 1.0 - 0.14 * np.clip((top - sink - 40.0) / 90.0, 0.0, 1.5) ** 2
                cos, sin = np.cos(angle), np.sin(angle)
                squash = (abs(cos) ** 2.5 + abs(sin) ** 2.5) ** -0.4
                place = ((wide - inset) * narrow * squash * cos, (deep - inset) * squash * sin, top - sink)
                path.append((side * place[0], place[1], place[2]))
            ribs.append((path, [4.8] * len(path)))
    return ribs


def _lungs(rng: Rng, canvas: Canvas, cavity: Field) -> Field:
    """Distance to both lungs: the cavity without mediastinum, heart and the domes of the diaphragm."""
    x, y, z = canvas.points
    middle = np.hypot((x + 3.0) / 1.0, np.maximum(np.abs(y + 6.0) - 38.0, 0.0) * 0.9) - (
        19.0 + 0.05 * np.maximum(-z, 0.0)
    )
    heart = canvas.ellipsoid((-26.0, 20.0, -42.0), (58.0, 44.0, 48.0), rotation((0.0, 28.0, 22.0)))
    spine = canvas.ellipsoid((0.0, -66.0, 0.0), (27.0, 26.0, 2000.0))
    aorta = canvas.tubes([([(-24.0, -46.0, -300.0), (-24.0, -46.0, 60.0)], (16.0, 16.0))])
    dome = _dome(canvas)
    lungs = np.maximum.reduce([cavity + 3.0, -middle, -heart, -spine, -aorta, -dome])
    apices = [canvas.ellipsoid((side * 62.0, -8.0, 0.0), (75.0, 92.0, 118.0)) for side in (1.0, -1.0)]
    apex = np.maximum(np.where(x > 0, *apices), 0.0)
    return np.maximum(lungs, np.where((z > 20.0) & (apex > 0), apex, -FAR_MM)).astype(np.float32)


def _dome(canvas: Canvas) -> Field:
    """Height above the diaphragm (mm); the right dome stands higher."""
    x, y, z = canvas.points
    right = 42.0 * np.exp(-(((x - 62.0) / 52.0) ** 2) - ((y - 8.0) / 62.0) ** 2)
    left = 32.0 * np.exp(-(((x + 66.0) / 50.0) ** 2) - ((y - 8.0) / 62.0) ** 2)
    return z + 116.0 - right - left


def _abdomen(rng: Rng, canvas: Canvas, image: Field, cavity: Field) -> None:
    x, y, _ = canvas.points
    dome = _dome(canvas)
    below = np.maximum(cavity, dome + 2.0)
    texture = 6.0 * canvas.noise(rng, 6.0)
    canvas.paint(image, np.maximum(below, -(x + 20.0)), _LIVER + texture)
    vessels = 2.2 * (1.7 - canvas.noise(rng, 5.0))
    canvas.paint(image, np.maximum.reduce([below + 8.0, -(x + 12.0), vessels]), _BLOOD)
    stomach = np.maximum(canvas.ellipsoid((-62.0, 18.0, -112.0), (36.0, 34.0, 34.0)), dome + 3.0)
    canvas.paint(image, stomach, 40.0)
    canvas.paint(image, np.maximum(stomach + 4.0, -(y - 26.0)), _AIR + 20.0)
    spleen = np.maximum(canvas.ellipsoid((-92.0, -38.0, -108.0), (28.0, 34.0, 36.0)), dome + 3.0)
    canvas.paint(image, np.maximum(spleen, cavity), 120.0 + texture)


def _lung_tissue(rng: Rng, canvas: Canvas, image: Field, lungs: Field) -> None:
    """Air-filled tissue, denser towards the back, with fissures and a tree of tapering vessels."""
    x, y, z = canvas.points
    tissue = _LUNG + 22.0 * canvas.noise(rng, 9.0) - 0.55 * y + rng.uniform(-25.0, 25.0)
    canvas.paint(image, lungs, tissue.astype(np.float32))
    slope = np.where(x > 0, z + 0.95 * y + 12.0, z + 1.05 * y + 6.0) / 1.4
    fissure = np.abs(slope + 2.0 * canvas.noise(rng, 30.0)) - 0.25
    canvas.paint(image, np.maximum(fissure, lungs + 2.0), -640.0)
    tree = canvas.tubes(_tree(rng), reach_mm=5.0)
    vessels = np.maximum(tree, lungs + 2.5)
    share = canvas.cover(vessels)
    image += share * np.clip(1.35 - 0.1 * canvas.edge_mm, 0.4, 1.0) * (_BLOOD - 40.0 - image)


def _tree(rng: Rng) -> list[Tube]:
    """Vessels of both lungs from the hila outwards: every branch gives two thinner ones."""
    tubes: list[Tube] = []
    for side in (-1.0, 1.0):
        grow = []
        for out, front, up in _LOBES:
            start = np.array([side * 32.0, -6.0 + 5.0 * front, 8.0 + 10.0 * up])
            grow.append((start, np.array([side * out, front, up]) + rng.normal(0.0, 0.12, 3), 5.4, 0))
        while grow:
            start, towards, radius, level = grow.pop()
            towards = towards / np.linalg.norm(towards)
            stop = start + rng.uniform(0.75, 1.25) * 27.0 * 0.83**level * towards
            tubes.append(([start, stop], [radius, 0.88 * radius]))
            if level == 5:
                continue
            across = np.cross(towards, rng.normal(0.0, 1.0, 3))
            across /= np.linalg.norm(across)
            for sign, share in ((1.0, 0.84), (-1.0, 0.74)):
                off = towards + sign * across * rng.uniform(0.35, 0.8)
                grow.append((stop, off, max(share * radius, 1.0), level + 1))
    return tubes


def _mediastinum(rng: Rng, canvas: Canvas, image: Field) -> None:
    """Heart, great vessels, windpipe with main bronchi, gullet."""
    turn = rotation((0.0, 28.0, 22.0))
    heart = canvas.ellipsoid((-26.0, 20.0, -42.0), (58.0, 44.0, 48.0), turn)
    canvas.paint(image, heart + 5.0, 105.0 + 6.0 * canvas.noise(rng, 8.0))
    canvas.paint(image, canvas.ellipsoid((-50.0, 18.0, -56.0), (28.0, 18.0, 22.0), turn), _BLOOD + 10.0)
    canvas.paint(image, canvas.ellipsoid((-18.0, 44.0, -46.0), (30.0, 13.0, 26.0), turn), _BLOOD - 10.0)
    canvas.paint(image, canvas.ellipsoid((22.0, 18.0, -32.0), (20.0, 20.0, 26.0)), _BLOOD)
    canvas.paint(image, canvas.ellipsoid((-4.0, -10.0, -22.0), (32.0, 16.0, 18.0)), _BLOOD)
    wide = rng.uniform(0.9, 1.15)
    aorta = [
        (-6, 18, -22),
        (6, 24, 8),
        (8, 20, 36),
        (-2, 0, 52),
        (-18, -28, 46),
        (-23, -45, 20),
        (-23, -46, -300),
    ]
    lung_artery = [(-16, 34, -14), (-16, 18, 14), (-12, 6, 20)]
    tubes: list[Tube] = [
        (aorta, [wide * r for r in (14, 15, 15, 13.5, 13, 12, 11)]),
        (lung_artery, (13, 13, 12.5)),
        ([(-12, 6, 20), (12, -4, 17), (36, -8, 14)], (11, 10.5, 9)),
        ([(-12, 6, 20), (-38, -12, 20)], (11, 9)),
        ([(24, 12, 130), (24, 10, 40), (24, 16, -10)], (8, 9.5, 10)),
        ([(26, 8, -60), (24, 0, -200)], (12, 12)),
        ([(2, 4, 50), (14, 4, 130)], (6, 5.5)),
        ([(-16, -20, 50), (-22, -14, 130)], (5, 5)),
    ]
    canvas.paint(image, canvas.tubes(tubes), _BLOOD + 5.0)
    airways: list[Tube] = [
        ([(2, -16, 160), (2, -18, 34)], (9.0, 8.5)),
        ([(2, -18, 34), (22, -18, 18), (36, -16, 6)], (7.5, 7, 5.5)),
        ([(2, -18, 34), (-20, -20, 14), (-38, -22, 2)], (7, 6.5, 5)),
    ]
    trachea = canvas.tubes(airways)
    canvas.paint(image, trachea - 1.8, 30.0)
    canvas.paint(image, trachea, _AIR + 10.0)
    canvas.paint(image, canvas.ellipsoid((-6.0, -36.0, 0.0), (8.0, 6.0, 2000.0)), 42.0)


def _tumour(rng: Rng, canvas: Canvas, image: Field, lungs: Field) -> NDArray[np.uint8]:
    """Paint one lobulated, spiculated tumour in the lung or on its pleura; return it."""
    lowest, highest = SHARE
    share = float(np.exp(rng.uniform(np.log(1.2 * lowest), np.log(0.85 * highest))))
    count = max(8, round(share * lungs.size))
    radius = float(np.cbrt(count * canvas.geometry.voxel_volume_mm3 * 3.0 / (4.0 * np.pi)))
    centre = _seat(rng, canvas, lungs, radius)
    mass = canvas.ellipsoid(centre, radius * rng.uniform(0.8, 1.2, 3), rotation(rng.uniform(-60.0, 60.0, 3)))
    for _ in range(rng.integers(2, 6)):
        lobe = centre + _direction(rng) * radius * rng.uniform(0.6, 0.95)
        mass = blend_union(mass, canvas.ellipsoid(lobe, radius * rng.uniform(0.3, 0.55, 3)), 0.25 * radius)
    mass = mass + np.float32(0.11 * radius) * canvas.noise(rng, 0.3 * radius)
    spikes: list[Tube] = []
    for _ in range(rng.integers(8, 22)):
        way = _direction(rng)
        tip = centre + radius * way * rng.uniform(1.35, 1.9)
        spikes.append(([centre + 0.7 * radius * way, tip], (3.6, 1.0)))
    spicules = canvas.tubes(spikes, reach_mm=6.0)
    solid = np.minimum(mass, spicules + 1.2)
    solid = np.where(lungs < rng.uniform(0.0, 3.0), solid, np.float32(FAR_MM))
    solid -= np.partition(solid, count, axis=None)[count]  # exactly the share that was drawn
    inside = largest_part(solid < 0)
    texture = 38.0 + 10.0 * canvas.noise(rng, 5.0)
    dying = np.clip(-(mass + 0.45 * radius) / 6.0, 0.0, 1.0) * rng.uniform(0.0, 30.0)
    share_of = np.where(inside | (solid >= 0), canvas.cover(solid), 0.0)
    haze = np.where(lungs < 0, canvas.cover(spicules, 1.5 * canvas.edge_mm), 0.0) * 0.35
    brighter = np.maximum(texture - dying - image, 0.0)
    image += np.maximum(share_of, haze).astype(np.float32) * brighter * (lungs < 3.0)
    image[inside] = np.where(lungs[inside] >= 0, (texture - dying)[inside], image[inside])
    return inside.astype(np.uint8)


def _seat(rng: Rng, canvas: Canvas, lungs: Field, radius: float) -> NDArray[np.float64]:
    """A centre within the lung, or within reach of the pleura so that the tumour grows on it."""
    deep = (0.25, 0.6) if rng.random() < 0.4 else (0.8, 1.3)
    inner = (lungs < -deep[0] * radius) & (lungs > -deep[1] * radius) & (np.abs(canvas.points[2]) < 85.0)
    inner &= np.abs(canvas.points[0]) > 30.0
    choices = np.flatnonzero(inner if inner.any() else lungs <= lungs.min())
    place = int(choices[rng.integers(len(choices))])
    return canvas.points.reshape(3, -1)[:, place].astype(np.float64)


def _direction(rng: Rng) -> NDArray[np.float64]:
    way = rng.normal(0.0, 1.0, 3)
    return np.asarray(way / np.linalg.norm(way))


def _grain(rng: Rng, canvas: Canvas, image: Field) -> Field:
    """Unit noise with the grain of a reconstruction kernel, stronger where more tissue is crossed."""
    from scipy.ndimage import gaussian_filter

    white = rng.standard_normal(image.shape, dtype=np.float32)
    grain = gaussian_filter(white, 0.55, truncate=2.5)
    grain /= grain.std()
    shoulders = 1.0 + 0.5 * np.clip((canvas.points[2] - 70.0) / 60.0, 0.0, 1.0)
    return (grain * shoulders * np.where(image > -300.0, 1.0, 0.8)).astype(np.float32)
