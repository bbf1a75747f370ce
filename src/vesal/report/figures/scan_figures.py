"""Pictures of scans: three planes with contours, channels side by side, truth beside prediction, the showcase.

Every picture is drawn on its own Figure with the Agg canvas, never through pyplot, so threads may draw at the
same time, and returned as the bytes of a PNG that hold no date. No text is read as mathematics: a case may be
called 'a$b'.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.report.figures.colours import SCAN, class_colours, mixed, rgb
from vesal.report.figures.fonts import set_name
from vesal.report.figures.nesting import containers, inner_first, innermost
from vesal.report.figures.panels import GAP, TITLE, Rectangle, arrange, grid, row
from vesal.report.figures.planes import Plane, cut_planes
from vesal.report.figures.render import Camera, render_meshes
from vesal.report.figures.surfaces import Mesh, class_surfaces
from vesal.text import shortened
from vesal.volume.volume import LabelMap, Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Pixels an inch of every picture; sizes below are in inches.
DPI = 130
#: Height of the legend (inches).
LEGEND = 0.30
#: How much of a class's colour lies within its contour, where the scan is to be seen and where the class is.
FAINT, FILLED = 0.11, 0.36
_COMPASS = 0.62
_DASHES = (0, (2.6, 1.7))
#: Points of an outline.
_SOLID_LINE, _DASHED_LINE = 1.5, 1.2
_CONVENTION = "radiological: the patient's right is on the left"
#: Inches of the picture of planes and of that of channels, of the surfaces, and of the showcase.
_WIDTH, _SURFACES_WIDTH, _SHOWCASE_WIDTH = 9.0, 7.0, 10.0
#: Colour of the letters that name the patient's directions.
_DIRECTION = "#f4d35e"


def planes_picture(
    volume: Volume,
    labels: LabelSet,
    maps: Sequence[NDArray[np.uint8]],
    *,
    margin_mm: float | None = None,
) -> bytes:
    """Three orthogonal slices (or one 2D image) at one scale, with the contours of each class.

    Args:
        volume: image (C, *spatial), any orientation.
        labels: names and colours of the classes.
        maps: contiguous label maps (*spatial), such as the truth, drawn solid, and the prediction, dashed and lighter.
        margin_mm: how much to show around the labels; None shows the whole slices.
    """
    planes = cut_planes(volume, maps, margin_mm=margin_mm)
    rectangles, height = arrange([plane.size_mm for plane in planes], _WIDTH, 0.5 * _WIDTH)
    flat = volume.geometry.ndim == 2
    figure = new_figure(_WIDTH, height + LEGEND, SCAN.paper)
    for number, (plane, rectangle) in enumerate(zip(planes, rectangles, strict=True)):
        axes = draw_plane(figure, rectangle, plane, labels)
        if number == 0 and not flat:
            _scale_bar(axes, plane)
    draw_legend(figure, labels, bool(maps), len(maps) == 2, "" if flat else _CONVENTION)
    return to_png(figure)


def channels_picture(
    volume: Volume,
    labels: LabelSet,
    names: Sequence[str],
    maps: Mapping[str, NDArray[np.uint8]],
    *,
    margin_mm: float | None = None,
) -> bytes:
    """All channels of a scan side by side, bare, then its label maps, each on a panel of its own.

    The slice is the axial one richest in labels; a 2D image is shown whole.

    Args:
        volume: image (C, *spatial).
        labels: names and colours of the classes.
        names: one a channel.
        maps: title, such as 'truth' -> contiguous label map (*spatial), drawn on the first channel.
        margin_mm: as in `planes_picture`.
    """
    # One by one: three channels at once might be taken for red, green and blue.
    scans = [Volume(channel[None], volume.geometry) for channel in volume.array]
    cut = [cut_planes(scan, list(maps.values()), margin_mm=margin_mm)[0] for scan in scans]
    panels = [(name, replace(plane, maps=())) for name, plane in zip(names, cut, strict=True)]
    for title, map_ in zip(maps, cut[0].maps, strict=True):
        panels.append((title if len(cut) == 1 else f"{title} on {names[0]}", replace(cut[0], maps=(map_,))))
    rectangles, height = grid([plane.size_mm for _, plane in panels], _WIDTH)
    figure = new_figure(_WIDTH, height + LEGEND, SCAN.paper)
    for (title, plane), rectangle in zip(panels, rectangles, strict=True):
        draw_plane(figure, rectangle, plane, labels, title, FILLED)
    draw_legend(figure, labels, bool(maps), note="" if volume.geometry.ndim == 2 else _CONVENTION)
    return to_png(figure)


def surfaces_picture(
    surfaces: Mapping[str, Sequence[Mesh | None]],
    labels: LabelSet,
    *,
    camera: Camera | None = None,
) -> bytes:
    """Shaded surfaces of label maps side by side, such as truth and prediction, with the patient's axes.

    Args:
        surfaces: title -> the surface of each class, as `class_surfaces` makes them.
        labels: names and colours of the classes.
        camera: where the viewer stands.
    """
    camera = camera or Camera()
    side = (_SURFACES_WIDTH - GAP * (len(surfaces) + 1)) / len(surfaces)
    figure = new_figure(_SURFACES_WIDTH, side + TITLE + LEGEND + GAP, SCAN.paper)
    _draw_surfaces(figure, (GAP, 0, side, side), surfaces, labels, camera)
    _compass(figure, camera, _SURFACES_WIDTH - _COMPASS - GAP, GAP)
    draw_legend(figure, labels, True)
    return to_png(figure)


def showcase(
    scan: Volume, truth: LabelMap, prediction: LabelMap, labels: LabelSet, *, caption: str = ""
) -> bytes:
    """A wide picture of one result: three planes with contours, then the surfaces of truth and prediction.

    Args:
        scan: image (C, X, Y, Z).
        truth, prediction: label maps on the scan's grid with the file's own values.
        labels: names and colours of the classes.
        caption: such as 'Dice 0.93', at the lower right.
    """
    maps = {"truth": labels.encode(truth.array), "prediction": labels.encode(prediction.array)}
    planes = cut_planes(scan, list(maps.values()))
    flat_width = _SHOWCASE_WIDTH * 0.62
    rectangles, height = row([plane.size_mm for plane in planes], flat_width, 0.42 * _SHOWCASE_WIDTH)
    side = (_SHOWCASE_WIDTH - flat_width - 2 * GAP) / 2
    tall = max(height, side + TITLE)
    figure = new_figure(_SHOWCASE_WIDTH, tall + LEGEND, SCAN.paper)
    for number, (plane, (x, y, w, h)) in enumerate(zip(planes, rectangles, strict=True)):
        axes = draw_plane(figure, (x, y + (tall - height) / 2, w, h), plane, labels)
        if number == 0:
            _scale_bar(axes, plane)
    surfaces = {title: class_surfaces(map_, scan.geometry, labels) for title, map_ in maps.items()}
    camera = Camera()
    first = (flat_width + GAP, (tall - TITLE - side) / 2, side, side)
    _draw_surfaces(figure, first, surfaces, labels, camera)
    _compass(figure, camera, flat_width + GAP, GAP)
    draw_legend(figure, labels, True, True, caption)
    return to_png(figure)


# --- the parts -----------------------------------------------------------------------------------------


def new_figure(width: float, height: float, paper: str) -> Figure:
    """An empty figure in inches with its own Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=paper)
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes without a date or a version, so the same picture gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=DPI, facecolor=figure.get_facecolor(), metadata={"Software": None}
    )
    return buffer.getvalue()


