"""All that is noted of one scan while it is predicted, for its doubt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.infer.quality.image_features import image_signals
from vesal.infer.quality.mask_features import label_signals
from vesal.infer.quality.network_features import Watch
from vesal.preprocessing.prepare import Prepared
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

#: Groups of numbers that are compared with those of the scans that the model knows.
GROUPS = ("geometry", "intensity", "texture", "look", "shape")


@dataclass(frozen=True, eq=False)
class Signals:
    """Numbers of one scan.

    Attributes:
        groups: name of GROUPS -> numbers by name.
        networks: for each network that voted, what it showed (`Watch.signals`).
        insides: for each network, what its encoder saw (`Watch.insides`).
    """

    groups: dict[str, dict[str, float]]
    networks: list[dict[str, float]]
    insides: list[NDArray[np.float64]]


def scan_signals(
    picture: dict[str, dict[str, float]],
    watch: Watch,
    contiguous: NDArray[np.uint8],
    grid: Geometry,
    labels: LabelSet,
) -> Signals:
    """Join what the scan, its networks and its label map show.

    Args:
        picture: `image_signals` of the scan.
        watch: that looked on.
        contiguous: the final label map (*S) on `grid`.
        grid: the scan's own.
        labels: what is predicted.
    """
    groups = {**picture, "shape": label_signals(contiguous, grid, labels)}
    return Signals(groups, watch.signals(), watch.insides())


def look_at(volume: Volume, prepared: Prepared) -> dict[str, dict[str, float]]:
    """What the scan itself shows; made while the scan before is predicted."""
    return image_signals(volume, prepared)


def vector(values: dict[str, float], names: tuple[str, ...] | list[str]) -> NDArray[np.float64]:
    """The numbers of these names in their order; 0 for one that is not there."""
    return np.array([values.get(name, 0.0) for name in names], dtype=np.float64)
