"""Slices of one series -> the grid on which they lie: sorted by position, complete, and of one phase.

The order is that of the positions along the normal; numbers and names of files say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.errors import DataError
from vesal.text import plural, times
from vesal.volume.dicom.frame import Frame
from vesal.volume.geometry import Geometry

#: Slices nearer than this share of a pixel are at one place.
_SAME = 0.02

#: Distances may part by this share of their median, or so many mm, which is how headers round them.
_UNEVEN, _UNEVEN_MM = 0.02, 0.02

#: A shift within the plane from slice to slice by more than this share of a pixel, over the whole stack, is a tilt.
_TILT_PIXELS = 0.5

#: What tells phases, echoes and other repetitions at one place apart, in the order in which it is asked.
PHASES = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "DiffusionBValue",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "InversionTime",
    "ImageType",
    "FrameType",
    "ComplexImageComponent",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContrastBolusAgent",
    "ConvolutionKernel",
    "StackID",
    "ContentTime",
    "InstanceNumber",
)


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that make one volume.

    Attributes:
        frames: in order along the normal; None where a slice is missing and was asked to be filled.
        geometry: (columns, rows, slices); its affine is sheared where the gantry was tilted.
        tilt_degrees: between the normal of the slices and the line on which they lie; 0 where that is rounding.
        phase: 'keyword = value' by which it was told from others at the same places; '' where there is one.
    """

    frames: tuple[Frame | None, ...]
    geometry: Geometry
    tilt_degrees: float = 0.0
    phase: str = ""

    @property
    def missing(self) -> int:
        """How many slices have to be filled in."""
        return sum(frame is None for frame in self.frames)


def stacks(frames: Sequence[Frame], *, fill: bool = False) -> list[Stack]:
    """The volumes that the frames of a series make: one, or one a phase.

    Args:
        frames: of one series, in any order; all on parallel planes of one grid.
        fill: leave a place for slices that are missing, instead of an error.

    Raises:
        DataError: a slice is there twice, is missing, lies at another angle or distance; the message names its file.
    """
    first = frames[0]
    for frame in frames:
        if not frame.parallel_to(first):
            raise DataError(_not_parallel(frame, first))
    groups = _phases(frames)
    return [_stack(list(group), phase, fill=fill) for phase, group in groups]


def _stack(frames: list[Frame], phase: str, *, fill: bool) -> Stack:
    # One normal for all: that of each slice is rounded, and a metre from the origin turns that into millimetres.
    along = np.array([frame.position_mm @ frames[0].normal for frame in frames])
    order = np.argsort(along, kind="stable")
    ordered = [frames[index] for index in order]
    along = along[order]
    if len(ordered) == 1:
        raise DataError(
            f"The series has a single slice ({ordered[0].name}), which is no volume; give the whole series."
        )
    gaps = np.diff(along)
    step = float(np.median(gaps))
    _no_duplicates(ordered, gaps)
    places = _places(ordered, gaps, step, fill=fill)
    count = places[-1] + 1
    filled: list[Frame | None] = [None] * count
    for place, frame in zip(places, ordered, strict=True):
        filled[place] = frame
    # From the first slice to the last, so that rounding of the positions between does not add up.
    across = (ordered[-1].position_mm - ordered[0].position_mm) / (count - 1)
    _in_line(ordered, places, across)
    geometry, tilt = _grid(ordered[0], across, count)
    return Stack(tuple(filled), geometry, tilt, phase)


def _grid(first: Frame, across: NDArray[np.float64], count: int) -> tuple[Geometry, float]:
    """The grid, and the tilt of the gantry in degrees."""
    normal = first.normal
    shift = across - (across @ normal) * normal
    tilt = 0.0
    if np.abs(first.directions @ shift * (count - 1) / first.pixel_mm).max() > _TILT_PIXELS:
        tilt = float(np.degrees(np.arctan2(np.linalg.norm(shift), abs(across @ normal))))
    else:
        across = (across @ normal) * normal
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * first.pixel_mm[0]
    affine[:3, 1] = first.directions[1] * first.pixel_mm[1]
    affine[:3, 2] = across
    affine[:3, 3] = first.position_mm
    return Geometry.from_world((*first.shape, count), affine, "LPS"), round(tilt, 4)


