"""A case whose files are being fixed: what was read, what a fix did, and why something cannot be fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vesal.data.case import read_case_label, read_image
from vesal.data.dataset import Case
from vesal.errors import DataError
from vesal.volume.geometry import TOLERANCE_MM, Array, Geometry
from vesal.volume.io import read_volume
from vesal.volume.resample import resample_volume
from vesal.volume.volume import LabelMap, Volume

#: Voxels: two grids of one shape that lie less than this apart are one place, of which a header was rounded.
SAME_PLACE = 0.5
#: Of a channel's field of view, what another one has to cover to be of the same scan.
_LEAST_OVERLAP = 0.5


class CannotFix(Exception):
    """Why a defect cannot be fixed, as the end of a sentence."""


class NothingToFix(Exception):
    """The defect is not there, or no longer: why, as the end of a sentence."""


class Contradicted(NothingToFix):
    """The voxels say that the defect is not there: without it the case would be clearly less like the others."""


@dataclass(frozen=True, eq=False)
class EditableCase:
    """A case with what its files hold, in their own types and values.

    Attributes:
        case: whose files they are.
        image: all channels, (C, *spatial).
        parts: how many channels each of the image's files holds.
        label: None without a label, or where `fractions` stand in for it.
        fractions: what a label file holds that has other than whole numbers, one channel; None as a rule.
        apart: what was resampled because the channels lay on different grids, file by file; () as a rule.
        split: each channel gets a file of its own, CASE_0000, CASE_0001 and so on.
        rewrite: 'image' or 'label', where the file is written anew although its voxels and place are the same.
    """

    case: Case
    image: Volume
    parts: tuple[int, ...]
    label: LabelMap | None
    fractions: Volume | None = None
    apart: tuple[str, ...] = ()
    split: bool = False
    rewrite: frozenset[str] = frozenset()

    @property
    def label_map(self) -> LabelMap:
        """The label of a case that has to have one.

        Raises:
            CannotFix: it has none, or one that cannot be read.
        """
        if self.label is None:
            raise CannotFix("there is no label that can be read")
        return self.label

    def with_image(self, array: Array, grid: Geometry | None = None) -> EditableCase:
        """The same case with other voxels, or elsewhere."""
        return replace(self, image=Volume(array, grid or self.image.geometry))

    def with_label(self, array: Array, grid: Geometry | None = None) -> EditableCase:
        """The same case with another label map; on the grid of the one before if none is given."""
        return replace(self, label=LabelMap(array, grid or self.label_map.geometry))

    def rewritten(self, part: str) -> EditableCase:
        """The same case, whose 'image' or 'label' is written anew in any case."""
        return replace(self, rewrite=self.rewrite | {part})

    def unmarked(self, part: str) -> EditableCase:
        """The same case, whose 'image' or 'label' is written anew with one place in all forms of its header."""
        if part == "image":
            changed = self.with_image(self.image.array, self.image.geometry.plain())
        else:
            changed = self.with_label(self.label_map.array, self.label_map.geometry.plain())
        return changed.rewritten(part)

    def moved(self, grid: Geometry) -> EditableCase:
        """The same voxels on a grid of the same shape; a label that lay on the image's grid goes with it."""
        moved = self.with_image(self.image.array, grid)
        if self.label is None or not same_place(self.image.geometry, self.label.geometry):
            return moved
        return moved.with_label(self.label.array, grid)


@dataclass(frozen=True, eq=False)
class FixResult:
    """What a fix did.

    Attributes:
        case: afterwards.
        wrong: what was wrong, a sentence without its end.
        done: what was done, likewise.
        numbers: that the sentences rest on, as JSON values.
        look: somebody should look at the result.
    """

    case: EditableCase
    wrong: str
    done: str
    numbers: dict[str, Any] = field(default_factory=dict)
    look: bool = False


def open_case(case: Case) -> EditableCase:
    """Read the files of a case. Channels on different grids are brought onto one, where they overlap.

    Raises:
        DataError: a file is absent or damaged, or the channels lie far apart.
    """
    label, fractions = _open_label(case)
    volumes = [read_volume(path) for path in case.images]
    parts = tuple(volume.channels for volume in volumes)
    apart: tuple[str, ...] = ()
    try:
        image = read_image(case, floating=False)
    except DataError as error:
        if len(volumes) == 1:
            raise
        image, apart = _joined(case, volumes, label, error)
    if label is not None:
        label = label.beside(image)
    rewrite: frozenset[str] = frozenset({"image"} if apart else ())
    return EditableCase(case, image, parts, label, fractions, apart, rewrite=rewrite)


