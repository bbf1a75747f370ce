"""A case whose files are being fixed: what was read, what has changed, and why something cannot be fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vesal.data.case import read_image
from vesal.data.dataset import Case
from vesal.errors import DataError
from vesal.volume.geometry import TOLERANCE_MM, Array, Geometry
from vesal.volume.io import read_label, read_volume
from vesal.volume.resample import resample_volume
from vesal.volume.volume import LabelMap, Volume

#: Of a channel's field of view, what another one has to cover to be of the same scan.
_LEAST_OVERLAP = 0.5


class CannotFix(Exception):
    """Why a fault cannot be fixed, as the end of a sentence."""


class NothingToFix(Exception):
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
        apart: what was resampled because the channels lay on different grids, file by file; () as a rule.
        split: each channel gets a file of its own, CASE_0000, CASE_0001 and so on.
        rewrite: 'image' or 'label', where the file is written anew although its voxels and place are the same.
    """

    case: Case
    image: Volume
    parts: tuple[int, ...]
    label: LabelMap | None
    fractions: Array | None = None
    fractions_grid: Geometry | None = None
    apart: tuple[str, ...] = ()
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
    """What a fix did.

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
    """Read the files of a case. Channels on different grids are brought onto one, where they overlap.

    Raises:
        DataError: a file is absent or damaged, or the channels lie far apart.
    """
    label, fractions, grid = _open_label(case)
    volumes = [read_volume(path) for path in case.images]
    parts = tuple(volume.channels for volume in volumes)
    apart: tuple[str, ...] = ()
    try:
        image = read_image(case, floating=False)
    except DataError as error:
        if len(volumes) == 1:
            raise
        image, apart = _joined(case, volumes, label, error)
    rewrite: frozenset[str] = frozenset({"image"} if apart else ())
    return Opened(case, image, parts, label, fractions, grid, apart, rewrite=rewrite)


def _open_label(case: Case) -> tuple[LabelMap | None, Array | None, Geometry | None]:
    """The label map; or the numbers of its file, where they are not whole, and their grid."""
    if case.label is None:
        return None, None, None
    try:
        return read_label(case.label), None, None
    except DataError:
        stored = read_volume(case.label)
        if stored.channels != 1 or stored.array.dtype.kind != "f":
            raise
        return None, stored.array[0], stored.geometry


def _joined(
    case: Case, volumes: Sequence[Volume], label: LabelMap | None, error: DataError
) -> tuple[Volume, tuple[str, ...]]:
    """All channels on one grid: the label's where a channel is on it, else the first's."""
    grids = [volume.geometry for volume in volumes]
    on_label = [label is not None and grid.close_to(label.geometry, 0.01) for grid in grids]
    grid = grids[on_label.index(True)] if any(on_label) else grids[0]
    arrays, told = [], []
    for path, volume in zip(case.images, volumes, strict=True):
        own = volume.geometry
        if own.ndim != grid.ndim:
            raise error
        limit = 0.5 * min(grid.spacing_mm)
        if own.shape == grid.shape and own.distance_mm(grid) < limit:
            arrays.append(volume.array)
            if own.distance_mm(grid) > TOLERANCE_MM:
                told.append(f"{path.name} ({own.distance_mm(grid):.2g} mm: the header alone)")
            continue
        if (share := _overlap(grid, own)) < _LEAST_OVERLAP:
            raise error
        arrays.append(resampled(volume, grid))
        told.append(f"{path.name} (resampled linearly; it covers {share:.0%} of the field of view)")
    return Volume(np.concatenate(arrays), grid), tuple(told)


def _overlap(grid: Geometry, other: Geometry) -> float:
    """Share of `grid`'s field of view that lies in `other`'s."""
    steps = [np.linspace(-0.5, size - 0.5, 24) for size in grid.shape]
    voxels = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, grid.ndim)
    return inside_share(voxels, grid, other)


def inside_share(voxels: Array, source: Geometry, grid: Geometry) -> float:
    """Share of the points (n, ndim), in voxels of `source`, that lie within `grid`'s voxel faces."""
    if not len(voxels):
        return 0.0
    matrix = np.linalg.solve(grid.affine, source.affine)
    where = voxels @ matrix[:-1, :-1].T + matrix[:-1, -1]
    inside = ((where >= -0.5 - 1e-6) & (where <= np.asarray(grid.shape) - 0.5 + 1e-6)).all(axis=1)
    return float(inside.mean())


def resampled(image: Volume, grid: Geometry) -> Array:
    """(C, *S) on another grid: linear, each channel's least value outside; integers stay integers."""
    channels = []
    for channel in image.array:
        fill = float(np.nanmin(channel))
        moved = resample_volume(Volume(channel[None], image.geometry), grid, order=1, fill=fill).array[0]
        kind = image.array.dtype
        channels.append(np.rint(moved).astype(kind) if kind.kind in "ui" else moved.astype(kind))
    return np.stack(channels)


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