def _no_duplicates(ordered: Sequence[Frame], gaps: NDArray[np.float64]) -> None:
    if (twice := np.flatnonzero(gaps <= _SAME * min(ordered[0].pixel_mm))).size:
        one, other = ordered[twice[0]], ordered[twice[0] + 1]
        raise DataError(
            f"{one.name} and {other.name} lie at one place, and nothing in their headers tells them apart; "
            "take one of them away."
        )


def _places(ordered: Sequence[Frame], gaps: NDArray[np.float64], step: float, *, fill: bool) -> list[int]:
    """Where each slice stands on a grid of even distances."""
    steps = gaps / step
    whole = np.rint(steps).astype(int)
    off = np.abs(gaps - whole * step)
    allowed = max(_UNEVEN * step, _UNEVEN_MM)
    if (odd := np.flatnonzero(off > allowed)).size:
        at = int(odd[0])
        raise DataError(
            f"Slices are {step:.4g} mm apart, but {ordered[at].name} and {ordered[at + 1].name} {gaps[at]:.4g} mm; "
            "take a series with even distances, or resample this one first."
        )
    if (whole > 1).any() and not fill:
        at = int(np.argmax(whole > 1))
        lost = int(whole[at]) - 1
        raise DataError(
            f"{plural(lost, 'slice')} missing between {ordered[at].name} and {ordered[at + 1].name} "
            f"({gaps[at]:.4g} mm where others are {step:.4g} mm apart); send the series again, or have them "
            "filled in from their neighbours by --fill-slices."
        )
    return [0, *np.cumsum(whole).tolist()]


def _in_line(ordered: Sequence[Frame], places: Sequence[int], across: NDArray[np.float64]) -> None:
    """Slices that are shifted against one another otherwise than by one tilt."""
    first = ordered[0]
    for place, frame in zip(places, ordered, strict=True):
        off = frame.position_mm - first.position_mm - place * across
        within = np.abs(first.directions @ off) / first.pixel_mm
        if within.max() > _TILT_PIXELS:
            raise DataError(
                f"{frame.name} is shifted within its plane by {within.max():.3g} pixels against the line of the "
                "others; take the series as the scanner gave it."
            )


def _phases(frames: Sequence[Frame]) -> list[tuple[str, list[Frame]]]:
    """The frames of each phase; one group where no two frames lie at one place."""
    near = _SAME * min(frames[0].pixel_mm)
    if _apart(frames, near):
        return [("", list(frames))]
    for keyword in PHASES:
        groups: dict[str, list[Frame]] = {}
        for frame in frames:
            groups.setdefault(frame.tags.get(keyword, ""), []).append(frame)
        if 1 < len(groups) < len(frames) and all(_apart(group, near) for group in groups.values()):
            return [
                (f"{keyword} = {value}", group) for value, group in sorted(groups.items(), key=_by_number)
            ]
    return [("", list(frames))]


def _apart(frames: Sequence[Frame], near: float) -> bool:
    along = np.sort([frame.position_mm @ frames[0].normal for frame in frames])
    return not (np.diff(along) <= near).any()


def _by_number(group: tuple[str, list[Frame]]) -> tuple[float, str]:
    try:
        return float(group[0]), ""
    except ValueError:
        return float("inf"), group[0]


def _not_parallel(frame: Frame, first: Frame) -> str:
    if frame.shape != first.shape:
        what = f"has {times(frame.shape)} pixels where {first.name} has {times(first.shape)}"
    elif not np.allclose(frame.pixel_mm, first.pixel_mm, rtol=1e-3):
        what = f"has pixels of {times(frame.pixel_mm)} mm where those of {first.name} are {times(first.pixel_mm)} mm"
    else:
        turn = np.degrees(np.arccos(np.clip(abs(frame.normal @ first.normal), 0.0, 1.0)))
        what = f"lies at another angle than {first.name} ({turn:.2g} degrees)"
    return f"{frame.name} {what}, so that they are no volume; give one of the two series alone."