def _add_axes(figure: Figure, rectangle: Rectangle) -> Axes:
    """Axes without a frame at a place in inches above the legend."""
    width, height = figure.get_size_inches()
    x, y, w, h = rectangle
    axes = figure.add_axes((x / width, (y + LEGEND) / height, w / width, h / height))
    axes.set_axis_off()
    return axes


def draw_plane(
    figure: Figure,
    rectangle: Rectangle,
    plane: Plane,
    labels: LabelSet,
    title: str | None = None,
    fill: float = FAINT,
) -> Axes:
    """A slice at a place in inches, with the contours of its first map, solid, and of its second, dashed.

    Without a title it is named by its plane and number.
    """
    axes = _add_axes(figure, rectangle)
    width, height = plane.size_mm
    axes.imshow(
        plane.image,
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(0, width, height, 0),
        aspect="auto",
        interpolation="bicubic",
    )
    for second, map_ in enumerate(plane.maps):
        _draw_map(axes, plane, labels, map_, 0.0 if second else fill)
    if title is None:
        title = f"{plane.name}  {plane.index + 1} of {plane.count}" if plane.name else ""
    _title(axes, title, "left")
    edges = (
        (0, 0.5, "left", "center"),
        (1, 0.5, "right", "center"),
        (0.5, 1, "center", "top"),
        (0.5, 0, "center", "bottom"),
    )
    for letter, (x, y, ha, va) in zip(plane.letters, edges, strict=True):
        inwards = (6 * (0.5 - x), 6 * (0.5 - y))
        text = axes.annotate(
            letter, (x, y), xycoords="axes fraction", xytext=inwards, textcoords="offset points", ha=ha, va=va,
            color=_DIRECTION, fontsize=8, fontweight="bold",
        )  # fmt: skip
        _outline(text)
    return axes


