"""Prepared cases on disk, found by what they were made from.

An entry is three files: KEY.image.npy, KEY.label.npy (if there is a label) and KEY.json, which is written last:
an entry without it, or whose arrays are not of the recorded sizes, was interrupted and is made again. KEY is
a digest of the case's files, of what the data set says of them (the threshold of soft masks, names of segments), of
the part of the plan that preparation depends on, and of PREPARE_VERSION.

An entry is read once when it is found, and compared with the checksums that were taken of it when it was written: what
a disk or a copy damaged since is made again, too. Training reads the files right afterwards, so that most of them then
come from the system's memory.
"""

from __future__ import annotations

import io
import json
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from vesal.data.case import files_of
from vesal.data.crop import Crop
from vesal.data.dataset import Case
from vesal.data.labels import IGNORE
from vesal.errors import DataError, VesalError
from vesal.files import (
    Place,
    atomic_path,
    cannot_write,
    check_place,
    content_hash,
    file_checksum,
    is_temporary,
    link_or_copy,
    read_json,
    staying,
    sweep,
    write_text,
)
from vesal.memory_limit import adopt
from vesal.planning.plan import Plan

#: Raised by one whenever the same file and plan would be prepared differently: old entries are then not found.
PREPARE_VERSION = 1

#: Voxels of a class whose places are kept, for patches to be centred on.
PLACES = 1000

_INDEX = "index.json"


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A prepared case on disk.

    Attributes:
        id, patient, annotated: of the case.
        image: .npy of (C, *crop.shape), float16 or float32.
        label: .npy of *crop.shape, contiguous uint8, or None.
        crop: where it lies in the source.
        foreground: contiguous class value -> (n, 3) places of up to PLACES of its voxels, in prepared axes.
        nbytes: of both arrays.
        outside: labelled voxels that the crop left out.
    """

    id: str
    patient: str
    annotated: tuple[str, ...] | None
    image: Path
    label: Path | None
    crop: Crop
    foreground: dict[int, NDArray[np.int64]] = field(repr=False)
    nbytes: int
    outside: int = 0

    def load(self, mmap: bool = False) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """(image (C, *S), label (*S) uint8).

        Args:
            mmap: map the files instead of reading them: the image is then of the type on disk, float16 as a
                rule. Without it the image is float32, of the very same values.

        Raises:
            VesalError: the files are gone or damaged, or the case has no label.
        """
        if self.label is None:
            raise VesalError(f"Case {self.id} was prepared without a label; give it one or leave it out.")
        mode: Literal["r"] | None = "r" if mmap else None
        try:
            image, label = np.load(self.image, mmap_mode=mode), np.load(self.label, mmap_mode=mode)
            for array in (image, label):
                if isinstance(array, np.memmap):
                    adopt(array)
        except (OSError, ValueError) as error:
            raise VesalError(
                f"The prepared case {self.image} cannot be read ({error}); start again."
            ) from error
        return (image if mmap else image.astype(np.float32, copy=False)), label


def take_over(entries: Path, folder: Path) -> None:
    """Give a cache the entries of another one, which stays as it is and may be deleted later.

    Args:
        entries: the folder of the other cache.
        folder: of the cache; made where it is not there.

    Raises:
        VesalError: an entry cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Descriptions last: an entry without one is none, whenever this is killed.
    for file in sorted(entries.iterdir(), key=lambda path: (path.suffix == ".json", path.name)):
        to = folder / file.name
        if is_temporary(file) or not file.is_file() or to.exists():
            continue
        check_place(to)
        try:
            # No entry is ever changed in its place, so both caches may have the same bytes.
            link_or_copy(file, to)
        except OSError as error:
            raise cannot_write(to, error) from error