def _open_label(case: Case) -> tuple[LabelMap | None, Volume | None]:
    """The label map; or what its file holds, where that is not whole numbers."""
    if case.label is None:
        return None, None
    try:
        return read_case_label(case), None
    except DataError:
        if case.label.is_dir():
            raise
        stored = read_volume(case.label)
        if stored.channels != 1 or stored.array.dtype.kind != "f":
            raise
        return None, stored


def _joined(
    case: Case, volumes: Sequence[Volume], label: LabelMap | None, error: DataError
) -> tuple[Volume, tuple[str, ...]]:
    """All channels on one grid: the label's where a channel is on it, else the first's."""
    grids = [volume.geometry for volume in volumes]
    on_label = [label is not None and grid.close_to(label.geometry, 0.01) for grid in grids]
    grid = grids[on_label.index(True)] if any(on_label) else grids[0]
    arrays, remarks = [], []
    for path, volume in zip(case.images, volumes, strict=True):
        own = volume.geometry
        if own.ndim != grid.ndim:
            raise error
        if same_place(grid, own):
            arrays.append(volume.array)
            if own.distance_mm(grid) > TOLERANCE_MM:
                remarks.append(f"{path.name} ({own.distance_mm(grid):.2g} mm: the header alone)")
            continue
        if (share := overlap(grid, own)) < _LEAST_OVERLAP:
            raise error
        arrays.append(resampled(volume, grid))
        remarks.append(f"{path.name} (resampled linearly; it covers {share:.0%} of the field of view)")
    return Volume(np.concatenate(arrays), grid), tuple(remarks)


def same_place(grid: Geometry, other: Geometry) -> bool:
    """Whether the voxels of two grids are the same ones, but for a header that was rounded."""
    near = max(TOLERANCE_MM, SAME_PLACE * min(grid.spacing_mm))
    return grid.shape == other.shape and grid.distance_mm(other) < near


def overlap(grid: Geometry, other: Geometry) -> float:
    """Share of `grid`'s field of view, 0..1, that lies in `other`'s."""
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


def changed_files(before: EditableCase, after: EditableCase) -> dict[Path, Volume]:
    """The files that have to be written anew, and what goes into them; all others stay byte for byte."""
    old, case = _files(before), after.case
    forced = {
        *(case.images if "image" in after.rewrite else ()),
        *([case.label] if "label" in after.rewrite else ()),
    }
    return {
        path: volume
        for path, volume in _files(after).items()
        if path in forced or path not in old or not _same(old[path], volume)
    }


def _files(case: EditableCase) -> dict[Path, Volume]:
    """What each file holds; nothing of a label that could not be read."""
    paths, parts, channels = case.case.images, case.parts, case.image.channels
    if case.split:
        paths, parts = tuple(channel_path(paths[0], channel) for channel in range(channels)), (1,) * channels
    elif sum(parts) != channels:
        parts = (channels,)  # of the one file there is
    arrays = np.split(case.image.array, np.cumsum(parts)[:-1])
    files = {path: Volume(array, case.image.geometry) for path, array in zip(paths, arrays, strict=True)}
    if case.case.label is not None and case.label is not None:
        files[case.case.label] = Volume(case.label.array[None], case.label.geometry)
    return files


def channel_path(first: Path, channel: int) -> Path:
    """The file of another channel, as nnU-Net names them.

    >>> channel_path(Path("imagesTr/a_0000.nii.gz"), 1).as_posix()
    'imagesTr/a_0001.nii.gz'
    """
    start, _, end = first.name.rpartition("_0000")
    return first.with_name(f"{start}_{channel:04d}{end}")


def _same(first: Volume, second: Volume) -> bool:
    """In voxels and place."""
    return bool(
        first.geometry.shape == second.geometry.shape
        and np.array_equal(first.geometry.affine, second.geometry.affine)
        and np.array_equal(first.array, second.array, equal_nan=first.array.dtype.kind == "f")
    )
