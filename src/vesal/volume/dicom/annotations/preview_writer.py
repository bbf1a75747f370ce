"""A picture of a result -> a secondary capture, which every viewer of a PACS shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vesal.volume.dicom.annotations.made_by import MadeBy, derived_object

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def preview(source: Dataset, picture: NDArray[np.uint8], made_by: MadeBy) -> FileDataset:
    """A colour picture of the source's study (PS3.3 A.8.1).

    Args:
        source: header of an object of the scan.
        picture: (rows, columns, 3), 0 to 255.
        made_by: what made it.
    """
    found = derived_object(source, _SECONDARY_CAPTURE, "OT", made_by)
    # A picture of planes lies nowhere in the patient.
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
        if keyword in found:
            del found[keyword]
    found.ConversionType, found.Laterality = "WSD", ""
    found.ImageType = ["DERIVED", "SECONDARY"]
    found.DerivationDescription = "Planes through the segmentation, with its contours"
    found.PatientOrientation = ""
    found.SamplesPerPixel, found.PhotometricInterpretation, found.PlanarConfiguration = 3, "RGB", 0
    found.Rows, found.Columns = picture.shape[:2]
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 8, 8, 7, 0
    found.BurnedInAnnotation = "NO"
    pixels = np.ascontiguousarray(picture).tobytes()
    # Of an even number of bytes (PS3.5 7.1.1).
    found.PixelData = pixels + b"\0" * (len(pixels) % 2)
    return found