class Cache:
    """The cache folder during one run over cases; safe for threads. Leaving the block saves its index."""

    def __init__(self, folder: Path, plan: Plan, place: int = 0) -> None:
        self._folder = folder
        self._plan_key = _plan_key(plan, place)
        self._lock = threading.Lock()
        # Signature of a case's files (path, size, times) -> digest of their bytes: a file that was not touched since
        # need not be read to find its entry.
        self._digests: dict[str, str] = {}
        self._within = ExitStack()

    def __enter__(self) -> Cache:
        self._within.enter_context(staying(Place(self._folder)))
        sweep(self._folder)
        try:
            index = read_json(self._folder / _INDEX)
        except VesalError:
            index = None
        self._digests = index if isinstance(index, dict) else {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._within:
            if error is not None and isinstance(error, VesalError):
                return
            write_text(self._folder / _INDEX, json.dumps(self._digests))

    def sign(self, case: Case) -> str:
        """Of the state of the case's files, without reading them.

        Raises:
            OSError: a file is absent.
            DataError: a header is absent or damaged.
        """
        states = [(path.stat(), str(path.absolute())) for path in files_of(case)]
        # The time of the entry (ctime) too: what takes a scan's place often has its size and its time.
        stamps = [(name, state.st_size, state.st_mtime_ns, state.st_ctime_ns) for state, name in states]
        return content_hash(json.dumps(stamps).encode())

    def remember(self, signature: str, digest: str) -> None:
        """Note that files in this state have this content."""
        with self._lock:
            self._digests[signature] = digest

    def find(self, case: Case, digest: str | None = None) -> PreparedCase | None:
        """The whole and sound entry of a case, or None.

        Args:
            case: whose entry.
            digest: of its files' bytes; without it they must be in a state that was seen before.
        """
        if digest is None:
            try:
                digest = self._digests.get(self.sign(case))
            except (OSError, DataError):
                return None
        if digest is None:
            return None
        try:
            return self._read(case, self._key(case, digest))
        except (OSError, VesalError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def store(
        self,
        case: Case,
        digest: str,
        crop: Crop,
        image: NDArray[Any],
        label: NDArray[np.uint8] | None,
        outside: int,
    ) -> PreparedCase:
        """Write an entry, its description last.

        Raises:
            VesalError: the folder cannot be written, or the disk is full.
        """
        key = self._key(case, digest)
        saved = {"image": _save(self._path(key, "image.npy"), image)}
        places: dict[str, list[int]] = {}
        if label is not None:
            saved["label"] = _save(self._path(key, "label.npy"), label)
            places = _places(label, seed=int(key[:16], 16))
        entry = {
            "crop": crop.to_dict(),
            "sizes": {name: size for name, (size, _) in saved.items()},
            "checksums": {name: checksum for name, (_, checksum) in saved.items()},
            "outside": outside,
            "foreground": places,
        }
        write_text(self._path(key, "json"), json.dumps({"checksum": _checksum(entry), **entry}))
        return self._read(case, key, compare=False)

    def _read(self, case: Case, key: str, *, compare: bool = True) -> PreparedCase:
        entry = read_json(self._path(key, "json"))
        if entry.pop("checksum") != _checksum(entry):
            raise ValueError(f"The description of {key} is damaged")
        arrays = {name: self._path(key, f"{name}.npy") for name in entry["sizes"]}
        for name, path in arrays.items():
            if path.stat().st_size != entry["sizes"][name]:
                raise ValueError(f"{path} is not whole")
            if compare and file_checksum(path) != entry["checksums"][name]:
                raise ValueError(f"{path} is damaged")
        crop = Crop.from_dict(entry["crop"])
        return PreparedCase(
            id=case.id,
            patient=case.patient,
            annotated=case.annotated,
            image=arrays["image"],
            label=arrays.get("label"),
            crop=crop,
            foreground={
                int(value): np.stack(np.unravel_index(np.asarray(flat), crop.shape), axis=1)
                for value, flat in entry["foreground"].items()
            },
            nbytes=sum(entry["sizes"].values()),
            outside=entry["outside"],
        )

    def _key(self, case: Case, digest: str) -> str:
        # Files of the same bytes in another division into channels and label are another case.
        division = json.dumps([len(case.images), case.label is not None])
        return content_hash(digest.encode(), division.encode(), self._plan_key, *_how_read(case))

    def _path(self, key: str, ending: str) -> Path:
        return self._folder / f"{key}.{ending}"


def _how_read(case: Case) -> list[bytes]:
    """What of a case's files is not in their bytes; nothing of files that say all themselves."""
    stated = case.model_dump(include={"threshold", "fill_slices", "pixel_mm"}, exclude_defaults=True)
    if case.segment_values is not None:
        stated["segments"] = case.segment_values
    return [json.dumps(stated, sort_keys=True).encode()] if stated else []


def _plan_key(plan: Plan, place: int) -> bytes:
    fields = (
        "dimension", "slice_axis", "spacing_mm", "normalisation", "crop_to_nonzero", "image_order", "label_order",
        "foreground_channel", "margin_mm", "blocks", "rules", "axis_order", "as_stored", "keeps_spacing",
    )  # fmt: skip
    values = plan.identity(*fields)
    values["place"] = place if plan.locator is not None else None
    if plan.locator is not None:
        values["patch"] = plan.patch
    values["values"] = [label.value for label in plan.labels.labels]
    values["background"], values["ignore"] = plan.labels.background, plan.labels.ignore
    return json.dumps([PREPARE_VERSION, values], sort_keys=True).encode()


def _places(label: NDArray[np.uint8], seed: int) -> dict[str, list[int]]:
    """Class value -> flat indices of up to PLACES of its voxels, drawn by the seed."""
    generator = np.random.default_rng(seed)
    flat = np.flatnonzero(label != 0)
    values = label.ravel()[flat]
    places = {}
    for value in np.flatnonzero(np.bincount(values, minlength=1)):
        if value == IGNORE:
            continue
        own = flat[values == value]
        if own.size > PLACES:
            own = own[np.sort(generator.choice(own.size, PLACES, replace=False, shuffle=False))]
        places[str(value)] = own.tolist()
    return places


def _checksum(entry: dict[str, Any]) -> int:
    """Of a description, however its keys are ordered."""
    return isal_zlib.crc32(json.dumps(entry, sort_keys=True).encode())


def _save(path: Path, array: NDArray[Any]) -> tuple[int, int]:
    """Write an array; the size and the checksum of its file."""
    # np.save hides the system's reason (a full disk, say) behind a count of items; a plain write raises it.
    array = np.ascontiguousarray(array)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    checksum = isal_zlib.crc32(array.data, isal_zlib.crc32(head.getbuffer()))
    with atomic_path(path) as temporary:
        with temporary.open("wb") as stream:
            stream.write(head.getbuffer())
            stream.write(array.data)
        return temporary.stat().st_size, checksum
