"""What a file of no readable format is, and how its scan becomes readable."""

from __future__ import annotations

from pathlib import Path

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".7z", ".rar")
#: At this byte a DICOM file says that it is one (DICOM PS3.10, section 7.1).
_DICOM_AT, _DICOM = 128, b"DICM"


def unread_format(path: Path) -> str | None:
    """'is ...; do ...' of a file that is known though it is not read; None of others.

    >>> unread_format(Path("scans.zip"))
    'is an archive; unpack it, and name the folder'
    """
    if path.name.lower().endswith(_ARCHIVES):
        return "is an archive; unpack it, and name the folder"
    if path.name.lower().endswith((".dcm", ".ima")) or path.name == "DICOMDIR" or _says_dicom(path):
        return (
            "is of a DICOM series, which Vesal does not read; convert the series to NIfTI first, for example by "
            "dcm2niix -z y -o OUT FOLDER"
        )
    return None


def _says_dicom(path: Path) -> bool:
    try:
        if not path.is_file():
            return False  # a pipe would wait for its writer
        with path.open("rb") as stream:
            stream.seek(_DICOM_AT)
            return stream.read(len(_DICOM)) == _DICOM
    except OSError:
        return False