def _draw_map(axes: Axes, plane: Plane, labels: LabelSet, map_: NDArray[np.uint8], fill: float) -> None:
    """The outlines of all classes: solid around a fill, dashed and lighter around none.

    Each runs within its class, so that neighbours do not hide each other. Where the border of a region is that of a
    region around it, such as a tumour core that ends at its enhancing rim, the inner line is drawn first and broader,
    so that both are seen.
    """
    masks, within, colours = labels.masks(map_), containers(labels), class_colours(labels)
    width, height = plane.size_mm
    if fill:
        for mask, colour in zip(innermost(labels, masks), colours, strict=True):
            if mask.any():
                axes.imshow(
                    np.where(mask[..., None], (*rgb(mixed(colour, "#ffffff", 0.15)), fill), 0.0),
                    extent=(0, width, height, 0), aspect="auto", interpolation="nearest",
                )  # fmt: skip
    outlines = [_outlines(mask) for mask in masks]
    for index in inner_first(labels):
        outer = [_segments(outlines[other]) for other in within[index]]
        tint = mixed(colours[index], "#ffffff", 0.15 if fill else 0.6)
        _contour(axes, plane, outlines[index], outer, tint, dashed=not fill)


def _outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed lines (N, 2) of column and row around a mask, also where it touches the border of the image."""
    if not mask.any():
        return []
    from contourpy import contour_generator

    lines: list[Any] = list(contour_generator(z=np.pad(mask, 1).astype(np.float32)).lines(0.5))
    # One pixel of padding, and a voxel's centre half a voxel from its corner.
    return [line - 0.5 for line in lines]


def _segments(lines: Sequence[NDArray[np.float64]]) -> set[tuple[float, float]]:
    """The middles of the segments of lines, by which equal ones are known."""
    return {(x, y) for line in lines for x, y in ((line[1:] + line[:-1]) / 2).round(2).tolist()}


def _contour(
    axes: Axes,
    plane: Plane,
    lines: Sequence[NDArray[np.float64]],
    outer: Sequence[set[tuple[float, float]]],
    colour: str,
    *,
    dashed: bool,
) -> None:
    """Outlines within what they surround, broader by one line for each line of `outer` that covers them."""
    if not lines:
        return
    from matplotlib.collections import LineCollection
    from matplotlib.path import Path as Outline

    row_mm, column_mm = plane.pixel_mm
    to_mm = np.array([column_mm, row_mm])
    runs, widths = [], []
    for line in lines:
        middles = ((line[1:] + line[:-1]) / 2).round(2).tolist()
        covered = np.array([sum((x, y) in of for of in outer) for x, y in middles])
        ends = [0, *(np.flatnonzero(np.diff(covered)) + 1).tolist(), len(covered)]
        for start, stop in pairwise(ends):
            runs.append(line[start : stop + 1] * to_mm)
            widths.append(1 + int(covered[start]))
    # Half of a line on the border lies within.
    base = 2 * (_DASHED_LINE if dashed else _SOLID_LINE)
    drawn = LineCollection(
        runs, colors=colour, linewidths=[base * width for width in widths], capstyle="butt",
        linestyles=[(0, tuple(dash / (2 * width) for dash in _DASHES[1])) for width in widths] if dashed else "solid",
    )  # fmt: skip
    axes.add_collection(drawn, autolim=False)
    inside = Outline.make_compound_path(*(Outline(line * to_mm, closed=True) for line in lines))
    drawn.set_clip_path(inside, axes.transData)


def _draw_surfaces(
    figure: Figure,
    first: Rectangle,
    surfaces: Mapping[str, Sequence[Mesh | None]],
    labels: LabelSet,
    camera: Camera,
) -> None:
    """Squares side by side, the first of them at a place in inches, each with its title."""
    x, y, side, _ = first
    pictures = render_meshes(list(surfaces.values()), labels, size=round(side * DPI), camera=camera)
    for number, (picture, title) in enumerate(zip(pictures, surfaces, strict=True)):
        axes = _add_axes(figure, (x + number * (side + GAP), y, side, side))
        axes.imshow(picture, interpolation="nearest", aspect="auto")
        _title(axes, title, "center")


def _compass(figure: Figure, camera: Camera, x: float, y: float) -> None:
    """Where the patient's left, front and head are in a surface picture, with its corner at inches (x, y)."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((x / width, y / height, _COMPASS / width, _COMPASS / height))
    axes.set_axis_off()
    axes.set_xlim(-1.6, 1.6)
    axes.set_ylim(-1.6, 1.6)
    right, up, viewer = camera.axes()
    for letter, direction in (("L", (-1, 0, 0)), ("A", (0, 1, 0)), ("S", (0, 0, 1))):
        tip = np.array([right @ direction, up @ direction])
        # What points away from the viewer is dimmer.
        colour = mixed(_DIRECTION, SCAN.paper, 0.0 if viewer @ np.array(direction) > -0.6 else 0.5)
        axes.plot([0, tip[0]], [0, tip[1]], color=colour, linewidth=1.4, solid_capstyle="round")
        at = tip + 0.42 * tip / max(float(np.linalg.norm(tip)), 0.4)
        axes.text(
            at[0], at[1], letter, color=colour, fontsize=7, fontweight="bold", ha="center", va="center_baseline",
        )  # fmt: skip


