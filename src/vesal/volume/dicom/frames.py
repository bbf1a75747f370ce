"""The frames of a DICOM object: one of a classic object, many of an enhanced or legacy converted one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vesal.errors import DataError
from vesal.text import times
from vesal.volume.dicom.frame import Frame
from vesal.volume.dicom.stack import PHASES

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Two directions of a plane are at right angles to this (the cosine); headers round to four or more digits.
_SQUARE = 1e-3

#: In which functional group what tells phases apart is kept (PS3.3 C.7.6.16).
_GROUPS = (
    "FrameContentSequence",
    "MREchoSequence",
    "MRTimingAndRelatedParametersSequence",
    "MRDiffusionSequence",
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "CardiacSynchronizationSequence",
    "TemporalPositionSequence",
    "CTReconstructionSequence",
)


def frames_of(name: str, header: Dataset) -> list[Frame]:
    """The frames of an object that holds slices.

    Args:
        name: of the file, for messages and to find it again.
        header: without the pixels.

    Raises:
        DataError: the header does not say where a slice lies, or what it says cannot be.
    """
    if not header.get("Rows") or not header.get("Columns"):
        raise DataError(f"{name} ends within its header; send or download it again.")
    if header.get("ModalityLUTSequence"):
        raise DataError(
            f"{name} gives its values by a table (Modality LUT), which is not read; export the series with "
            "rescale slope and intercept."
        )
    if "PerFrameFunctionalGroupsSequence" in header:
        return list(_enhanced(name, header))
    count = _whole(header.get("NumberOfFrames") or 1)
    if count != 1:
        raise DataError(f"{name} holds {count} frames without saying where each lies; it is no volume.")
    return [_frame(name, 0, header, [header])]


def _enhanced(name: str, header: Dataset) -> Iterator[Frame]:
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups = header.PerFrameFunctionalGroupsSequence
    count = _whole(header.get("NumberOfFrames") or len(groups))
    if count != len(groups):
        raise DataError(f"{name} names {count} frames and describes {len(groups)}; send the object again.")
    for number, own in enumerate(groups):
        places = [_flat([own, *shared], key) for key in ("PlanePositionSequence", "PlaneOrientationSequence")]
        places += [_flat([own, *shared], key) for key in ("PixelMeasuresSequence", *_GROUPS)]
        places += [_flat([own, *shared], "PixelValueTransformationSequence")]
        yield _frame(name, number, header, [place for place in places if place is not None])


def _flat(groups: Sequence[Dataset], keyword: str) -> Dataset | None:
    """The item of a functional group: the frame's own, or what all frames share."""
    for group in groups:
        items = group.get(keyword)
        if items:
            return items[0]
    return None


def _frame(name: str, number: int, header: Dataset, places: Sequence[Dataset]) -> Frame:
    def first(keyword: str) -> Any:
        for place in places:
            if (value := place.get(keyword)) not in (None, ""):
                return value
        return None

    position = _numbers(first("ImagePositionPatient"), 3, name, "position")
    orientation = _numbers(first("ImageOrientationPatient"), 6, name, "orientation").reshape(2, 3)
    spacing = _numbers(first("PixelSpacing"), 2, name, "size of a pixel")
    slope, intercept = first("RescaleSlope"), first("RescaleIntercept")
    return Frame(
        file=name,
        number=number,
        instance=str(header.get("SOPInstanceUID", "")),
        position_mm=position,
        directions=_unit(orientation, name),
        # DICOM gives the distance of rows first.
        pixel_mm=_positive(float(spacing[1]), float(spacing[0]), name),
        shape=(_whole(header.get("Columns")), _whole(header.get("Rows"))),
        slope=1.0 if slope is None else _number(slope, name, "rescale slope"),
        intercept=0.0 if intercept is None else _number(intercept, name, "rescale intercept"),
        tags={
            keyword: _text(value)
            for keyword in PHASES
            if (value := _tag(header, places, keyword)) is not None
        },
    )


def _tag(header: Dataset, places: Sequence[Dataset], keyword: str) -> Any:
    for place in (*places, header):
        if (value := place.get(keyword)) not in (None, ""):
            return value
    return None


def _text(value: Any) -> str:
    """A value as text; several are joined as DICOM does."""
    parts = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    return "\\".join(str(part) for part in parts)


def _numbers(value: Any, count: int, name: str, what: str) -> NDArray[np.float64]:
    found = None
    with contextlib.suppress(TypeError, ValueError):
        found = np.array([float(part) for part in value], dtype=np.float64)
    if found is None or found.shape != (count,) or not np.isfinite(found).all():
        raise DataError(f"{name} does not say the {what} of its slice; it is no part of a volume.")
    return found


def _number(value: Any, name: str, what: str) -> float:
    found = float("nan")
    with contextlib.suppress(TypeError, ValueError):
        found = float(value)
    if not np.isfinite(found):
        raise DataError(f"{name} has {value!r} as its {what}; send the object again.")
    return found


def _unit(orientation: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    lengths = np.linalg.norm(orientation, axis=1, keepdims=True)
    if (np.abs(lengths - 1.0) > 0.01).any() or abs(orientation[0] @ orientation[1]) > _SQUARE:
        raise DataError(
            f"{name} has {orientation.ravel().tolist()} as its orientation, which are no two directions."
        )
    return orientation / lengths


def _positive(columns: float, rows: float, name: str) -> tuple[float, float]:
    if columns <= 0 or rows <= 0:
        raise DataError(f"{name} has pixels of {times((columns, rows))} mm; send the object again.")
    return columns, rows


def _whole(value: Any) -> int:
    with contextlib.suppress(TypeError, ValueError):
        return int(value)
    return 0
