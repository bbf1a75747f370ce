"""One volume of a study: the slices of a chosen series, with what each is in the objects that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vesal.errors import DataError
from vesal.parallel import Progress
from vesal.volume.dicom.header import read_header
from vesal.volume.dicom.pixels import read_stack
from vesal.volume.dicom.series import Series, Study
from vesal.volume.dicom.source import Source
from vesal.volume.dicom.stack import Stack, stacks
from vesal.volume.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True, eq=False)
class SourceSlice:
    """Where a slice comes from.

    Attributes:
        header: of its object, without the pixels.
        position_mm: (3,) centre of its first pixel, LPS+, as its object says.
        frame: its number in the object from 1; None for an object of one frame.
    """

    header: Dataset
    position_mm: NDArray[np.float64]
    frame: int | None = None


@dataclass(frozen=True, eq=False)
class DicomScan:
    """A series of a study as a volume.

    Attributes:
        source: of its objects.
        series: the chosen one.
        stack: its slices in order.
    """

    source: Source
    series: Series
    stack: Stack

    def read(self, progress: Progress | None = None) -> Volume:
        """The values on the slices' own grid, which is sheared where the gantry was tilted.

        Raises:
            DataError: an object cannot be decoded.
        """
        return read_stack(self.source, self.stack, progress)

    def slices(self) -> list[SourceSlice | None]:
        """The objects of the slices, in the order of the grid; None for one that was filled in.

        Raises:
            DataError: an object is gone or damaged.
        """
        headers: dict[str, Dataset] = {}
        found: list[SourceSlice | None] = []
        for frame in self.stack.frames:
            if frame is None:
                found.append(None)
                continue
            if frame.file not in headers:
                header = read_header(self.source, frame.file)
                if header is None:
                    raise DataError(f"{self.source.file(frame.file)} changed while it was read; try again.")
                headers[frame.file] = header
            header = headers[frame.file]
            many = "PerFrameFunctionalGroupsSequence" in header
            found.append(SourceSlice(header, frame.position_mm, frame.number + 1 if many else None))
        return found


def scans(study: Study, series: Series, *, fill: bool = False) -> list[DicomScan]:
    """The volumes of a series: one, or one a phase.

    Args:
        study: that holds it.
        series: one of them.
        fill: see `vesal.volume.dicom.stack.stacks`.

    Raises:
        DataError: its slices make no volume; the message names the file.
    """
    where = study.source.path
    if series.problem:
        raise DataError(series.problem)
    try:
        return [DicomScan(study.source, series, stack) for stack in stacks(series.frames, fill=fill)]
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
