"""What is looked at as a whole: a volume, a 2D image, or all slices of one volume together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vesal.data.dataset import Dataset
from vesal.data.fingerprint import CaseRecord


@dataclass(frozen=True)
class WholeVolume:
    """A case, or the slices that were cut from one volume.

    Attributes:
        name: of the case or of the volume.
        records: one, or those of the slices in their order.
        sliced: these are slices.
        slice_mm: their distance, where it is stated.
    """

    name: str
    records: tuple[CaseRecord, ...]
    sliced: bool = False
    slice_mm: float | None = None

    @property
    def unit(self) -> str:
        """Of `size`: 'ml', or 'mm2' for 2D images and for slices whose distance is not known."""
        flat = len(self.records[0].shape) == 2
        return "mm2" if flat and self.slice_mm is None else "ml"

    def voxels(self, names: Iterable[str]) -> int:
        """Labelled voxels of the labels `names`."""
        return sum(record.voxels.get(name, 0) for record in self.records for name in names)

    def size(self, names: Iterable[str]) -> float:
        """The volume (ml) or area (mm²) of the labels `names`."""
        each_mm = (self.slice_mm or 1.0) / (1000.0 if self.unit == "ml" else 1.0)
        names = tuple(names)
        return each_mm * sum(
            record.voxels.get(name, 0) * record.voxel_volume_mm3 for record in self.records for name in names
        )


def whole_volumes(dataset: Dataset, records: Iterable[CaseRecord]) -> tuple[WholeVolume, ...]:
    """The records of a data set by what they are parts of, in the order of the first parts."""
    places = {case.id: case.slice_of for case in dataset.cases + dataset.unlabelled}
    found: dict[tuple[str, bool], list[CaseRecord]] = {}
    for record in records:
        place = places.get(record.id) if len(record.shape) == 2 else None
        key = (record.id, False) if place is None else (place.volume, True)
        found.setdefault(key, []).append(record)
    whole = []
    for (name, sliced), members in found.items():
        if not sliced:
            whole.append(WholeVolume(name, tuple(members)))
            continue
        placed = [(place, record) for record in members if (place := places[record.id]) is not None]
        placed.sort(key=lambda item: item[0].number)
        distances = {place.distance_mm for place, _ in placed}
        distance = distances.pop() if len(distances) == 1 else None
        whole.append(WholeVolume(name, tuple(record for _, record in placed), True, distance))
    return tuple(whole)
