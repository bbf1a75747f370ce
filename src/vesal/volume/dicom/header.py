"""DICOM headers, read leniently: what a scanner wrote against the rules is taken as it is where it can be read."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vesal.errors import DataError, VesalError
from vesal.volume.dicom.extra import needed
from vesal.volume.dicom.source import Source, is_dicom

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset


def read_header(source: Source, name: str) -> FileDataset | None:
    """An object's header without its pixels; None for a file that is no DICOM object.

    Raises:
        DataError: it is a DICOM object, but damaged.
        UsageError: pydicom is not installed.
    """
    return _read(source, name, pixels=False)


def read_object(source: Source, name: str) -> FileDataset:
    """An object with its pixels.

    Raises:
        DataError: it is damaged or no DICOM object.
        UsageError: pydicom is not installed.
    """
    found = _read(source, name, pixels=True)
    if found is None:
        raise DataError(f"{source.file(name)} is no DICOM object; take it out of the study.")
    return found


@contextlib.contextmanager
def decoding(where: str | Path) -> Iterator[None]:
    """Elements are decoded when they are first asked for: what is damaged shows there, in any kind of error."""
    # pydicom tells of every value against the rules by a warning, of which a study may hold thousands.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except VesalError:
            raise
        except Exception as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{where} is a damaged DICOM object ({why}); send or download it again."
            ) from error


def _read(source: Source, name: str, *, pixels: bool) -> FileDataset | None:
    pydicom = needed("pydicom")
    with source.open(name) as stream:
        if not is_dicom(stream):
            return None
        with decoding(source.file(name)):
            header = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=True)
    if not len(header):
        raise DataError(f"{source.file(name)} ends within its header; send or download it again.")
    return header
