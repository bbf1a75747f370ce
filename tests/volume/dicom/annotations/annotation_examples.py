"""A scan in any orientation with masks on it, written and read again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from dicom_examples import Drawn, random_series, write_series
from numpy.typing import NDArray
from scipy import ndimage

from vesal.volume.dicom.annotations.made_by import MadeBy
from vesal.volume.dicom.dicom_scan import DicomScan
from vesal.volume.dicom.series_file import scan_of

AT = datetime(2026, 1, 2, 3, 4, 5)


def made_by(number: int = 1) -> MadeBy:
    return MadeBy("vesal heart", "ab" * 32, f"1.9.{number}", f"1.9.{number}.1", 900 + number, AT)


@dataclass(frozen=True)
class Annotated:
    """A scan, its files, and masks (columns, rows, slices) on it."""

    drawn: Drawn
    paths: list[Path]
    scan: DicomScan
    masks: dict[str, NDArray[np.bool_]]


def annotated(folder: Path, affine: NDArray[Any] | None = None, **more: Any) -> Annotated:
    drawn = random_series(shape=(14, 12, 6), affine=affine, **more)
    paths = write_series(folder, drawn)
    generator = np.random.default_rng(5)
    smooth = [ndimage.gaussian_filter(generator.standard_normal(drawn.array.shape), 1.2) for _ in range(2)]
    masks = {"left atrium": smooth[0] > 0.05, "tumour": smooth[1] > 0.1}
    # A slice without either.
    for mask in masks.values():
        mask[:, :, 3] = False
    return Annotated(drawn, paths, scan_of(paths[0]), masks)
