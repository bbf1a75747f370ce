"""What a file of no readable format is, and how its scan becomes readable."""

from __future__ import annotations

from pathlib import Path

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".7z", ".rar")
#: Names of DICOM objects; whether they are any is found in their content.
_DICOM = (".dcm", ".ima")


def unread_format(path: Path) -> str | None:
    """'is ...; do ...' of a file that is known though it is not read; None of others.

    >>> unread_format(Path("scans.zip"))
    'is an archive; unpack it, and name the folder'
    """
    if path.name.lower().endswith(_ARCHIVES):
        return "is an archive; unpack it, and name the folder"
    if path.name.lower().endswith(_DICOM):
        return "is called like a DICOM object and is none; send or copy the study again"
    return None
