"""Masks of a slice -> closed contours along the edges of voxels, and back without a voxel lost.

Coordinates are indices: (column, row) of a voxel's centre are whole, its edges lie half an index off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]

#: Directions of an edge, with the mask on its left, in index space (column, row): right, down, left, up.
_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])


def fill(polygons: Sequence[Polygon], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The voxels whose centres lie in an odd number of the polygons: so inner contours are holes.

    A centre on a left or upper edge is within, on a right or lower one it is not, so that polygons with a common edge
    share no voxel.

    Args:
        polygons: each (N, 2) in indices (column, row), closed by itself.
        shape: (columns, rows).

    Returns:
        (columns, rows).

    >>> square = np.array([(0.5, 0.5), (2.5, 0.5), (2.5, 1.5), (0.5, 1.5)])
    >>> fill([square], (4, 3)).astype(int).T.tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    columns, rows = shape
    crossings = np.zeros((rows, columns + 1), dtype=np.int64)
    for polygon in polygons:
        row, where = _crossings(polygon, rows)
        np.add.at(crossings, (row, np.clip(np.ceil(where), 0, columns).astype(int)), 1)
    return (crossings.cumsum(axis=1)[:, :columns] % 2 == 1).T


def _crossings(polygon: Polygon, rows: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where a polygon's edges cross the lines of voxel centres: the rows, and the columns there."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    # From the upper end of an edge on, without its lower one: so a corner on a line counts once.
    low = np.ceil(np.minimum(start[:, 1], end[:, 1]))
    high = np.ceil(np.maximum(start[:, 1], end[:, 1]))
    low, high = (np.clip(line, 0, rows).astype(np.int64) for line in (low, high))
    counts = np.maximum(high - low, 0)
    edge = np.repeat(np.arange(len(polygon)), counts)
    first = np.cumsum(counts) - counts
    row = np.arange(len(edge)) - first[edge] + low[edge]
    (x0, y0), (x1, y1) = start[edge].T, end[edge].T
    return row, x0 + (row - y0) * (x1 - x0) / (y1 - y0)


def outlines(mask: NDArray[np.bool_]) -> list[Polygon]:
    """The contours of a mask along the edges of its voxels, holes joined to what surrounds them.

    A hole is reached by a channel of no width (the keyhole of PS3.3 C.8.8.6.3), so that readers that fill each contour
    by itself find it. Voxels that touch at a corner alone are apart.

    Args:
        mask: (columns, rows).

    Returns:
        Each (N, 2) in indices (column, row), not closed by repeating its first corner.

    >>> outlines(np.array([[True]]))[0].tolist()
    [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]
    """
    loops = _loops(mask)
    outer = [loop for loop in loops if _area(loop) > 0]
    holes = [loop for loop in loops if _area(loop) < 0]
    return [corner - 0.5 for corner in _with_holes(outer, holes)]


def _loops(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Closed loops of corners, (N, 2) whole numbers, in a grid whose corner (0, 0) is that of the first voxel.

    The mask lies to the right of the direction in which the rows grow downwards: outer loops have a positive area.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    edges: dict[tuple[int, int], list[int]] = {}
    # (columns, rows) of differences: where the mask begins or ends along an axis.
    across = np.diff(padded, axis=0)[:, 1:-1]
    along = np.diff(padded, axis=1)[1:-1, :]
    # An edge is kept by its first corner and its direction.
    for way, points in (
        (0, np.argwhere(along == 1)),
        (1, np.argwhere(across == -1)),
        (2, np.add(np.argwhere(along == -1), (1, 0))),
        (3, np.add(np.argwhere(across == 1), (0, 1))),
    ):
        for column, row in points.tolist():
            edges.setdefault((column, row), []).append(way)
    loops = []
    while edges:
        loops.append(np.array(_walk(edges)))
    return loops


def _walk(edges: dict[tuple[int, int], list[int]]) -> list[tuple[int, int]]:
    """Take one closed loop out of the edges; its corners, where it turns."""
    place = start = next(iter(edges))
    way = before = edges[place][0]
    corners: list[tuple[int, int]] = []
    while True:
        ways = edges[place]
        # Where four edges meet, the turn that keeps to the same voxel: voxels that touch at a corner are apart.
        way = ways[0] if len(ways) == 1 else next(one for one in ways if (one - before) % 4 == 1)
        ways.remove(way)
        if not ways:
            del edges[place]
        if way != before or not corners:
            corners.append(place)
        before = way
        place = (place[0] + int(_STEPS[way][0]), place[1] + int(_STEPS[way][1]))
        if place == start and not _goes_on(edges, place, before):
            return _without_straight(corners)


def _goes_on(edges: dict[tuple[int, int], list[int]], place: tuple[int, int], before: int) -> bool:
    """Whether a loop that is back at its start turns there once more, as its first edge did not come from there."""
    return any((way - before) % 4 == 1 for way in edges.get(place, ()))


def _without_straight(corners: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """A loop may have begun in the middle of a straight line."""
    first, second, last = corners[0], corners[1], corners[-1]
    straight = (first[0] == second[0] == last[0]) or (first[1] == second[1] == last[1])
    return corners[1:] if straight else corners


def _area(loop: NDArray[Any]) -> float:
    x, y = loop.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _with_holes(outer: list[NDArray[np.int64]], holes: list[NDArray[np.int64]]) -> list[NDArray[Any]]:
    """Each hole joined to the loop that surrounds it, from right to left so that each reaches a loop that is whole."""
    joined = [loop.tolist() for loop in outer]
    for hole in sorted(holes, key=lambda loop: -int(loop[:, 0].max())):
        start = int(np.lexsort((hole[:, 1], -hole[:, 0]))[0])
        column, row = hole[start].tolist()
        loop, place, corner = _to_the_right(joined, column, row)
        turned = [*hole[start:].tolist(), *hole[:start].tolist()]
        bridge = [corner, *turned, turned[0], corner]
        joined[loop] = joined[loop][: place + 1] + bridge + joined[loop][place + 1 :]
    return [np.array(loop) for loop in joined]


def _to_the_right(loops: list[list[list[int]]], column: int, row: int) -> tuple[int, int, list[int]]:
    """The nearest vertical edge to the right of a corner: its loop, its first corner's place, and the point on it."""
    best: tuple[int, int, int] | None = None
    for number, loop in enumerate(loops):
        points = np.array(loop)
        ends = np.roll(points, -1, axis=0)
        low, high = np.minimum(points[:, 1], ends[:, 1]), np.maximum(points[:, 1], ends[:, 1])
        hit = (points[:, 0] == ends[:, 0]) & (low <= row) & (row <= high) & (points[:, 0] > column)
        for place in np.flatnonzero(hit):
            if best is None or points[place, 0] < best[0]:
                best = (int(points[place, 0]), number, int(place))
    assert best is not None, "a hole lies within a loop"
    return best[1], best[2], [best[0], row]
