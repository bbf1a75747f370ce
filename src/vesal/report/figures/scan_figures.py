"""Pictures of scans: three planes with contours, channels side by side, truth beside prediction, the showcase.

Every picture is drawn on its own Figure with the Agg canvas, never through pyplot, so threads may draw at the
same time, and returned as the bytes of a PNG that hold no date. No text is read as mathematics: a case may be
called 'a$b'.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.report.figures.colours import SCAN, class_colours, mixed
from vesal.report.figures.panels import GAP, TITLE, Rectangle, arrange, grid, row
from vesal.report.figures.planes import Convention, Plane, cut_planes
from vesal.report.figures.render import Camera, render_meshes, render_surfaces
from vesal.report.figures.surfaces import Mesh
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
#: Colour of the letters that name the patient's directions.
_DIRECTION = "#f4d35e"


def planes_picture(
    volume: Volume,
    labels: LabelSet,
    *,
    truth: NDArray[np.uint8] | None = None,
    prediction: NDArray[np.uint8] | None = None,
    channel: int = 0,
    margin_mm: float | None = None,
    convention: Convention = "radiological",
    width: float = 9.0,
) -> bytes:
    """Three orthogonal slices (or one 2D image) at one scale, with the contours of each class.

    Args:
        volume: image (C, *spatial), any orientation.
        labels: names and colours of the classes.
        truth: contiguous label map (*spatial), drawn solid.
        prediction: likewise, drawn dashed and lighter.
        channel: which channel to show.
        margin_mm: how much to show around the labels; None shows the whole slices.
        convention: radiological or neurological; the picture says which.
        width: inches at DPI.

    Returns:
        PNG bytes.
    """
    maps = [map_ for map_ in (truth, prediction) if map_ is not None]
    planes = cut_planes(volume, maps, channel=channel, margin_mm=margin_mm, convention=convention)
    rectangles, height = arrange([plane.size_mm for plane in planes], width, 0.5 * width)
    flat = volume.geometry.ndim == 2
    figure = new_figure(width, height + LEGEND, SCAN.paper)
    for number, (plane, rectangle) in enumerate(zip(planes, rectangles, strict=True)):
        axes = add_axes(figure, rectangle, bottom=LEGEND)
        draw_plane(axes, plane, labels, truth is not None, prediction is not None)
        if number == 0 and not flat:
            _scale_bar(axes, plane)
    note = "" if flat else _convention_note(convention)
    draw_legend(figure, labels, bool(maps), truth is not None and prediction is not None, note)
    return to_png(figure)


def channels_picture(
    volume: Volume,
    labels: LabelSet,
    names: Sequence[str],
    *,
    truth: NDArray[np.uint8] | None = None,
    prediction: NDArray[np.uint8] | None = None,
    margin_mm: float | None = None,
    convention: Convention = "radiological",
    width: float = 9.0,
) -> bytes:
    """All channels of a scan side by side, bare, then truth and prediction, each on a panel of its own.

    The slice is the axial one richest in labels; a 2D image is shown whole, a colour photograph as one panel.

    Args:
        volume: image (C, *spatial).
        labels: names and colours of the classes.
        names: of the channels.
        truth, prediction: contiguous label maps (*spatial), drawn on the first channel.
        margin_mm, convention, width: as in `planes_picture`.

    Returns:
        PNG bytes.
    """
    drawn = {"truth": truth, "prediction": prediction}
    maps = [map_ for map_ in drawn.values() if map_ is not None]
    scans = [volume]
    if not is_photograph(names):
        # One by one: three channels at once might be taken for red, green and blue.
        scans = [Volume(channel[None], volume.geometry) for channel in volume.array]
    cut = [cut_planes(scan, maps, margin_mm=margin_mm, convention=convention)[0] for scan in scans]
    named = list(zip(names if len(scans) == len(names) else ["image"], cut, strict=True))
    panels = [(name, replace(plane, maps=())) for name, plane in named]
    name, first = named[0]
    titles = [title for title, map_ in drawn.items() if map_ is not None]
    for title, map_ in zip(titles, first.maps, strict=True):
        panels.append((title if len(named) == 1 else f"{title} on {name}", replace(first, maps=(map_,))))
    rectangles, height = grid([plane.size_mm for _, plane in panels], width)
    figure = new_figure(width, height + LEGEND, SCAN.paper)
    for (title, plane), rectangle in zip(panels, rectangles, strict=True):
        axes = add_axes(figure, rectangle, bottom=LEGEND)
        draw_plane(axes, plane, labels, bool(plane.maps), False, title=title, fill=FILLED)
    note = "" if volume.geometry.ndim == 2 else _convention_note(convention)
    draw_legend(figure, labels, bool(maps), note=note)
    return to_png(figure)


def is_photograph(names: Sequence[str]) -> bool:
    """Whether channels of these names are one picture in colour and no modalities."""
    return tuple(names) == ("red", "green", "blue")


def surfaces_picture(
    surfaces: Mapping[str, Sequence[Mesh | None]],
    labels: LabelSet,
    *,
    camera: Camera | None = None,
    width: float = 7.0,
) -> bytes:
    """Shaded surfaces of label maps side by side, such as truth and prediction, with the patient's axes.

    Args:
        surfaces: title -> the surface of each class, as `class_surfaces` makes them.
        labels: names and colours of the classes.
        camera: where the viewer stands.
        width: inches at DPI.

    Returns:
        PNG bytes.
    """
    camera = camera or Camera()
    side = (width - GAP * (len(surfaces) + 1)) / len(surfaces)
    pictures = render_meshes(list(surfaces.values()), labels, size=round(side * DPI), camera=camera)
    figure = new_figure(width, side + TITLE + LEGEND + GAP, SCAN.paper)
    for number, (picture, title) in enumerate(zip(pictures, surfaces, strict=True)):
        axes = add_axes(figure, (GAP + number * (side + GAP), 0, side, side), bottom=LEGEND)
        _draw_surface(axes, picture, title)
    _compass(figure, camera, width - _COMPASS - GAP, GAP)
    draw_legend(figure, labels, True)
    return to_png(figure)


def showcase(
    scan: Volume,
    truth: LabelMap,
    prediction: LabelMap,
    labels: LabelSet | None = None,
    *,
    caption: str = "",
    margin_mm: float | None = None,
    camera: Camera | None = None,
    width: float = 10.0,
) -> bytes:
    """A wide picture of one result: three planes with contours, then the surfaces of truth and prediction.

    Args:
        scan: image (C, X, Y, Z).
        truth, prediction: label maps on the scan's grid with the file's own values.
        labels: names and colours of the classes; by default every value is a class, named by the value.
        caption: such as 'Dice 0.93', at the lower right.
        margin_mm, camera, width: as in the other pictures.

    Returns:
        PNG bytes.
    """
    camera = camera or Camera()
    if labels is None:
        values = np.union1d(np.unique(truth.array), np.unique(prediction.array))
        labels = LabelSet.from_values({str(value): int(value) for value in values if value})
    maps = [labels.encode(map_.array) for map_ in (truth, prediction)]
    planes = cut_planes(scan, maps, margin_mm=margin_mm)
    flat_width = width * 0.62
    rectangles, height = row([plane.size_mm for plane in planes], flat_width, 0.42 * width)
    side = (width - flat_width - 2 * GAP) / 2
    tall = max(height, side + TITLE)
    figure = new_figure(width, tall + LEGEND, SCAN.paper)
    for number, (plane, (x, y, w, h)) in enumerate(zip(planes, rectangles, strict=True)):
        axes = add_axes(figure, (x, y + (tall - height) / 2, w, h), bottom=LEGEND)
        draw_plane(axes, plane, labels, True, True)
        if number == 0:
            _scale_bar(axes, plane)
    pictures = render_surfaces(maps, scan.geometry, labels, size=round(side * DPI), camera=camera)
    for number, (picture, title) in enumerate(zip(pictures, ("truth", "prediction"), strict=True)):
        x = flat_width + GAP + number * (side + GAP)
        axes = add_axes(figure, (x, (tall - TITLE - side) / 2, side, side), bottom=LEGEND)
        _draw_surface(axes, picture, title)
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


def add_axes(figure: Figure, rectangle: Rectangle, bottom: float) -> Axes:
    """Axes without a frame at a place in inches, `bottom` above it."""
    width, height = figure.get_size_inches()
    x, y, w, h = rectangle
    axes = figure.add_axes((x / width, (y + bottom) / height, w / width, h / height))
    axes.set_axis_off()
    return axes


def draw_plane(
    axes: Axes,
    plane: Plane,
    labels: LabelSet,
    has_truth: bool,
    has_prediction: bool,
    title: str | None = None,
    fill: float = FAINT,
) -> None:
    """A slice with the contours of its first map, solid, and of its second or only one, dashed beside another."""
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
    maps = list(plane.maps)
    truth_masks = labels.masks(maps.pop(0)) if has_truth else None
    prediction_masks = labels.masks(maps.pop(0)) if has_prediction else None
    for number, colour in enumerate(class_colours(labels)):
        bright = mixed(colour, "#ffffff", 0.15)
        if truth_masks is not None:
            _contour(axes, plane, truth_masks[number], bright, fill=fill)
        if prediction_masks is not None:
            tint = mixed(colour, "#ffffff", 0.6) if has_truth else bright
            _contour(axes, plane, prediction_masks[number], tint, fill=0.0 if has_truth else fill)
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


def _contour(axes: Axes, plane: Plane, mask: NDArray[np.bool_], colour: str, *, fill: float) -> None:
    """The outline of a mask, closed where it touches the border: solid around a fill, dashed around none."""
    if not mask.any():
        return
    from contourpy import contour_generator
    from matplotlib.collections import LineCollection

    row_mm, column_mm = plane.pixel_mm
    lines: list[Any] = list(contour_generator(z=np.pad(mask, 1).astype(np.float32)).lines(0.5))
    # One pixel of padding, and a voxel's centre half a voxel from its corner.
    paths = [(line - 0.5) * np.array([column_mm, row_mm]) for line in lines]
    width, height = plane.size_mm
    dashed = not fill
    if fill:
        axes.imshow(
            np.where(mask[..., None], _rgba(colour, fill), 0.0),
            extent=(0, width, height, 0), aspect="auto", interpolation="nearest",
        )  # fmt: skip
    axes.add_collection(
        LineCollection(
            paths, colors=colour, linewidths=1.2 if dashed else 1.5, capstyle="butt",
            linestyles=[_DASHES] if dashed else "solid",
        ),
        autolim=False,
    )  # fmt: skip


def _rgba(colour: str, alpha: float) -> tuple[float, float, float, float]:
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue, alpha


def _draw_surface(axes: Axes, picture: NDArray[np.uint8], title: str) -> None:
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
    noted = axes.text(width - 0.12, 0.5, note, color=SCAN.faint, fontsize=7.5, ha="right", **style)
    entries: list[tuple[str, str, Any]] = []
    if classes:
        named = zip(labels.classes, class_colours(labels), strict=True)
        entries = [(name, mixed(colour, "#ffffff", 0.15), None) for name, colour in named]
    if lines:
        entries += [("truth", SCAN.ink, "-"), ("prediction", SCAN.ink, _DASHES)]
    x, room = 0.14, width - 0.3 - _inches(figure, noted)
    for number, (name, colour, line) in enumerate(entries):
        name = name if len(name) <= 28 else name[:27] + "…"
        start = 0.18 if line is None else 0.34
        text = axes.text(x + start, 0.5, name, color=SCAN.ink, fontsize=8, **style)
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
    axes.annotate(
        text, (0 if side == "left" else 0.5, 1), xycoords="axes fraction", xytext=(1, 4), textcoords="offset points",
        color=SCAN.faint, fontsize=8, ha=side, va="bottom", annotation_clip=False, parse_math=False,
    )  # fmt: skip


def _outline(artist: Any, width: float = 2.0) -> None:
    """A dark edge, so that it can be read on bright tissue too."""
    from matplotlib.patheffects import withStroke

    artist.set_path_effects([withStroke(linewidth=width, foreground="#000000b0")])


def _convention_note(convention: Convention) -> str:
    side = "left" if convention == "radiological" else "right"
    return f"{convention}: the patient's right is on the {side}"
