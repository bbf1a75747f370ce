"""Rotation, scaling, shearing, deformation, quarter turns and mirroring of images and their labels together.

Shapes: N samples, C channels, D network axes, W warped axes (2 or 3), S voxels along each axis.
Image (N, C, *S) float32, label (N, *S) uint8.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.augment.random_parameters import to_device
from vesal.augment.separable import along_axis, spline_matrix


@dataclass(frozen=True, eq=False)
class Warp:
    """Rotation, scaling, shear, shift and deformation about the middle of the patch, in millimetres.

    All are joined into one place x -> R H g(x) / scale - shift to fetch each voxel x from (g the stretched
    lattice, H the shear, R the rotation), so image and label are sampled once whatever was drawn.

    Attributes:
        axes: network axes that are warped; W of them.
        spacing_mm: along these axes.
        angles: (N, 3) about each of three axes, (N, 1) within a plane; degrees.
        scale: (N,) above 1 enlarges what is seen.
        displacement_mm: (N, W, *points) of cubic B-spline control points, at least 4 along an axis, of which the
            inner points - 2 span the patch; None for no deformation.
        shift_mm: (N, W) by which the content moves along each axis, before the rest turns it; None for none.
        shear: (N, W, W) triangular with zeros on the diagonal: by how many millimetres along an axis (row) the
            content leans a millimetre along another (column); None for none.
        widths: (N, W, K) of the K equal intervals of a lattice in what they are stretched from: above 1 an
            interval shows more of the patch than its share, below 1 less (grid distortion); only their ratios
            count, so the patch's border stays; None for none.
        channels: of the image that are sampled linearly; those after them are masks, sampled to the nearest voxel
            like the label. None for all.
    """

    axes: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    angles: Tensor
    scale: Tensor
    displacement_mm: Tensor | None = None
    shift_mm: Tensor | None = None
    shear: Tensor | None = None
    widths: Tensor | None = None
    channels: int | None = None

    @property
    def changed(self) -> list[int]:
        """Samples that are not left as they were."""
        changed = (self.angles != 0).any(dim=1) | (self.scale != 1)
        for given, nothing in (
            (self.displacement_mm, 0),
            (self.shift_mm, 0),
            (self.shear, 0),
            (self.widths, 1),
        ):
            if given is not None:
                changed |= (given != nothing).flatten(1).any(dim=1)
        return changed.nonzero().flatten().tolist()

    def apply(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Image (linear) and label (nearest) sampled once through one grid; unchanged samples are not touched.

        What comes from outside the patch is 0 in the image and background in the label: the same filling that
        a scan gets beyond its edge when it is smaller than a patch, in training and in prediction, so the
        network meets nothing new. (Repeating the border instead draws streaks of organ with streaks of label.)
        The label is sampled to the nearest voxel. Linear sampling of each class (nnU-Net) is smoother by less
        than half a voxel, but costs one sampling a class (19 ms against 1.4 ms for 3 classes of 40x56x40 voxels).
        """
        if not (rows := self.changed):
            return image, label
        image, label = image.clone(), label.clone()
        size = tuple(image.shape[2 + axis] for axis in self.axes)
        linear = image.shape[1] if self.channels is None else self.channels
        for row in rows:
            grid = self._grid(row, size, image.device)
            scan, masks = image[row, :linear], image[row, linear:]
            scan.copy_(self._sample(scan, grid, "bilinear"))
            if len(masks):
                masks.copy_(self._sample(masks, grid, "nearest"))
            label[row] = self._sample(label[row, None].to(image.dtype), grid, "nearest")[0].to(label.dtype)
        return image, label

    def moved(self, array: Tensor, row: int) -> Tensor:
        """(C, *S) float32 as sample `row` of a batch would be moved, linearly; 0 from outside."""
        size = tuple(array.shape[1 + axis] for axis in self.axes)
        return self._sample(array, self._grid(row, size, array.device), "bilinear")

    def _sample(self, array: Tensor, grid: Tensor, mode: str) -> Tensor:
        # (C, *S): axes that are not warped join the channels, so slices cost a 2D sampling and keep to themselves.
        front = array.movedim([1 + axis for axis in self.axes], list(range(-len(self.axes), 0)))
        folded = front.reshape(1, -1, *front.shape[front.ndim - len(self.axes) :])
        sampled = F.grid_sample(folded, grid[None], mode=mode, padding_mode="zeros", align_corners=False)
        return sampled.reshape(front.shape).movedim(
            list(range(-len(self.axes), 0)), [1 + axis for axis in self.axes]
        )

    def _grid(self, row: int, size: tuple[int, ...], device: torch.device) -> Tensor:
        """(*size, W): where each voxel is fetched from, in grid_sample's coordinates (-1 to 1, last axis first)."""
        width = len(self.axes)
        # A place d millimetres from the middle has the coordinate 2 d / (spacing * size).
        unit = torch.tensor(
            [2 / (mm * n) for mm, n in zip(self.spacing_mm, size, strict=True)], dtype=torch.float64
        )
        matrix = unit[:, None] * _rotation(self.angles[row]) / self.scale[row].double()
        if self.shear is not None:
            matrix = matrix @ (torch.eye(width, dtype=torch.float64) + self.shear[row].double())
        grid = torch.zeros((1,) * width + (width,), device=device)
        # The grid is linear in each axis, so it is a sum of one small table an axis (8 times as fast as affine_grid).
        for axis, (mm, n) in enumerate(zip(self.spacing_mm, size, strict=True)):
            places = torch.arange(n, dtype=torch.float64)
            if self.widths is not None and (self.widths[row, axis] != 1).any():
                places = _stretched(n, self.widths[row, axis])
            middle_mm = (places - (n - 1) / 2) * mm
            table = to_device((middle_mm[:, None] * matrix[:, axis].flip(0)).float(), device)
            grid = grid + table.view(*(n if other == axis else 1 for other in range(width)), width)
        if self.shift_mm is not None:
            grid = grid - to_device((self.shift_mm[row].double() * unit).flip(0).float(), device)
        if self.displacement_mm is not None and (control := self.displacement_mm[row]).any():
            field = to_device((control * unit.float().view(-1, *(1,) * width)).flip(0), device)
            for axis, n in enumerate(size):
                field = along_axis(field, spline_matrix(n, field.shape[1 + axis]), 1 + axis)
            grid = grid + field.movedim(0, -1)
        return grid