def _scale_bar(axes: Axes, plane: Plane) -> None:
    """A bar of a round length, at most a quarter of the picture, in the lower left corner."""
    width, height = plane.size_mm
    length = max((length for length in (1, 2, 5, 10, 20, 50, 100, 200) if length <= width / 4), default=0)
    if not length:
        return
    x, y = 0.03 * width, height - 0.03 * width
    line = axes.plot([x, x + length], [y, y], color=SCAN.ink, linewidth=2, solid_capstyle="butt")[0]
    _outline(line, 3.4)
    text = axes.text(
        x,
        y - 0.015 * height,
        f"{length} mm",
        color=SCAN.ink,
        fontsize=7.5,
        ha="left",
        va="bottom",
        parse_math=False,
    )
    _outline(text)


def draw_legend(figure: Figure, labels: LabelSet, classes: bool, lines: bool = False, note: str = "") -> None:
    """One line under the picture: a swatch a class, what solid and dashed mean, and a note at the right."""
    axes = figure.add_axes((0, 0, 1, LEGEND / figure.get_figheight()))
    axes.set_axis_off()
    width = float(figure.get_figwidth())
    axes.set_xlim(0, width)
    axes.set_ylim(0, 1)
    style: dict[str, Any] = {"va": "center_baseline", "parse_math": False}
    noted = axes.text(width - 0.12, 0.5, "", color=SCAN.faint, fontsize=7.5, ha="right", **style)
    set_name(noted, note)
    entries: list[tuple[str, str, Any]] = []
    if classes:
        named = zip(labels.classes, class_colours(labels), strict=True)
        entries = [(name, mixed(colour, "#ffffff", 0.15), None) for name, colour in named]
    if lines:
        entries += [("truth", SCAN.ink, "-"), ("prediction", SCAN.ink, _DASHES)]
    x, room = 0.14, width - 0.3 - _inches(figure, noted)
    for number, (name, colour, line) in enumerate(entries):
        start = 0.18 if line is None else 0.34
        text = axes.text(x + start, 0.5, "", color=SCAN.ink, fontsize=8, **style)
        set_name(text, shortened(name, 28))
        end = x + start + _inches(figure, text)
        if end > room:
            text.set(text=f"and {len(entries) - number} more", color=SCAN.faint, x=x)
            break
        if line is None:
            axes.plot([x + 0.05], [0.5], marker="s", markersize=6, color=colour)
        else:
            axes.plot([x, x + 0.26], [0.5, 0.5], color=colour, linewidth=1.4, linestyle=line)
        x = end + 0.2


def _inches(figure: Figure, text: Any) -> float:
    """The width of a text as it will be drawn."""
    return float(text.get_window_extent(figure.canvas.get_renderer()).width) / DPI  # type: ignore[attr-defined]


def _title(axes: Axes, text: str, side: str) -> None:
    """A small line above the axes."""
    title = axes.annotate(
        "", (0 if side == "left" else 0.5, 1), xycoords="axes fraction", xytext=(1, 4), textcoords="offset points",
        color=SCAN.faint, fontsize=8, ha=side, va="bottom", annotation_clip=False, parse_math=False,
    )  # fmt: skip
    set_name(title, text)


def _outline(artist: Any, width: float = 2.0) -> None:
    """A dark edge, so that it can be read on bright tissue too."""
    from matplotlib.patheffects import withStroke

    artist.set_path_effects([withStroke(linewidth=width, foreground="#000000b0")])
