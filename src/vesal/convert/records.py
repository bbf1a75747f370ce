"""Records of a conversion: its source, a scan that was read, a case that was written, and a description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from vesal.convert.relabel import Relabelling
from vesal.convert.slices import SlicedVolume, Window
from vesal.data.dataset import Case, Dataset, SliceOf
from vesal.data.fingerprint import Failure
from vesal.data.labels import LabelSet
from vesal.files import read_json
from vesal.journal import JournalEntry
from vesal.volume.volume import LabelMap, Volume

_CREDITS = ("description", "reference", "licence", "license", "release")


@dataclass(frozen=True, eq=False)
class Scan:
    """One case as it was read, in the source's own types and values.

    Attributes:
        case: its id, patient and annotated labels.
        test: goes to the test scans.
        image: (C, *spatial); None where there are only masks.
        label: with the source's values.
        image_file: the one file that holds all of `image`, if there is one.
        label_file: the file that holds `label` as integers, if there is one.
    """

    case: Case
    test: bool
    image: Volume | None
    label: LabelMap | None
    image_file: Path | None = None
    label_file: Path | None = None


class Written(JournalEntry):
    """A case as it was written.

    Attributes:
        patient, test: as in `Scan` and its case.
        annotated: names of the target's labels.
        ndim: spatial axes, 2 or 3.
        digest: of the voxels, to find scans that are there twice.
        volume: how it became pictures, where it did.
        remark: what the user should know, or ''.
        slice_of: as in its case.
        overlaps: of a folder of masks, as in `LabelMap`.
    """

    patient: str
    annotated: tuple[str, ...] | None = None
    slice_of: SliceOf | None = None
    test: bool = False
    ndim: int = 3
    digest: str = ""
    volume: SlicedVolume | None = None
    remark: str = ""
    overlaps: dict[str, int] = Field(default_factory=dict)

    @classmethod
    def of(cls, scan: Scan, task: Task, files: Sequence[str], *, ndim: int, **more: Any) -> Written:
        """What became of a scan: its files, and `more` fields."""
        return cls(
            id=scan.case.id,
            patient=scan.case.patient,
            annotated=task.relabelling.annotated(scan.case.annotated),
            slice_of=scan.case.slice_of,
            overlaps={} if scan.label is None else dict(scan.label.overlaps),
            test=scan.test,
            ndim=ndim,
            files=tuple(files),
            **more,
        )


def manifest_entry(
    of: Case | Written,
    name: str,
    images: Sequence[str],
    label: str | None,
    place: SliceOf | None = None,
) -> dict[str, Any]:
    """A case, or a slice of it at its place, in a manifest; a test scan is listed without its label."""
    entry: dict[str, Any] = {"id": name, "image": images[0] if len(images) == 1 else list(images)}
    entry["patient"] = of.patient
    if place is not None:
        entry |= {"volume": place.volume, "slice": place.number}
        entry |= {} if place.distance_mm is None else {"slice_mm": round(place.distance_mm, 6)}
    if label is not None:
        entry["label"] = label
        if of.annotated is not None:
            entry["annotated"] = list(of.annotated)
    return entry


@dataclass(frozen=True)
class Task:
    """What all cases of one conversion share; layouts of volumes need only the first three.

    Attributes:
        out: the new data set's folder.
        channels: their names.
        relabelling: from the source's label values to the target's.
        window: of pictures, 'auto', 'full' or (low, high) in the scan's units.
        bits: of a pixel, 8 or 16.
        keep_empty: also slices without foreground; scans without a label are always whole.
        axis: x, y, z or thick (`vesal.convert.slices`).
    """

    out: Path
    channels: tuple[str, ...]
    relabelling: Relabelling
    window: str | Window
    bits: int
    keep_empty: bool
    axis: str


@dataclass(frozen=True)
class Described:
    """What a description such as dataset.json contains.

    Attributes:
        name: of the data set.
        channels: their names.
        labels: what the written label maps hold.
        original: values that they had in the source, by those that they have.
        written: the cases, by id.
        credits: description, reference, licence and the like, as the source gives them.
        seed: of splits that are drawn.
    """

    name: str
    channels: tuple[str, ...]
    labels: LabelSet
    original: Mapping[int, int]
    written: tuple[Written, ...]
    credits: Mapping[str, str]
    seed: int = 0

    @property
    def training(self) -> list[Written]:
        """The cases that are no test scans."""
        return [one for one in self.written if not one.test]


@dataclass(frozen=True)
class Job:
    """One case that can be read when its turn comes.

    Attributes:
        case: id, patient, annotated list; its files, as far as they are one scan's.
        test: is no training case.
        read: gives the scan.
        files: all that are read.
        bytes_needed: of memory at once, roughly; 0 if unknown.
    """

    case: Case
    test: bool
    read: Callable[[], Scan]
    files: tuple[Path, ...]
    bytes_needed: int = 0


@dataclass(frozen=True)
class Source:
    """Everything that is to be converted.

    Attributes:
        name, channels, labels: as in `Dataset`.
        jobs: the cases, in order.
        read_as: the layout, or in words what it is.
        dataset: where one layout holds it all, case by case.
        masks_only: there are label maps without images.
        failures: cases that cannot be converted, known beforehand.
        remarks: what was taken and why.
        credits: description, reference, licence.
    """

    name: str
    channels: tuple[str, ...]
    labels: LabelSet
    jobs: tuple[Job, ...]
    read_as: str
    dataset: Dataset | None = None
    masks_only: bool = False
    failures: tuple[Failure, ...] = ()
    remarks: tuple[str, ...] = ()
    credits: Mapping[str, str] = field(default_factory=dict)


def credits_of(root: Path) -> dict[str, str]:
    """Description, reference and licence that a data set states."""
    for name in ("dataset.json", "manifest.json"):
        if (root / name).is_file():
            value = read_json(root / name)
            if isinstance(value, dict):
                return {key: value[key] for key in _CREDITS if isinstance(value.get(key), str)}
    return {}
