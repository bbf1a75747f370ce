"""What every DICOM object that Vesal writes says of the patient, of itself and of what made it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING

from vesal.errors import DataError
from vesal.version import __version__
from vesal.volume.dicom.extra import needed
from vesal.volume.dicom.header import decoding

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

#: Of these a value that breaks the type's rules stops other libraries: date, time, and one of a list (PS3.5 6.2, PS3.3
#: C.7.1.1).
_DATES, _TIMES, _SEXES = ("PatientBirthDate", "StudyDate"), ("StudyTime",), ("M", "F", "O")

#: Of these an empty value has to be there where the source has none (type 2).
_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
          "ReferringPhysicianName", "StudyID", "AccessionNumber", "PositionReferenceIndicator")  # fmt: skip

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


def completed(header: Dataset, where: str) -> Dataset:
    """A scan's header with all that objects on it need: elements that may be empty, and text in UTF-8.

    Those who take names away often take the elements, and what a label or an old Japanese scanner says has no place in
    other character sets. A date, a time or a sex that is none becomes empty: highdicom refuses it.

    Args:
        header: which is changed.
        where: for messages.

    Raises:
        DataError: the header does not say of which study or space it is.
    """
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        if not header.get(keyword):
            raise DataError(
                f"{where} has no {keyword}, so that no DICOM object can refer to it; take NIfTI as the result."
            )
    with decoding(where):
        header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _EMPTY:
        if keyword not in header or not _is_valid(header, keyword):
            setattr(header, keyword, "")
    return header


def _is_valid(header: Dataset, keyword: str) -> bool:
    """Whether an element's value is one of its type; where that is easily told and matters."""
    value = header.get(keyword) or ""
    if keyword == "PatientSex":
        return value in ("", *_SEXES)
    if keyword not in _DATES + _TIMES:
        return True
    kinds = needed("pydicom.valuerep")
    try:
        (kinds.DA if keyword in _DATES else kinds.TM)(value)
    except (ValueError, TypeError):
        return False
    return True


@contextlib.contextmanager
def making(where: str) -> Iterator[None]:
    """Around what makes objects of a scan's header: libraries quote names of patients in warnings and logs.

    Args:
        where: for messages.

    Raises:
        DataError: the header holds what no object can be made of.
    """
    logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"No DICOM object can be made that refers to {where} ({why}); take NIfTI as the result."
            ) from error


def object_bytes(dataset: FileDataset) -> bytes:
    """An object as a file holds it."""
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
