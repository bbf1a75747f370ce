"""All pictures of one case for a page, or the reason why there is none."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vesal.data.dataset import COLOURS, Case
from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.report.figures.planes import context_margin_mm
from vesal.report.figures.scan_figures import channels_picture, planes_picture, surfaces_picture
from vesal.report.figures.surfaces import Mesh, class_surfaces
from vesal.report.pages.html import Picture, scan
from vesal.run.contents import load_case
from vesal.volume.io import is_image


@dataclass
class CasePictures:
    """What can be shown of a case.

    Attributes:
        pictures: for the page.
        problems: what could not be shown, a sentence each.
        surfaces: 'truth' and 'prediction', as far as they are there -> the surface of each class; empty in 2D.
        command: that opens the case in the viewer; '' in 2D, and of DICOM, whose paths may name a patient.
    """

    pictures: list[Picture] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    surfaces: dict[str, list[Mesh | None]] = field(default_factory=dict)
    command: str = ""


def case_pictures(
    case: Case,
    labels: LabelSet,
    channels: Sequence[str],
    *,
    prediction: Path | None = None,
    whole: bool = False,
) -> CasePictures:
    """Slices in three planes, the channels side by side with truth and prediction beside them, and the surfaces.

    With `whole` the slices are shown whole, not just the labels and what is around them, and no surfaces. Nothing is
    raised for a bad case.
    """
    made = CasePictures()
    try:
        shown = load_case(case, labels, prediction)
        volume, geometry = shown.volume, shown.volume.geometry
        maps = {"truth": shown.truth, "prediction": shown.prediction}
        present = {title: map_ for title, map_ in maps.items() if map_ is not None}
        margin = None if whole else context_margin_mm(list(present.values()), geometry)
        planes = planes_picture(volume, labels, list(present.values()), margin_mm=margin)
        made.pictures.append(scan(planes, f"Slices of {case.id} with contours"))
        names = channel_names(channels, volume.channels)
        # A photograph is one picture in colour and no modalities.
        if volume.channels > 1 and tuple(names) != COLOURS:
            side_by_side = channels_picture(volume, labels, names, present, margin_mm=margin)
            made.pictures.append(scan(side_by_side, f"All channels of {case.id}"))
        if geometry.ndim == 3 and is_image(case.images[0]):
            made.command = _command(case, prediction)
        solid = geometry.ndim == 3 and min(geometry.shape) >= 3
        if solid and not whole and any(map_.any() for map_ in present.values()):
            made.surfaces = {title: class_surfaces(map_, geometry, labels) for title, map_ in present.items()}
            drawn = surfaces_picture(made.surfaces, labels)
            alt = f"Surfaces of {case.id}: {' and '.join(made.surfaces)}"
            made.pictures.append(scan(drawn, alt, "surface"))
    except (VesalError, OSError, ValueError, MemoryError) as error:
        return CasePictures(problems=[f"No picture could be made of {case.id}: {error}"])
    return made


def _command(case: Case, prediction: Path | None) -> str:
    words = ["vesal", "view", str(case.images[0])]
    words += [] if prediction is None else [str(prediction)]
    words += [] if case.label is None else ["--truth", str(case.label)]
    return shlex.join(words)


def channel_names(names: Sequence[str], count: int) -> list[str]:
    """As many names as there are channels; numbers where names are missing.

    >>> channel_names(["FLAIR"], 2)
    ['FLAIR', '1']
    """
    return [*names, *(str(number) for number in range(len(names), count))][:count]
