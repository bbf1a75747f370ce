"""DICOM headers, read leniently: what a scanner wrote against the rules is taken as it is where it can be read."""

from __future__ import annotations

import contextlib
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vesal.errors import DataError, VesalError
from vesal.volume.dicom.extra import needed
from vesal.volume.dicom.source import MAGIC, PREAMBLE, Source, is_dicom

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

#: Deflated explicit VR little endian (PS3.5 A.5).
_DEFLATED = "1.2.840.10008.1.2.1.99"
#: Bytes that are unpacked whatever the ratio, unpacked bytes for each packed one beyond, and bytes read at once: each
#: gives at most 1032 times as many.
_HARMLESS, _MOST_RATIO, _PIECE = 1 << 29, 20, 1 << 14


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
            _refuse_bomb(stream, source.file(name))
            header = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=True)
    if not len(header):
        raise DataError(f"{source.file(name)} ends within its header; send or download it again.")
    return header


def _refuse_bomb(stream: BinaryIO, path: Path) -> None:
    """pydicom inflates a deflated data set whole, before it looks at anything: a megabyte may be gigabytes.

    Raises:
        DataError: it unpacks to far more than slices do.
    """
    stream.seek(PREAMBLE)
    if stream.read(len(MAGIC)) == MAGIC:
        meta = needed("pydicom.filereader").read_dataset(
            stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2
        )
        if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED:
            most = max(_HARMLESS, _MOST_RATIO * path.stat().st_size)
            inflating, count = zlib.decompressobj(-zlib.MAX_WBITS), 0
            while (piece := stream.read(_PIECE)) and count <= most:
                count += len(inflating.decompress(piece))
            if count > most:
                raise DataError(f"{path} unpacks to far more than its size suggests; send it uncompressed.")
    stream.seek(0)
