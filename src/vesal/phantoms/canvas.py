"""What the phantoms are drawn with: a grid in patient millimetres, soft-edged shapes, smooth random fields, MRI noise.

Shapes are signed distances in millimetres, negative inside, so that walls, rims and partial volume come from
arithmetic: a wall is `distance - thickness`, a union is `np.minimum`, a cut is `np.maximum`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.volume.geometry import Geometry

Field = NDArray[np.floating[Any]]  # float32 in the main
Rng = np.random.Generator
Point = Sequence[float] | NDArray[np.floating[Any]]
Tube = tuple[Sequence[Point] | NDArray[np.floating[Any]], Sequence[float]]

#: Distance that `Canvas.tubes` reports far away from every tube (mm).
FAR_MM = 60.0

_TAPS = 4  # knots on either side of a place that reach it


class Canvas:
    """A grid laid over a patient whose own axes are RAS+ millimetres around a centre.

    Attributes:
        geometry: the grid in the scanner's space; it may be flipped, tilted and shifted.
        points: (3, *shape) float32, where each voxel lies in the patient (mm: right, anterior, superior).
        edge_mm: width over which a shape's border is blurred, one voxel.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.edge_mm = float(np.cbrt(geometry.voxel_volume_mm3))
        # points = columns @ (index - middle) + shift, but for warps
        self._columns = np.array(geometry.affine[:3, :3])
        self._middle = (np.asarray(geometry.shape) - 1.0) / 2.0
        self._shift = np.zeros(3)
        ramps = [
            (np.arange(size) - middle).astype(np.float32)
            for size, middle in zip(geometry.shape, self._middle, strict=True)
        ]
        i, j, k = np.meshgrid(*ramps, indexing="ij", sparse=True)
        columns = self._columns.astype(np.float32)
        self.points: Field = np.stack([row[0] * i + row[1] * j + row[2] * k for row in columns])

    @classmethod
    def lay(cls, rng: Rng, shape: Sequence[int], field_mm: Sequence[float], tilt_degrees: float) -> Canvas:
        """A grid of `shape` voxels over about `field_mm`, stored and tilted as scanners differ in doing.

        The array axes stay nearest to right/left, anterior/posterior and superior/inferior, in this order.
        """
        spacing = np.asarray(field_mm) / np.asarray(shape) * rng.uniform(0.96, 1.06)
        code = str(rng.choice(["LPS", "RAS", "LAS", "LPI"], p=[0.45, 0.25, 0.2, 0.1]))
        signs = [1.0 if letter in "RAS" else -1.0 for letter in code]
        turn = rotation(rng.uniform(-tilt_degrees, tilt_degrees, 3))
        affine = np.eye(4)
        affine[:3, :3] = turn @ np.diag(spacing * signs)
        centre = rng.uniform(-25.0, 25.0, 3)  # of the grid, from the scanner's isocentre
        affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray(shape) - 1.0) / 2.0)
        return cls(Geometry(tuple(shape), np.round(affine, 6)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self.geometry.shape

    def noise(self, rng: Rng, scale_mm: float | Sequence[float]) -> Field:
        """A smooth random field of mean 0 and variance 1 that changes over about `scale_mm` (per grid axis)."""
        scales = np.broadcast_to(np.asarray(scale_mm, dtype=float), 3)
        places = [
            np.arange(size) * spacing / scale
            for size, spacing, scale in zip(self.shape, self.geometry.spacing_mm, scales, strict=True)
        ]
        knots = [int(place[-1]) + 2 * _TAPS for place in places]
        field: Field = rng.standard_normal(knots, dtype=np.float32)
        for axis, place in enumerate(places):
            field = _spread(field, axis, place)
        return field

    def warp(self, rng: Rng, amount_mm: float, scale_mm: float) -> None:
        """Bend the patient smoothly, so that no organ is a perfect ellipsoid and no two cases are alike."""
        self.points += np.stack([np.float32(amount_mm) * self.noise(rng, scale_mm) for _ in range(3)])

    def coil_shading(self, rng: Rng, strength: float) -> Field:
        """A receive coil's smooth sensitivity around 1: brighter towards the front, and unevenly so."""
        right, front, up = (rng.normal([0.0, 0.6, 0.0], [0.4, 0.3, 0.3]) / 100.0).astype(np.float32)
        x, y, z = self.points
        ramp = right * x + front * y + up * z
        return np.exp(np.float32(strength) * (ramp + np.float32(0.5) * self.noise(rng, 70.0)))

    def moved(self, centre: Point, turn: NDArray[np.float64], scale: Point = (1.0, 1.0, 1.0)) -> Canvas:
        """The same grid seen from an organ that lies at `centre`, turned and scaled: its own coordinates."""
        inward = np.diag(1.0 / np.asarray(scale, dtype=float)) @ turn.T
        view = copy.copy(self)
        offset = self.points - np.asarray(centre, dtype=np.float32)[:, None, None, None]
        view.points = _turned(inward, offset)
        view._columns = inward @ self._columns
        view._shift = inward @ (self._shift - np.asarray(centre, dtype=float))
        return view

    def ellipsoid(self, centre: Point, radii: Point, turn: NDArray[np.float64] | None = None) -> Field:
        """Distance to an ellipsoid's surface, exact to first order there; `turn` rotates it about its centre."""
        offset = self.points - np.asarray(centre, dtype=np.float32)[:, None, None, None]
        if turn is not None:
            offset = _turned(turn.T, offset)
        inverse = (1.0 / np.asarray(radii, dtype=np.float32))[:, None, None, None]
        offset *= inverse
        level = np.sqrt(np.einsum("i...,i...->...", offset, offset) + np.float32(1e-6))
        offset *= inverse
        slope = np.sqrt(np.einsum("i...,i...->...", offset, offset) + np.float32(1e-6) * inverse.min() ** 2)
        return (level - 1.0) * level / slope

    def tubes(self, paths: Sequence[Tube], *, reach_mm: float = 15.0) -> Field:
        """Distance to tapering tubes, each a path of points with a radius at every point.

        Distances beyond `reach_mm` are cut to FAR_MM: only the boxes around the tubes are worked on.
        """
        field = np.full(self.shape, FAR_MM, dtype=np.float32)
        nodes = [np.asarray(path, dtype=np.float64) for path, _ in paths]
        starts, stops = np.concatenate([n[:-1] for n in nodes]), np.concatenate([n[1:] for n in nodes])
        firsts = np.concatenate([np.asarray(radii[:-1], dtype=float) for _, radii in paths])
        lasts = np.concatenate([np.asarray(radii[1:], dtype=float) for _, radii in paths])
        # First and one past the last voxel (N, 3) within reach of each segment; empty off the grid.
        inverse = np.linalg.inv(self._columns)
        ends = (np.stack([starts, stops]) - self._shift) @ inverse.T + self._middle
        margin = (np.maximum(firsts, lasts) + reach_mm)[:, None] * np.linalg.norm(inverse, axis=1)
        lows = np.maximum(np.floor(ends.min(axis=0) - margin), 0).astype(np.int64)
        highs = np.minimum(np.ceil(ends.max(axis=0) + margin) + 1, self.shape).astype(np.int64)
        for n in np.flatnonzero((lows < highs).all(axis=1)):
            box = tuple(slice(a, b) for a, b in zip(lows[n].tolist(), highs[n].tolist(), strict=True))
            distance = _segment(self.points[(slice(None), *box)], starts[n], stops[n], firsts[n], lasts[n])
            np.minimum(field[box], distance, out=field[box])
        return field

    def cover(self, distance: Field, edge_mm: float | None = None) -> Field:
        """How much of each voxel lies inside a shape, 0 to 1: partial volume."""
        return np.clip(0.5 - distance / np.float32(edge_mm or self.edge_mm), 0.0, 1.0)

    def paint(self, image: Field, distance: Field, value: float | Field) -> None:
        """Lay a shape of intensity `value` over `image`, in place, with a soft border."""
        image += self.cover(distance) * (value - image)


def _spread(field: Field, axis: int, place: NDArray[np.float64]) -> Field:
    """Random knots of distance 1 along `axis` -> a smooth sum of Gaussian bumps at `place`, of the same variance.

    Tap by tap and not as a matrix product, whose last bit depends on the number of threads.
    """
    first = place.astype(np.int64)
    part = place - first
    taps = np.arange(2 * _TAPS)
    weights = np.exp(-0.5 * (part[:, None] + _TAPS - 1 - taps) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    shape = [1, 1, 1]
    shape[axis] = len(place)
    total: Field | None = None
    for tap in taps:
        term = np.take(field, first + tap, axis=axis) * weights[:, tap].astype(np.float32).reshape(shape)
        total = term if total is None else np.add(total, term, out=total)
    assert total is not None
    return total


def _turned(matrix: NDArray[np.floating[Any]], vectors: Field) -> Field:
    """matrix @ vectors (3, *shape), written out so that it is the same to the bit on any number of threads."""
    x, y, z = vectors
    return np.stack([row[0] * x + row[1] * y + row[2] * z for row in matrix.astype(np.float32)])


def _segment(
    points: Field, start: NDArray[np.float64], stop: NDArray[np.float64], first: float, last: float
) -> Field:
    axis = (stop - start).astype(np.float32)
    length = np.float32(max(float(axis @ axis), 1e-6))
    x, y, z = (place - begin for place, begin in zip(points, start.astype(np.float32), strict=True))
    along = np.clip((axis[0] * x + axis[1] * y + axis[2] * z) / length, 0.0, 1.0)
    x -= axis[0] * along
    y -= axis[1] * along
    z -= axis[2] * along
    return np.asarray(np.sqrt(x * x + y * y + z * z) - (np.float32(first) + np.float32(last - first) * along))


def rotation(degrees: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation about x, then y, then z, by these angles.

    >>> rotation([0.0, 0.0, 90.0]).round().astype(int).tolist()
    [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    """
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(np.asarray(degrees, dtype=float))):
        a, b = [other for other in range(3) if other != axis]
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[b, a] = np.sin(angle) * (-1.0 if axis == 1 else 1.0)
        step[a, b] = -step[b, a]
        turn = step @ turn
    return turn


def blend_union(a: Field, b: Field, blend_mm: float) -> Field:
    """The union of two shapes with the crease between them filled (polynomial smooth minimum, Quilez 2013)."""
    share = np.clip(0.5 + 0.5 * (b - a) / np.float32(blend_mm), 0.0, 1.0)
    return b + (a - b) * share - np.float32(blend_mm) * share * (1.0 - share)


def largest_part(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of a mask, the connected part with the most voxels."""
    from scipy.ndimage import label

    parts, _ = label(inside)
    return np.asarray(parts == np.bincount(parts.ravel())[1:].argmax() + 1)


def rician(rng: Rng, image: Field, sigma: float) -> Field:
    """The magnitude of a complex MRI signal with Gaussian noise of `sigma` on both parts (Gudbjartsson 1995)."""
    real = image + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.hypot(real, imaginary)
