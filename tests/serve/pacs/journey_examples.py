"""What stands for a model, and for the two ends of a journey, in tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.uid import generate_uid

from vesal.files import content_hash, write_bytes
from vesal.serve.pacs.pacs_objects import ResultObject
from vesal.volume.dicom.annotations.made_by import MadeBy, object_bytes
from vesal.volume.dicom.annotations.preview_writer import preview


def predict_pictures(folder: Path, out: Path) -> list[Path]:
    """Two pictures of each series, whose identifiers follow from the slices as a model's follow from its result."""
    found = []
    for series in sorted(path for path in folder.iterdir() if path.is_dir()):
        slices = sorted(series.glob("*.dcm"))
        digest = content_hash(*(path.read_bytes() for path in slices))
        for number in range(2):
            uids = [generate_uid(entropy_srcs=[digest, str(number), what]) for what in ("series", "instance")]
            made_by = MadeBy("vesal test", digest * 2, *uids, 9400 + number)
            picture = np.full((4, 6, 3), 80 * number, np.uint8)
            path = out / f"{series.name}-{number}.dcm"
            write_bytes(path, object_bytes(preview(dcmread(slices[0]), picture, made_by)))
            found.append(path)
    return found


@dataclass
class Ends:
    """Origin and destination in one, which fail as they are told to.

    Attributes:
        failures: 'fetch', 'predict' or 'store' -> what is raised next, in order.
        happened: each step that was begun.
        held: instances that the destination has, with how often each came.
        up: it answers.
    """

    source: Path
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    happened: list[str] = field(default_factory=list)
    held: dict[str, int] = field(default_factory=dict)
    up: bool = True
    after: Callable[[str], None] = lambda step: None

    def fetch(self, study: str, series: Sequence[str], folder: Path) -> None:
        self._begin("fetch")
        for path in sorted(self.source.glob("*")):
            if dcmread(path, stop_before_pixels=True).StudyInstanceUID == study:
                write_bytes(folder / "series-1" / f"{path.name}.dcm", path.read_bytes())

    def predict(self, folder: Path, out: Path) -> list[Path]:
        self._begin("predict")
        return predict_pictures(folder, out)

    def missing(self, objects: Sequence[ResultObject]) -> list[ResultObject]:
        return [one for one in objects if one.instance not in self.held]

    def store(self, objects: Sequence[ResultObject]) -> None:
        self._begin("store")
        for one in objects:
            self.held[one.instance] = self.held.get(one.instance, 0) + 1

    def reachable(self) -> bool:
        return self.up

    def _begin(self, step: str) -> None:
        self.happened.append(step)
        if left := self.failures.get(step):
            raise left.pop(0)


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds
