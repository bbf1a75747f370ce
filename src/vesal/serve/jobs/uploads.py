"""Uploads, written to disk as they come: within limits, under names of our own, whole or not at all."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from vesal.errors import VesalError
from vesal.serve.serve_settings import Limits
from vesal.text import inline
from vesal.volume.io import SUFFIXES, is_image

#: Of a field that is no file.
_MOST_FIELD_BYTES = 1 << 16
_MOST_FIELDS = 100
#: Bytes of a file's name as it is kept.
_MOST_NAME = 120
#: Beginning of a file -> what it is.
_MAGIC = {b"PK\x03\x04": "zip", b"NRRD": "nrrd", b"\x1f\x8b": "gzip"}
_DICOM_AT, _DICOM = 128, b"DICM"
#: Byte 0 of NIfTI-1 and -2 in both orders of bytes: the size of the header.
_NIFTI = (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c", b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")


class UploadError(VesalError):
    """An upload that is refused; with the status of the answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Upload:
    """Fields and files of a form, while they come.

    Attributes:
        folder: for the files; there and empty.
        limits: that hold.
        fields: name -> text; what is sent several times stands in lines.
        files: paths of what was written, in the order of arrival.
        received: bytes of all files.
    """

    folder: Path
    limits: Limits
    fields: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    received: int = 0
    _open: BinaryIO | None = None
    _text: bytearray = field(default_factory=bytearray)
    _count: int = 0

    def begin_file(self, name: str) -> None:
        """A file follows.

        Raises:
            UploadError: there are too many, or its name is none that we would write.
        """
        if len(self.files) >= self.limits.upload_files:
            raise UploadError(
                f"More than {self.limits.upload_files:,} files in one upload; send fewer, or a zip.", 413
            )
        path = self.folder / f"{len(self.files):05d}" / safe_name(name)
        path.parent.mkdir()
        self._open = path.open("xb")
        self.files.append(path)

    def file_data(self, data: bytes | memoryview) -> None:
        """Bytes of the file that was begun last.

        Raises:
            UploadError: the upload is too large, or the disk is nearly full.
        """
        assert self._open is not None
        self.received += len(data)
        if self.received > self.limits.upload_bytes:
            raise UploadError(too_large(self.limits), 413)
        if shutil.disk_usage(self.folder).free - len(data) < self.limits.room_bytes:
            raise UploadError(
                "The server's disk is nearly full; try again later, or ask whoever runs it.", 507
            )
        self._open.write(data)

    def end_file(self) -> None:
        """The file that was begun last is whole."""
        assert self._open is not None
        self._open.close()
        self._open = None

    def field_data(self, data: bytes) -> None:
        """Bytes of a field.

        Raises:
            UploadError: it is no field of ours.
        """
        self._text += data
        if len(self._text) > _MOST_FIELD_BYTES:
            raise UploadError("A field of the form is longer than any that this server takes.", 413)

    def end_field(self, name: str) -> None:
        """The field is whole.

        Raises:
            UploadError: there are too many, or it is no text.
        """
        self._count += 1
        if self._count > _MOST_FIELDS:
            raise UploadError("The form has more fields than any that this server takes.", 413)
        try:
            text = self._text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UploadError(f"The field {name!r} is no text in UTF-8.") from error
        # A field may come again, as that of the series does for each channel.
        self.fields[name] = f"{self.fields[name]}\n{text}" if name in self.fields else text
        self._text.clear()

    def close(self) -> None:
        """No more will come."""
        if self._open is not None:
            self._open.close()
            self._open = None


def too_large(limits: Limits) -> str:
    """Why an upload was refused."""
    return f"The upload is larger than the {limits.upload_bytes / 1e9:.3g} GB that this server takes."


