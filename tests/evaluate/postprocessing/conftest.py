"""Held-out cases in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.evaluate.postprocessing.component_table import case_rows
from vesal.evaluate.postprocessing.simulate import ProcessedCase, Steps, ValidationCases
from vesal.infer.postprocess import Postprocess
from vesal.volume.geometry import Geometry

Pairs = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def validation_cases() -> Callable[..., ValidationCases]:
    """(pairs of prediction and truth, labels, spacing, number of patients) -> these cases, in memory."""
    return _validation_cases


def _validation_cases(
    pairs: Pairs, labels: LabelSet, spacing: tuple[float, ...], patients: int | None = None
) -> ValidationCases:
    """Of (prediction, truth) in memory."""
    geometry = Geometry.from_spacing(pairs[0][0].shape, spacing)
    rows = [
        case_rows(
            f"case {i}",
            f"patient {i % (patients or len(pairs))}",
            prediction,
            truth,
            labels,
            voxel_mm3=geometry.voxel_volume_mm3,
        )
        for i, (prediction, truth) in enumerate(pairs)
    ]

    def process(case: int, steps: Steps) -> ProcessedCase:
        prediction, truth = pairs[case][0].copy(), pairs[case][1]
        Postprocess(steps=steps).apply(prediction, labels, geometry.voxel_volume_mm3)
        return ProcessedCase(prediction, truth, geometry)

    return ValidationCases(labels, rows, process, workers=1)
