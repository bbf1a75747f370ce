"""A case whose files are being mended: what was read, what has changed, and why something cannot be mended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vesal.data.dataset import Case
from vesal.data.reading import read_image
from vesal.errors import DataError
from vesal.volume.geometry import Array, Geometry
from vesal.volume.reading import read_label, read_volume
from vesal.volume.volume import LabelMap, Volume


class Unmendable(Exception):
    """Why a fault cannot be mended, as the end of a sentence."""


class Settled(Exception):
    """The fault is not there, or no longer: why, as the end of a sentence."""


@dataclass(frozen=True)
class Order:
    """One fault of one case, as a finding names it.

    Attributes:
        case: its id.
        kind, severity, message: of the finding.
        details: the finding's numbers for this case; {} where it has none.
    """

    case: str
    kind: str
    severity: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Opened:
    """A case with what its files hold, in their own types and values.

    Attributes:
        case: whose files they are.
        image: all channels, (C, *spatial).
        parts: how many channels each of the image's files holds.
        label: None without a label, or where `fractions` stand in for it.
        fractions: (*spatial) of a label file that holds other than whole numbers; None as a rule.
        fractions_grid: where they lie.
        split: each channel gets a file of its own, CASE_0000, CASE_0001 and so on.
        rewrite: 'image' or 'label', where the file is written anew although its voxels and place are the same.
    """

    case: Case
    image: Volume
    parts: tuple[int, ...]
    label: LabelMap | None
    fractions: Array | None = None
    fractions_grid: Geometry | None = None
    split: bool = False
    rewrite: frozenset[str] = frozenset()

    def with_image(self, array: Array, grid: Geometry | None = None) -> Opened:
        """The same case with other voxels, or elsewhere."""
        return replace(self, image=Volume(array, grid or self.image.geometry))

    def with_label(self, array: Array, grid: Geometry | None = None) -> Opened:
        """The same case with another label map; on the grid of the one before if none is given."""
        if grid is None:
            assert self.label is not None
            grid = self.label.geometry
        return replace(self, label=LabelMap(array, grid))

    def moved(self, grid: Geometry) -> Opened:
        """The same voxels on a grid of the same shape; a label that lay on the image's grid goes with it."""
        follows = self.label is not None and self.image.geometry.shape == self.label.geometry.shape
        if follows and self.label is not None:
            gap = self.image.geometry.distance_mm(self.label.geometry)
            follows = gap < 0.5 * min(self.image.geometry.spacing_mm)
        moved = self.with_image(self.image.array, grid)
        return moved.with_label(moved.label.array, grid) if follows and moved.label is not None else moved


@dataclass(frozen=True, eq=False)
class Done:
    """What a mend did.

    Attributes:
        opened: the case afterwards.
        wrong: what was wrong, a sentence without its end.
        done: what was done, likewise.
        numbers: that the sentences rest on, as JSON values.
        look: somebody should look at the result.
    """

    opened: Opened
    wrong: str
    done: str
    numbers: dict[str, Any] = field(default_factory=dict)
    look: bool = False


def open_case(case: Case) -> Opened:
    """Read the files of a case.

    Raises:
        DataError: one is absent or damaged, or the channels lie on different grids.
    """
    image = read_image(case, floating=False)
    parts = (image.channels,) if len(case.images) == 1 else _parts(case)
    if case.label is None:
        return Opened(case, image, parts, None)
    try:
        return Opened(case, image, parts, read_label(case.label))
    except DataError:
        stored = read_volume(case.label)
        if stored.channels != 1 or stored.array.dtype.kind != "f":
            raise
        return Opened(case, image, parts, None, stored.array[0], stored.geometry)


def _parts(case: Case) -> tuple[int, ...]:
    return tuple(read_volume(path).channels for path in case.images)


def changed_files(before: Opened, after: Opened) -> dict[Path, Volume]:
    """The files that have to be written anew, and what goes into them; all others stay byte for byte."""
    case, new = before.case, {}
    grid = after.image.geometry
    untouched = _same(before.image.geometry, grid) and "image" not in after.rewrite
    paths, parts = case.images, before.parts
    if after.split:
        paths = tuple(channel_path(paths[0], channel) for channel in range(after.image.channels))
        parts = (1,) * len(paths)
    elif sum(parts) != after.image.channels:
        parts = (after.image.channels,)  # of the one file there is
    start = 0
    for path, count in zip(paths, parts, strict=True):
        voxels = after.image.array[start : start + count]
        if not (
            untouched and parts == before.parts and _equal(before.image.array[start : start + count], voxels)
        ):
            new[path] = Volume(voxels, grid)
        start += count
    if case.label is not None and after.label is not None:
        kept = before.label is not None and _same(before.label.geometry, after.label.geometry)
        kept = kept and "label" not in after.rewrite
        if not (kept and before.label is not None and _equal(before.label.array, after.label.array)):
            new[case.label] = Volume(after.label.array[None], after.label.geometry)
    return new


def channel_path(first: Path, channel: int) -> Path:
    """The file of another channel, as nnU-Net names them.

    >>> channel_path(Path("imagesTr/a_0000.nii.gz"), 1).as_posix()
    'imagesTr/a_0001.nii.gz'
    """
    start, _, end = first.name.rpartition("_0000")
    return first.with_name(f"{start}_{channel:04d}{end}")


def _same(first: Geometry, second: Geometry) -> bool:
    return first.shape == second.shape and bool(np.array_equal(first.affine, second.affine))


def _equal(first: Array, second: Array) -> bool:
    if first is second:
        return True
    if first.shape != second.shape:
        return False
    return bool(np.array_equal(first, second, equal_nan=first.dtype.kind == "f"))
