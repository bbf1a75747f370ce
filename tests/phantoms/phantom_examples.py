"""How hard a segmentation is, and sizes for quick phantoms."""

from __future__ import annotations

import numpy as np

SMALL = {
    "heart": (48, 40, 28),
    "short-axis": (64, 64, 8),
    "brain-tumour": (48, 58, 42),
    "lung-tumour": (56, 48, 40),
}


SEEDS = range(4)


def dice(a, b):
    return 2.0 * np.logical_and(a, b).sum() / max(1, a.sum() + b.sum())


def best_threshold_dice(image, truth):
    levels = np.percentile(image, np.linspace(50.0, 99.9, 80))
    return max(dice(image > level, truth) for level in levels)


def ml(mask, geometry):
    return float(mask.sum() * geometry.voxel_volume_mm3 / 1000.0)
