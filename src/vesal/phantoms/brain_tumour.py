"""Synthetic skull-stripped FLAIR, T1, T1ce and T2 of a brain with a glioma, labelled as BraTS is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesal.phantoms.canvas import Canvas, Field, Rng, Tube, rician
from vesal.volume.geometry import Geometry

CHANNELS = ("FLAIR", "T1", "T1ce", "T2")
VALUES = {"background": 0, "necrotic core": 1, "oedema": 2, "enhancing tumour": 4}
REGIONS = {
    "whole tumour": ("necrotic core", "oedema", "enhancing tumour"),
    "tumour core": ("necrotic core", "enhancing tumour"),
    "enhancing tumour": ("enhancing tumour",),
}
SIZE = (72, 88, 64)
FIELD_MM = (152.0, 188.0, 138.0)

# Intensities of one tissue in FLAIR, T1, T1ce, T2; the units and the contrast of BraTS 2018 scans.
_CSF = (55.0, 190.0, 250.0, 820.0)
_GREY = (205.0, 375.0, 465.0, 400.0)
_WHITE = (165.0, 465.0, 560.0, 290.0)
_OEDEMA = (365.0, 360.0, 440.0, 610.0)
_NECROSIS = (235.0, 240.0, 330.0, 720.0)
_ENHANCING = (325.0, 365.0, 880.0, 500.0)
_VESSEL = (120.0, 330.0, 900.0, 250.0)


#: Shares of every voxel, 0 to 1: white matter (the rest is grey), CSF, enhancing vessels, old small scars.
_Tissues = tuple[Field, Field, Field, Field]


def draw(rng: Rng, shape: tuple[int, int, int]) -> tuple[Field, NDArray[np.uint8], Geometry]:
    """Image (4, *shape), label (*shape) and grid of one brain."""
    canvas = Canvas.lay(rng, shape, FIELD_MM, tilt_degrees=5.0)
    canvas = canvas.moved(rng.normal(0.0, 1.5, 3), np.eye(3), rng.uniform(0.95, 1.04, 3))
    canvas.warp(rng, 1.6, 30.0)
    depth = -_outline(canvas)
    centre, radius = _seat(rng)
    _mass_effect(canvas, centre, radius)
    tissues = _tissues(rng, canvas, depth)
    label = _tumour(rng, canvas, centre, radius, tissues, depth)
    swelling = np.clip(rng.uniform(0.6, 0.95) + 0.25 * canvas.noise(rng, 11.0), 0.25, 1.1)
    channels = []
    for number in range(len(CHANNELS)):
        image = _contrast(canvas, tissues, label, swelling, number)
        image *= 1.0 + np.float32(0.035) * canvas.noise(rng, 6.0)
        image *= 1.0 + np.where(label > 0, np.float32(0.08) * canvas.noise(rng, 5.0), 0.0)
        image *= canvas.coil_shading(rng, rng.uniform(0.06, 0.14)) * rng.uniform(0.75, 1.3)
        image = rician(rng, image, rng.uniform(8.0, 16.0))
        channels.append(np.where(depth > 0, np.maximum(image, 1.0), 0.0))
    return np.stack(channels).astype(np.float32), label, canvas.geometry


def _contrast(
    canvas: Canvas, tissues: _Tissues, label: NDArray[np.uint8], swelling: Field, number: int
) -> Field:
    """What the sequence of channel `number` shows, without noise."""
    from scipy.ndimage import gaussian_filter

    white, csf, vessels, scars = tissues
    healthy = (label == 0).astype(np.float32)
    image = np.full(canvas.shape, _GREY[number], dtype=np.float32)
    image += white * (_WHITE[number] - _GREY[number])
    image += healthy * scars * (_OEDEMA[number] - image)
    image += (label == 2) * swelling * (_OEDEMA[number] - image)
    image += (label == 1) * (_NECROSIS[number] - image)
    image += (label == 4) * (_ENHANCING[number] - image)
    image += healthy * csf * (_CSF[number] - image)
    image += healthy * vessels * (_VESSEL[number] - image)
    # Partial volume of the tissue borders.
    sigmas = 0.45 * canvas.edge_mm / np.asarray(canvas.geometry.spacing_mm)
    return np.asarray(gaussian_filter(image, sigmas, truncate=2.5))


def _outline(canvas: Canvas) -> Field:
    """Distance to the brain's surface: hemispheres with a flat base, temporal lobes, cerebellum, brain stem."""
    x, _, z = canvas.points
    cerebrum = canvas.ellipsoid((0.0, 0.0, 2.0), (67.0, 86.0, 60.0))
    cerebrum = np.maximum(cerebrum, -(z + 22.0))
    temporal = [canvas.ellipsoid((side * 43.0, 10.0, -24.0), (21.0, 37.0, 19.0)) for side in (-1.0, 1.0)]
    cerebellum = canvas.ellipsoid((0.0, -50.0, -36.0), (49.0, 31.0, 25.0))
    stem = canvas.tubes([([(0, -14, -10), (0, -22, -34), (0, -32, -90)], (17.0, 16.0, 10.0))])
    notch = 2.0 - np.abs(x) - np.maximum(0.0, 60.0 - z) * 0.2  # at the vertex
    hemispheres = np.maximum(cerebrum, notch)
    return np.minimum.reduce([hemispheres, *temporal, cerebellum, stem])


