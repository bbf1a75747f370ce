"""How many scans may be worked on at once: each takes many times the memory of its file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from vesal.errors import DataError
from vesal.parallel import workers_within
from vesal.volume.geometry import Geometry
from vesal.volume.io import data_files, read_geometry

#: Peak bytes a voxel and channel, with the label's: 12 were measured in fingerprints, 22 in preparation (voxels
#: of the finer grid), 17 in scoring.
VOXEL_BYTES = 24

#: So many of the largest files are looked into: files are packed more or less tightly.
_LOOKED_INTO = 16


def scan_workers(
    scans: Sequence[Path], *, channels: int = 1, spacing_mm: Sequence[float] | None = None
) -> int:
    """Threads for work on scans that the CPUs (at most 16) and the memory are enough for, at least 1.

    What the largest scan takes is told by its header; files without a readable one count nothing.

    Args:
        scans: one file of each.
        channels: of each scan.
        spacing_mm: of the axes that are resampled, if they are.
    """
    voxels = 0.0
    for path in sorted(scans, key=_size, reverse=True)[:_LOOKED_INTO]:
        try:
            grid = read_geometry(path)
        except (DataError, OSError):
            continue
        voxels = max(voxels, math.prod(grid.shape) * _growth(grid, spacing_mm))
    return workers_within(int(voxels * channels * VOXEL_BYTES))


def _growth(grid: Geometry, spacing_mm: Sequence[float] | None) -> float:
    """How many times more voxels the finer of both grids has, at most: whatever axis the slices are along."""
    if spacing_mm is None:
        return 1.0
    coarsest = sorted(grid.spacing_mm)[-len(spacing_mm) :]
    return max(1.0, math.prod(coarsest) / math.prod(spacing_mm))


def _size(path: Path) -> int:
    try:
        return sum(file.stat().st_size for file in data_files(path))
    except (DataError, OSError):
        return 0
