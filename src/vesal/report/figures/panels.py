"""Where the panels of a picture stand: all at one scale, as large as the width allows."""

from __future__ import annotations

from collections.abc import Sequence

#: Left, lower edge, width and height in inches.
Rectangle = tuple[float, float, float, float]

#: Between panels, and above a panel for its title (inches).
GAP = 0.07
TITLE = 0.24


def arrange(
    sizes: Sequence[tuple[float, float]], width: float, tallest: float
) -> tuple[list[Rectangle], float]:
    """Places of panels at one scale, in inches from the lower left, and the height that they need.

    Three panels stand in a row, or the second and third above each other where that shows them larger, as for
    scans of few thick slices.
    """
    side_by_side = row(sizes, width, tallest)
    if len(sizes) != 3:
        return side_by_side
    stacked = _stack(sizes, width, tallest)
    return stacked if stacked[0][0][2] > 1.05 * side_by_side[0][0][2] else side_by_side


def row(sizes: Sequence[tuple[float, float]], width: float, tallest: float) -> tuple[list[Rectangle], float]:
    """Places of panels side by side, their tops in one line."""
    gaps = GAP * (len(sizes) + 1)
    scale = (width - gaps) / sum(w for w, _ in sizes)
    scale = min(scale, (tallest - TITLE - GAP) / max(h for _, h in sizes))
    high = scale * max(h for _, h in sizes)
    # What width is left over goes between the panels.
    gap = (width - scale * sum(w for w, _ in sizes)) / (len(sizes) + 1)
    places, x = [], gap
    for w, h in sizes:
        places.append((x, high - h * scale + GAP, w * scale, h * scale))
        x += w * scale + gap
    return places, high + TITLE + GAP


def _stack(
    sizes: Sequence[tuple[float, float]], width: float, tallest: float
) -> tuple[list[Rectangle], float]:
    (w0, h0), (w1, h1), (w2, h2) = sizes
    scale = min(
        (width - 3 * GAP) / (w0 + max(w1, w2)),
        (tallest - TITLE - GAP) / h0,
        (tallest - 2 * TITLE - 2 * GAP) / (h1 + h2),
    )
    high = max(h0 * scale, (h1 + h2) * scale + TITLE + GAP)
    gap = (width - scale * (w0 + max(w1, w2))) / 3
    x, spare = 2 * gap + w0 * scale, (high - (h1 + h2) * scale - TITLE) / 3
    places = [
        (gap, (high - h0 * scale) / 2 + GAP, w0 * scale, h0 * scale),
        (x, GAP + spare + h2 * scale + TITLE + spare, w1 * scale, h1 * scale),
        (x, GAP + spare, w2 * scale, h2 * scale),
    ]
    return places, high + TITLE + GAP


def grid(sizes: Sequence[tuple[float, float]], width: float) -> tuple[list[Rectangle], float]:
    """Places of equal panels from the top: at most four in a row, and rows about equally full."""
    columns = max(2, -(-len(sizes) // -(-len(sizes) // 4)))
    cell = (width - GAP * (columns + 1)) / columns
    w, h = sizes[0]
    scale = min(cell / w, 0.5 * width / h)
    rows = -(-len(sizes) // columns)
    step = h * scale + TITLE + GAP
    places = []
    for number in range(len(sizes)):
        down, column = divmod(number, columns)
        x = GAP + column * (cell + GAP) + (cell - w * scale) / 2
        places.append((x, (rows - 1 - down) * step + GAP, w * scale, h * scale))
    return places, rows * step