def _seat(rng: Rng) -> tuple[NDArray[np.float64], float]:
    """Where the tumour core lies and how large it is: in the white matter of one hemisphere."""
    side = rng.choice([-1.0, 1.0])
    centre = np.array([side * rng.uniform(26.0, 38.0), rng.uniform(-42.0, 40.0), rng.uniform(4.0, 28.0)])
    return centre, float(rng.uniform(10.0, 18.0))


def _mass_effect(canvas: Canvas, centre: NDArray[np.float64], radius: float) -> None:
    """The tumour pushes what lies around it away, ventricles and midline too."""
    offset = canvas.points - centre.astype(np.float32)[:, None, None, None]
    squared = np.einsum("i...,i...->...", offset, offset)
    canvas.points -= offset * (np.float32(0.3) * np.exp(-squared / np.float32(2.0 * (1.6 * radius) ** 2)))


def _tissues(rng: Rng, canvas: Canvas, depth: Field) -> _Tissues:
    x, y, z = canvas.points
    edge = canvas.edge_mm
    hindbrain = z + 24.0 + np.clip((y + 20.0) * 0.2, -9.0, 12.0)  # negative below the tentorium
    sulci = _folds(rng, canvas, 3.3)
    deep = depth - (13.0 + 4.0 * canvas.noise(rng, 18.0))
    sulci = np.maximum(sulci, deep)
    fissure = np.maximum(
        np.abs(x + 0.8 * canvas.noise(rng, 16.0)) - 0.4,
        -canvas.ellipsoid((0.0, -6.0, -8.0), (40.0, 62.0, 38.0)),
    )
    sylvian: list[Tube] = [
        ([(side * 60, -12, 8), (side * 46, 14, -6), (side * 34, 24, -10)], (2.2, 2.0, 2.6))
        for side in (-1, 1)
    ]
    clefts = np.minimum.reduce([sulci, fissure, canvas.tubes(sylvian)])
    folia = _folds(rng, canvas, (12.0, 2.6, 2.0)) - 0.2
    clefts = np.where(hindbrain < 0, np.maximum(folia, depth - 15.0), clefts)
    ribbon = np.minimum(depth, clefts) - rng.uniform(2.9, 3.6)  # positive in white matter
    ribbon = np.minimum(ribbon, _deep_grey(canvas))
    stem = canvas.tubes([([(0, -16, -12), (0, -24, -40), (0, -32, -90)], (13.0, 13.0, 9.0))])
    white = np.maximum(canvas.cover(-ribbon, edge), 0.7 * canvas.cover(stem, edge))
    atrophy = rng.uniform(0.3, 1.1)
    csf = canvas.cover(clefts - atrophy) * 0.9
    csf = np.maximum(csf, 0.75 * canvas.cover(depth - 1.2 * atrophy, edge))
    ventricles = _ventricles(rng, canvas)
    csf = np.maximum(csf, canvas.cover(ventricles))
    sinus = np.maximum(np.hypot(x, (depth - 2.5) * 0.9) - 2.6, -(z - 10.0) * 0.5 - np.maximum(0.0, -y) * 0.6)
    dots = np.maximum(np.maximum(clefts - 1.5, depth - 22.0), 2.2 * (2.1 - canvas.noise(rng, 3.0)))
    vessels = np.maximum(canvas.cover(sinus), 0.7 * canvas.cover(dots))
    spots = canvas.cover(2.5 * (rng.uniform(1.7, 2.4) - canvas.noise(rng, 4.5)))
    caps = canvas.cover(ventricles - rng.uniform(0.5, 4.0))
    caps = caps * np.clip(0.4 + 0.4 * canvas.noise(rng, 12.0), 0.0, 0.9)
    scars = np.where(hindbrain < 0, 0.0, np.maximum(0.85 * spots * (ribbon > 0), caps))
    return white, csf, vessels, scars


