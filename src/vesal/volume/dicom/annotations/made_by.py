"""What every DICOM object that Vesal writes says of the patient, of itself and of what made it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING

from vesal.errors import DataError
from vesal.text import listed
from vesal.version import __version__
from vesal.volume.dicom.extra import needed

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

#: Elements of patient and study that a derived object has in common with its source (PS3.3 C.7.1.1, C.7.2.1).
_OF_THE_PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientWeight",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "StudyDescription",
    "SpecificCharacterSet",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)

#: Of these an empty value has to be there where the source has none (type 2).
_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
          "ReferringPhysicianName", "StudyID", "AccessionNumber", "PositionReferenceIndicator")  # fmt: skip

#: What refers to a slice does so by these.
_REFERRED_BY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
)

MANUFACTURER = "Vesal"


@dataclass(frozen=True)
class MadeBy:
    """What made an object, and as what.

    Attributes:
        title: a few words, such as the model's name.
        digest: of the model.
        series_uid, instance_uid: of the object.
        series_number: of its series.
        at: when.
    """

    title: str
    digest: str
    series_uid: str
    instance_uid: str
    series_number: int
    at: datetime = field(default_factory=datetime.now)

    @property
    def date(self) -> str:
        """As DICOM writes it."""
        return self.at.strftime("%Y%m%d")

    @property
    def time(self) -> str:
        """As DICOM writes it."""
        return self.at.strftime("%H%M%S")


def complete(header: Dataset, where: str) -> None:
    """Give the header of a slice what objects that refer to it must have, empty: programs that take names out of
    studies take whole elements.

    Args:
        header: is changed.
        where: for messages.

    Raises:
        DataError: an identifier is missing, which nothing can stand for.
    """
    for keyword in _EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    if missing := [keyword for keyword in _REFERRED_BY if not header.get(keyword)]:
        raise DataError(
            f"{where} lacks {listed(missing)}, by which DICOM objects of a result refer to it; ask for nifti, or send "
            "the series again."
        )


def object_bytes(dataset: FileDataset, texts: Iterable[str] = ()) -> bytes:
    """An object as a file holds it.

    Args:
        dataset: the object.
        texts: of it, which the scan's characters may not hold: then it is in UTF-8.
    """
    if not all(text.isascii() for text in texts):
        dataset.SpecificCharacterSet = "ISO_IR 192"
    stream = BytesIO()
    with warnings.catch_warnings():
        # Of values that came from the scanner against the rules, and are kept.
        warnings.simplefilter("ignore")
        dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def derived_object(source: Dataset, kind: str, modality: str, made_by: MadeBy) -> FileDataset:
    """An object of the source's patient and study, in a series of its own.

    Args:
        source: header of an object of the scan.
        kind: SOP class UID of the new one.
        modality: of its series.
        made_by: what made it.
    """
    dataset = needed("pydicom.dataset")
    meta = dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, made_by.instance_uid
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    found: FileDataset = dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword in _EMPTY:
        setattr(found, keyword, "")
    for keyword in _OF_THE_PATIENT:
        if keyword in source:
            found[keyword] = source[keyword]
    found.SOPClassUID, found.SOPInstanceUID = kind, made_by.instance_uid
    found.Modality, found.SeriesInstanceUID = modality, made_by.series_uid
    found.SeriesNumber, found.InstanceNumber = made_by.series_number, 1
    found.SeriesDescription = made_by.title[:64]
    found.SeriesDate = found.InstanceCreationDate = made_by.date
    found.SeriesTime = found.InstanceCreationTime = made_by.time
    found.OperatorsName = ""
    found.Manufacturer, found.ManufacturerModelName = MANUFACTURER, made_by.title[:64]
    found.SoftwareVersions = __version__
    found.DeviceSerialNumber = made_by.digest[:64]
    return found
