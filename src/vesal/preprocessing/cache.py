"""Prepared cases on disk, found by what they were made from.

An entry is three files: KEY.image.npy, KEY.label.npy (if there is a label) and KEY.json, which is written last:
an entry without it, or whose arrays are not of the recorded sizes, was interrupted and is made again. KEY is
a digest of the case's files, of the part of the plan that preparation depends on, and of PREPARE_VERSION.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vesal.data.case import files_of
from vesal.data.crop import Crop
from vesal.data.dataset import Case
from vesal.data.labels import IGNORE
from vesal.errors import DataError, VesalError
from vesal.files import atomic_path, content_hash, read_json, sweep, write_text
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
        except (OSError, ValueError) as error:
            raise VesalError(
                f"The prepared case {self.image} cannot be read ({error}); start again."
            ) from error
        return (image if mmap else image.astype(np.float32, copy=False)), label


class Cache:
    """The cache folder during one run over cases; safe for threads. Leaving the block saves its index."""

    def __init__(self, folder: Path, plan: Plan, place: int = 0) -> None:
        self._folder = folder
        self._plan_key = _plan_key(plan, place)
        self._lock = threading.Lock()
        # Signature of a case's files (path, size, time of change) -> digest of their bytes: a file that was not
        # touched since need not be read to find its entry.
        self._digests: dict[str, str] = {}

    def __enter__(self) -> Cache:
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
        if error is None or not isinstance(error, VesalError):
            write_text(self._folder / _INDEX, json.dumps(self._digests))

    def sign(self, case: Case) -> str:
        """Of the state of the case's files, without reading them.

        Raises:
            OSError: a file is absent.
            DataError: a header is absent or damaged.
        """
        states = [(path.stat(), str(path.absolute())) for path in files_of(case)]
        text = json.dumps([(name, state.st_size, state.st_mtime_ns) for state, name in states])
        return content_hash(text.encode())

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
        sizes = {"image": _save(self._path(key, "image.npy"), image)}
        places: dict[str, list[int]] = {}
        if label is not None:
            sizes["label"] = _save(self._path(key, "label.npy"), label)
            places = _places(label, seed=int(key[:16], 16))
        entry = {"crop": crop.to_dict(), "sizes": sizes, "outside": outside, "foreground": places}
        write_text(self._path(key, "json"), json.dumps(entry))
        return self._read(case, key)

    def _read(self, case: Case, key: str) -> PreparedCase:
        entry = read_json(self._path(key, "json"))
        arrays = {name: self._path(key, f"{name}.npy") for name in entry["sizes"]}
        for name, path in arrays.items():
            if path.stat().st_size != entry["sizes"][name]:
                raise ValueError(f"{path} is not whole")
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
        return content_hash(digest.encode(), division.encode(), self._plan_key)

    def _path(self, key: str, ending: str) -> Path:
        return self._folder / f"{key}.{ending}"


def _plan_key(plan: Plan, place: int) -> bytes:
    fields = {
        "dimension", "slice_axis", "spacing_mm", "normalisation", "crop_to_nonzero", "image_order", "label_order",
        "foreground_channel", "margin_mm", "blocks",
    }  # fmt: skip
    values = plan.model_dump(mode="json", include=fields)
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


def _save(path: Path, array: NDArray[Any]) -> int:
    # np.save hides the system's reason (a full disk, say) behind a count of items; a plain write raises it.
    array = np.ascontiguousarray(array)
    with atomic_path(path) as temporary:
        with temporary.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
            stream.write(array.data)
        return temporary.stat().st_size