def _folds(rng: Rng, canvas: Canvas, scale_mm: float | tuple[float, float, float]) -> Field:
    """Distance to a folded sheet, the zero level of a smooth random field: the sulci."""
    field = canvas.noise(rng, scale_mm)
    slopes = np.gradient(field, *canvas.geometry.spacing_mm)
    steep = np.sqrt(sum(slope**2 for slope in slopes))
    return (np.abs(field) / np.maximum(steep, 0.3 / float(np.min(scale_mm)))).astype(np.float32)


def _deep_grey(canvas: Canvas) -> Field:
    """Distance to thalamus, lentiform and caudate nucleus of both sides."""
    parts = []
    for side in (-1.0, 1.0):
        parts.append(canvas.ellipsoid((side * 10.0, -14.0, 4.0), (8.0, 14.0, 9.0)))
        parts.append(canvas.ellipsoid((side * 25.0, 4.0, 2.0), (6.0, 16.0, 10.0)))
        parts.append(canvas.ellipsoid((side * 14.0, 20.0, 9.0), (5.0, 11.0, 8.0)))
    return np.minimum.reduce(parts)


def _ventricles(rng: Rng, canvas: Canvas) -> Field:
    """Distance to the ventricles, from narrow to wide."""
    wide = rng.uniform(0.75, 1.35)
    tubes: list[Tube] = []
    for side in (-1.0, 1.0):
        body = [
            (side * 8, 32, 8),
            (side * 8, 14, 17),
            (side * 11, -10, 20),
            (side * 19, -32, 14),
            (side * 24, -54, 8),
        ]
        horn = [(side * 21, -34, 12), (side * 31, -24, -8), (side * 33, 0, -18)]
        tubes.append((body, [wide * r for r in (4.5, 5.0, 5.0, 6.5, 2.5)]))
        tubes.append((horn, [wide * r for r in (4.5, 3.0, 2.0)]))
    tubes.append(([(0, -2, 2), (0, -20, 2)], (2.2, 2.2)))
    tubes.append(([(0, -36, -28), (0, -38, -38)], (4.0, 5.0)))
    return canvas.tubes(tubes)


def _tumour(
    rng: Rng, canvas: Canvas, centre: NDArray[np.float64], radius: float, tissues: _Tissues, depth: Field
) -> NDArray[np.uint8]:
    """Necrosis within an enhancing rim within oedema that follows the white matter."""
    from scipy.ndimage import binary_erosion
    from scipy.ndimage import label as components

    core = canvas.ellipsoid(centre, radius * rng.uniform(0.8, 1.25, 3))
    core = core + np.float32(0.17 * radius) * canvas.noise(rng, 0.55 * radius)
    core = np.maximum(core, 3.0 - depth)
    core = core - max(float(core.min()) + 1.7 * canvas.edge_mm, 0.0)  # on coarse grids too there is a core
    rim = rng.uniform(3.0, 5.5) * (1.0 + 0.45 * np.clip(canvas.noise(rng, 8.0), -1.2, 1.6))
    spread = rng.uniform(7.0, 17.0) * (1.0 + 0.4 * canvas.noise(rng, 14.0)) - 11.0 * (1.0 - tissues[0])
    oedema = (core < np.maximum(spread, 2.0)) & (tissues[1] < 0.5) & (depth > 2.0)
    parts, _ = components(oedema | (core < 0))
    main = np.bincount(parts[core < 0]).argmax()  # islands that only the noise made are left out
    label = np.where(parts == main, 2, 0)
    solid = (core < 0) & (parts == main)
    label[solid] = 4
    dead = -np.clip(rim, 0.9 * canvas.edge_mm, -0.45 * core.min())
    label[binary_erosion(solid) & (core < dead)] = 1  # never without a rim, however thin
    if not (label == 1).any():  # voxels too large to show it
        label[np.unravel_index(int(core.argmin()), label.shape)] = 1
    return label.astype(np.uint8)
