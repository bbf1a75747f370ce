"""What the pictures of a data set agree on: channels, and the size of a pixel. From the heads of the files alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from vesal.data.dataset import Case, Dataset
from vesal.errors import DataError
from vesal.layouts.scan_files import is_picture, unnamed_channels
from vesal.text import listed, times
from vesal.volume.formats.picture import PictureHeader
from vesal.volume.formats.raster import read_header

#: How far densities of one data set may part: programs round them to whole dots a metre or inch.
_SAME_SIZE = 0.01


def as_pictures(dataset: Dataset) -> Dataset:
    """The data set, whose pictures are all read in the same way; others are left as they are.

    Most pictures decide on grey or colour where the layout found channels by itself. A grey picture among colours
    becomes three equal channels, and one of three equal channels among grey ones becomes grey. A density (dpi) is the
    size of a pixel only where every annotated picture states the same.
    """
    cases = [case for case in dataset.cases or dataset.unlabelled if _is_one_picture(case)]
    if not cases:
        return dataset
    headers = {case.id: header for case in cases if (header := _header(case)) is not None}
    counts = Counter(header.channels for header in headers.values())
    channels, remarks = dataset.channels, []
    names = {count: unnamed_channels(count, colours=True) for count in counts}
    if channels in names.values():
        channels = names[max(counts, key=lambda count: (counts[count], count))]
    wanted = len(channels)
    if {1, 3} <= set(counts) and wanted in (1, 3):
        remarks.append(_said(wanted, [name for name, one in headers.items() if one.channels == 4 - wanted]))
    pixel_mm = _agreed_size(headers, len(cases))
    if pixel_mm is not None:
        remarks.append(f"All pictures state the same density, so a pixel is {times(pixel_mm)} mm.")
    elif any(header.pixel_mm for header in headers.values()):
        remarks.append("The pictures state different densities (dpi) or none, so a pixel is 1 mm.")
    update = {"pixel_mm": pixel_mm, "channels": wanted if wanted in (1, 3) else None}

    def agreed(case: Case) -> Case:
        return case.model_copy(update=update) if _is_one_picture(case) else case

    return dataset.model_copy(
        update={
            "channels": channels,
            "cases": tuple(map(agreed, dataset.cases)),
            "unlabelled": tuple(map(agreed, dataset.unlabelled)),
            "remarks": (*dataset.remarks, *remarks),
        }
    )


def _is_one_picture(case: Case) -> bool:
    return len(case.images) == 1 and is_picture(case.images[0])


def _header(case: Case) -> PictureHeader | None:
    """None where it cannot be read: that turns up again when the case is."""
    try:
        return read_header(case.images[0])
    except (DataError, OSError):
        return None


def _said(wanted: int, others: Sequence[str]) -> str:
    names = listed(others, 5)
    if wanted == 3:
        return f"Most pictures are in colour; {len(others)} grey ones get three equal channels: {names}."
    return f"Most pictures are grey; {len(others)} are in colour and used where their channels are equal: {names}."


def _agreed_size(headers: Mapping[str, PictureHeader], count: int) -> tuple[float, float] | None:
    sizes = [header.pixel_mm for header in headers.values() if header.pixel_mm is not None]
    if not sizes or len(sizes) < count:
        return None
    low, high = np.min(sizes, axis=0), np.max(sizes, axis=0)
    return (float(low[0]), float(low[1])) if (high <= low * (1 + _SAME_SIZE)).all() else None