def safe_name(name: str) -> str:
    """The last part of a path as a browser sends it, in letters that every system takes.

    >>> safe_name("study one/CT/slice 1.dcm"), safe_name("Lungs é.nii.gz")
    ('slice_1.dcm', 'Lungs_é.nii.gz')

    Raises:
        UploadError: the path leads elsewhere, or has no name.
    """
    parts = re.split(r"[/\\]", name)
    # An absolute path says where it lay at the sender's, as MONAI Label's client does; its last part is taken.
    if ".." in parts or "\0" in name:
        raise UploadError(
            f"The file name {inline(name[:_MOST_NAME])!r} leads out of the upload; send a plain name."
        )
    plain = re.sub(r"[^\w.+-]+", "_", parts[-1]).lstrip(".")
    if not plain.strip("_"):
        raise UploadError("A file has no name; name it as on your disk, such as scan.nii.gz.")
    ending = next((end for end in sorted(SUFFIXES, key=len, reverse=True) if plain.lower().endswith(end)), "")
    stem = plain[: len(plain) - len(ending)]
    # Systems count a name's bytes.
    short = stem.encode()[: _MOST_NAME - len(ending)].decode("utf-8", "ignore")
    return short + plain[len(plain) - len(ending) :]


def arrange(files: list[Path], folder: Path, channels: int) -> list[Path]:
    """What is to be predicted of an upload: one zip, one scan of one file a channel, or a folder of DICOM files.

    Args:
        files: as they came, each in a folder of its own.
        folder: to which they are moved.
        channels: that the model wants.

    Returns:
        The inputs, as `vesal predict` takes them.

    Raises:
        UploadError: there is no file, or no scan among them, or not one file a channel.
    """
    if not files:
        raise UploadError("The form holds no file; send the scan as the field 'files'.")
    kinds = {file: _kind(file) for file in files}
    folder.mkdir()
    if len(files) == 1 and kinds[files[0]] == "zip":
        return [_moved(files[0], folder / f"{files[0].stem}.zip")]
    if all(kind == "scan" for kind in kinds.values()):
        return _scans(files, folder, channels)
    if any(kind == "dicom" for kind in kinds.values()):
        # Whatever else lies in a study's folder is passed over by the reader, and said.
        for number, file in enumerate(files):
            _moved(file, folder / "study" / f"{number:05d}-{file.name}")
        return [folder / "study"]
    odd = next(file for file, kind in kinds.items() if kind != "scan")
    raise UploadError(
        f"{odd.name} is no scan that this server reads; send NIfTI, NRRD, MHA, DICOM files or a zip of DICOM.",
        415,
    )


def _scans(files: list[Path], folder: Path, channels: int) -> list[Path]:
    # A colour picture, or a scan of four axes, is one file of all channels; whether it is such shows when it is read.
    if len(files) not in (1, channels):
        wanted = "one file" if channels == 1 else f"{channels} files, one a channel in the model's order,"
        raise UploadError(
            f"The model takes {wanted} of a scan, and {len(files)} came; send each scan by itself."
        )
    if len(files) == 1:
        return [_moved(files[0], folder / files[0].name)]
    stem, ending = _split(files[0].name)
    return [
        _moved(file, folder / f"{stem}_{number:04d}{_split(file.name)[1] or ending}")
        for number, file in enumerate(files)
    ]


def _split(name: str) -> tuple[str, str]:
    ending = next(end for end in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(end))
    return name[: len(name) - len(ending)], name[len(name) - len(ending) :]


def _moved(file: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    file.rename(to)
    file.parent.rmdir()
    return to


def _kind(file: Path) -> str:
    """zip, dicom, scan, or '' for anything else; the content must be what the name says."""
    with file.open("rb") as opened:
        head = opened.read(_DICOM_AT + len(_DICOM))
    if head[_DICOM_AT:] == _DICOM:
        return "dicom"
    found = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
    if found == "zip" and not is_image(file):
        return "zip"
    return "scan" if is_image(file) and _plausible(file.name.lower(), head, found) else ""


def _plausible(name: str, head: bytes, found: str) -> bool:
    if name.endswith(".gz"):
        return found == "gzip"
    if name.endswith(".nii"):
        return head.startswith(_NIFTI)
    if name.endswith(".nrrd"):
        return found == "nrrd"
    if name.endswith(".mha"):
        return b"=" in head
    # Headers whose voxels lie in a file of their own are not taken: that would be any file of the server's.
    return bool(head) and not name.endswith((".hdr", ".nhdr", ".mhd"))
