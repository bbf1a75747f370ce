"""DICOM objects drawn for tests: series of slices in any orientation, classic or enhanced, and what annotates them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.volume.geometry import Geometry

CT, ENHANCED_CT, MR = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.4",
)
SECONDARY_CAPTURE, DOSE = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.481.2"


@dataclass(frozen=True)
class Drawn:
    """A series to be written.

    Attributes:
        array: (columns, rows, slices) of stored values.
        affine: (4, 4) to LPS mm.
        slope, intercept: of the rescaling.
        tags: keyword -> value, of every object.
    """

    array: NDArray[np.int16]
    affine: NDArray[np.float64]
    modality: str = "CT"
    kind: str = CT
    slope: float = 1.0
    intercept: float = 0.0
    uid: str = "1.2.3.4"
    tags: dict[str, Any] = field(default_factory=dict)

    @property
    def geometry(self) -> Geometry:
        return Geometry.from_world(self.array.shape, self.affine, "LPS")

    @property
    def values(self) -> NDArray[np.float64]:
        return self.array * self.slope + self.intercept


def random_series(
    seed: int = 0,
    shape: tuple[int, int, int] = (7, 6, 5),
    affine: NDArray[np.float64] | None = None,
    **more: Any,
) -> Drawn:
    generator = np.random.default_rng(seed)
    array = generator.integers(-500, 1500, shape).astype(np.int16)
    return Drawn(array, axial() if affine is None else affine, **more)


def axial(
    spacing: Sequence[float] = (0.8, 0.9, 2.5), origin: Sequence[float] = (-20.0, 11.0, 40.0)
) -> NDArray[Any]:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def new_object(kind: str, instance: str, **elements: Any) -> Any:
    """A data set with the file's own header."""
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, instance
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID, found.SOPInstanceUID = kind, instance
    found.PatientName, found.PatientID, found.StudyInstanceUID = "Doe^Jane", "P1", "1.2.3"
    found.PatientBirthDate, found.PatientSex, found.StudyDate, found.StudyTime = (
        "19700101",
        "F",
        "20200102",
        "101112",
    )
    found.StudyID, found.AccessionNumber, found.ReferringPhysicianName = "S1", "A1", ""
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def slice_objects(drawn: Drawn) -> list[Any]:
    """An object for each slice."""
    found = []
    for index in range(drawn.array.shape[2]):
        one = new_object(drawn.kind, f"{drawn.uid}.{index + 1}", **_image_elements(drawn))
        directions, pixel_mm = _plane(drawn.affine)
        one.ImagePositionPatient = _decimals(drawn.affine[:3, 3] + index * drawn.affine[:3, 2])
        one.ImageOrientationPatient = _decimals(directions.ravel())
        one.PixelSpacing = _decimals(pixel_mm[::-1])
        one.RescaleSlope, one.RescaleIntercept = drawn.slope, drawn.intercept
        one.InstanceNumber = index + 1
        one.PixelData = drawn.array[:, :, index].T.astype("<i2").tobytes()
        found.append(one)
    return found


def enhanced_object(drawn: Drawn) -> Any:
    """One object with a frame for each slice."""
    from pydicom.dataset import Dataset

    def item(**elements: Any) -> Dataset:
        one = Dataset()
        for keyword, value in elements.items():
            setattr(one, keyword, value)
        return one

    found = new_object(ENHANCED_CT, f"{drawn.uid}.1", **_image_elements(drawn))
    found.NumberOfFrames = drawn.array.shape[2]
    directions, pixel_mm = _plane(drawn.affine)
    found.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=_decimals(directions.ravel()))],
            PixelMeasuresSequence=[item(PixelSpacing=_decimals(pixel_mm[::-1]), SliceThickness="2.5")],
            PixelValueTransformationSequence=[
                item(RescaleSlope=drawn.slope, RescaleIntercept=drawn.intercept, RescaleType="HU")
            ],
        )
    ]
    places = [drawn.affine[:3, 3] + index * drawn.affine[:3, 2] for index in range(drawn.array.shape[2])]
    found.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=_decimals(place))]) for place in places
    ]
    found.PixelData = drawn.array.transpose(2, 1, 0).astype("<i2").tobytes()
    return found


def write_objects(folder: Path, objects: Sequence[Any], names: Sequence[str] | None = None) -> list[Path]:
    """Files of the objects; without names in an order that is none of the slices'."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(1).permutation(len(objects)).tolist()
    named = names or [f"IM{number:04d}" for number in order]
    paths = [folder / name for name in named]
    for path, one in zip(paths, objects, strict=True):
        one.save_as(path, enforce_file_format=True)
    return paths


def write_series(folder: Path, drawn: Drawn) -> list[Path]:
    """Files in the order of the slices."""
    return write_objects(folder, slice_objects(drawn))


def _image_elements(drawn: Drawn) -> dict[str, Any]:
    columns, rows, _ = drawn.array.shape
    return {
        "Modality": drawn.modality,
        "SeriesInstanceUID": drawn.uid,
        "FrameOfReferenceUID": "1.2.3.9",
        "PositionReferenceIndicator": "",
        "SeriesNumber": 3,
        "SeriesDescription": "thin",
        "Columns": columns,
        "Rows": rows,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Manufacturer": "M",
    } | drawn.tags


def _plane(affine: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = affine[:3, :2]
    pixel_mm = np.linalg.norm(columns, axis=0)
    return (columns / pixel_mm).T, pixel_mm


def _decimals(values: Any) -> list[str]:
    return [f"{float(value):.10f}"[:16] for value in values]