def _rotation(angles: Tensor) -> Tensor:
    """(W, W) rotation matrix of 1 angle in a plane or 3 about the axes in turn; degrees."""
    radians = torch.deg2rad(angles.double())
    cos, sin = radians.cos().tolist(), radians.sin().tolist()
    if len(cos) == 1:
        return torch.tensor([[cos[0], -sin[0]], [sin[0], cos[0]]], dtype=torch.float64)
    matrix = torch.eye(3, dtype=torch.float64)
    for axis in range(3):
        i, j = [other for other in range(3) if other != axis]
        turn = torch.eye(3, dtype=torch.float64)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = cos[axis], -sin[axis], sin[axis], cos[axis]
        matrix = matrix @ turn
    return matrix


def _stretched(size: int, widths: Tensor) -> Tensor:
    """(size,): which voxel coordinate each voxel shows when equal intervals are fetched from intervals of `widths`.

    >>> _stretched(4, torch.tensor([1.0, 3.0])).tolist()
    [-0.25, 0.25, 1.25, 2.75]
    """
    widths = widths.double()
    edges = torch.cat([torch.zeros(1, dtype=torch.float64), (widths / widths.sum()).cumsum(0)]) * size
    place = (torch.arange(size, dtype=torch.float64) + 0.5) / size * len(widths)
    interval = place.long().clamp(max=len(widths) - 1)
    share = place - interval
    return edges[interval] * (1 - share) + edges[interval + 1] * share - 0.5


@dataclass(frozen=True, eq=False)
class QuarterTurn:
    """Turns by 90 degrees in one plane.

    Attributes:
        turns: (N,) int64, how many times each sample is turned from the first axis towards the second; a patch
            that is not square in this plane takes even numbers only.
        axes: the two network axes of the plane.
    """

    turns: Tensor
    axes: tuple[int, int]

    def apply(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Exact: no voxel is interpolated. Samples without a turn are not touched.

        Raises:
            ValueError: a quarter turn of a patch that is not square.
        """
        rows = (self.turns % 4 != 0).nonzero().flatten().tolist()
        if not rows:
            return image, label
        first, second = self.axes
        square = label.shape[1 + first] == label.shape[1 + second]
        if not square and (self.turns % 2 != 0).any():
            raise ValueError(f"patches of shape {tuple(label.shape[1:])} cannot be turned by 90 degrees")
        image, label = image.clone(), label.clone()
        for row in rows:
            turns = int(self.turns[row])
            image[row] = torch.rot90(image[row], turns, (1 + first, 1 + second))
            label[row] = torch.rot90(label[row], turns, (first, second))
        return image, label


@dataclass(frozen=True, eq=False)
class Mirror:
    """Flips, after which left and right partners change their labels.

    Attributes:
        flips: (N, D) bool, which axes of each sample are flipped.
        lateral_axis: the network axis from left to right, or None.
        swaps: contiguous label values that change places when that axis is flipped.
    """

    flips: Tensor
    lateral_axis: int | None = None
    swaps: tuple[tuple[int, int], ...] = ()

    @property
    def swapped(self) -> list[int]:
        """Samples in which partners change their labels."""
        if self.lateral_axis is None or not self.swaps:
            return []
        return self.flips[:, self.lateral_axis].nonzero().flatten().tolist()

    def apply(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Exact: no voxel is interpolated. Samples without a flip are not touched."""
        if not self.flips.any():
            return image, label
        image, label = image.clone(), label.clone()
        swapped = self.swapped
        for row in self.flips.any(dim=1).nonzero().flatten().tolist():
            axes = self.flips[row].nonzero().flatten().tolist()
            image[row] = image[row].flip([1 + axis for axis in axes])
            label[row] = label[row].flip(axes)
            if row in swapped:
                table = torch.arange(256, dtype=torch.uint8)
                for left, right in self.swaps:
                    table[left], table[right] = right, left
                label[row] = to_device(table, label.device)[label[row].int()]
        return image, label
