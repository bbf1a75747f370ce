"""DICOM objects as archives and nodes name them: identifiers that are safe, and what a file holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vesal.errors import DataError
from vesal.files import content_hash
from vesal.volume.dicom.header import decoding, read_header
from vesal.volume.dicom.source import open_source

#: What a UID may hold (PS3.5 9.1), leniently: leading zeros of a component are common.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64


@dataclass(frozen=True)
class ResultObject:
    """A file that is to be stored.

    Attributes:
        kind: SOP class UID.
        instance, series, study: their UIDs.
        syntax: transfer syntax UID.
    """

    path: Path
    kind: str
    instance: str
    series: str
    study: str
    syntax: str


def checked_uid(value: object, what: str) -> str:
    """A UID that may stand in an address.

    Raises:
        DataError: it is none.

    >>> checked_uid("1.2.840", "a series")
    '1.2.840'
    """
    text = str(value).strip(" \0")
    if len(text) > _LONGEST_UID or not _UID.fullmatch(text):
        raise DataError(
            f"An identifier of {what} is none, with characters that DICOM does not allow; correct it in the archive."
        )
    return text


def file_name(uid: str, kind: str) -> str:
    """A name that every system takes, whatever the UID holds: of its digest.

    >>> file_name("1.2.3", "series") == file_name("1.2.3", "series") != file_name("../..", "series")
    True
    """
    return f"{kind}-{content_hash(uid.encode('utf-8', 'surrogatepass'))[:20]}"


def result_object(path: Path) -> ResultObject:
    """What a file holds, from its header.

    Raises:
        DataError: it is no DICOM object, damaged, or does not say what it is.
    """
    header = read_header(open_source(path), path.name)
    if header is None:
        raise DataError(f"{path} is to be stored in an archive and is no DICOM object; leave it out.")
    with decoding(path):
        found = ResultObject(
            path,
            str(header.get("SOPClassUID", "")),
            str(header.get("SOPInstanceUID", "")),
            str(header.get("SeriesInstanceUID", "")),
            str(header.get("StudyInstanceUID", "")),
            str(getattr(header, "file_meta", {}).get("TransferSyntaxUID", "")),
        )
    if not all((found.kind, found.instance, found.series, found.study, found.syntax)):
        raise DataError(f"{path} does not say what it is and where it belongs; write it again.")
    return found
