"""All pictures of one case for a page, or the sentence that says why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.report.figures import channels_picture, planes_picture, surfaces_picture
from vesal.report.gather import ShownCase, load_case
from vesal.report.html import Picture, scan
from vesal.report.planes import context_margin_mm


def case_pictures(
    case: Case,
    labels: LabelSet,
    channels: Sequence[str],
    *,
    prediction: Path | None = None,
    whole: bool = False,
    surfaces: bool = True,
) -> tuple[list[Picture], list[str]]:
    """Slices in three planes, the channels side by side, and the surfaces.

    Args:
        case: names the files.
        labels: what is drawn.
        channels: names of the channels.
        prediction: its file, if there is one.
        whole: show whole slices, not just the labels and what is around them.
        surfaces: whether to draw them.

    Returns:
        Pictures, and what could not be shown, a sentence each. Nothing is raised for a bad case.
    """
    try:
        shown = load_case(case, labels, prediction)
        return _draw(case.id, shown, labels, channels, whole, surfaces), []
    except (VesalError, OSError, ValueError, MemoryError) as error:
        return [], [f"No picture could be made of {case.id}: {error}"]


def _draw(
    name: str, shown: ShownCase, labels: LabelSet, channels: Sequence[str], whole: bool, surfaces: bool
) -> list[Picture]:
    volume = shown.volume
    geometry = volume.geometry
    titled = [("truth", shown.truth), ("prediction", shown.prediction)]
    present = [(title, map_) for title, map_ in titled if map_ is not None]
    maps = [map_ for _, map_ in present]
    margin = None if whole else context_margin_mm(maps, geometry)
    planes = planes_picture(volume, labels, truth=shown.truth, prediction=shown.prediction, margin_mm=margin)
    pictures = [scan(planes, f"Slices of {name} with contours")]
    if geometry.ndim == 2 or min(geometry.shape) < 3:
        return pictures
    if volume.channels > 1:
        names = [*channels, *(str(number) for number in range(len(channels), volume.channels))]
        side_by_side = channels_picture(
            volume, labels, names[: volume.channels], truth=shown.truth, margin_mm=margin
        )
        pictures.append(scan(side_by_side, f"All channels of {name}"))
    if surfaces and any(map_.any() for map_ in maps):
        titles = [title for title, _ in present]
        drawn = surfaces_picture(maps, titles, volume, labels)
        pictures.append(scan(drawn, f"Surfaces of {name}: {' and '.join(titles)}", "surface"))
    return pictures
