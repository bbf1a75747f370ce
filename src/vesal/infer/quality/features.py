"""All features of one scan and its result that its quality is estimated from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.infer.quality.mask_features import mask_features
from vesal.infer.quality.network_features import FeatureRecorder
from vesal.infer.quality.stored import Array
from vesal.volume.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Features:
    """Numbers of one scan and its result.

    Attributes:
        groups: name of `vesal.infer.quality.quality_model.GROUPS` but the encoder's -> numbers by name.
        networks: for each network that voted, its numbers by name (`FeatureRecorder.network_features`).
        encoders: for each network, (2 F,) features of its encoder (`FeatureRecorder.encoder_features`).
    """

    groups: dict[str, dict[str, float]]
    networks: list[dict[str, float]]
    encoders: list[Array]


def scan_features(
    image_features: dict[str, dict[str, float]],
    recorder: FeatureRecorder,
    contiguous: NDArray[np.uint8],
    grid: Geometry,
    labels: LabelSet,
) -> Features:
    """Join the features of the scan, of its networks and of its label map.

    Args:
        image_features: of the scan.
        recorder: that recorded its prediction.
        contiguous: the final label map (*S) on `grid`.
        grid: the scan's own.
        labels: what is predicted.
    """
    groups = {**image_features, "shape": mask_features(contiguous, grid, labels)}
    return Features(groups, recorder.network_features(), recorder.encoder_features())
