"""Held-out cases in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.evaluate.postprocessing.validation_cases import ValidationCase, ValidationCases
from vesal.volume.geometry import Geometry

Pairs = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def validation_cases() -> Callable[..., ValidationCases]:
    """(pairs of prediction and truth, labels, spacing, number of patients, annotated) -> these cases, in memory."""
    return _validation_cases


def _validation_cases(
    pairs: Pairs,
    labels: LabelSet,
    spacing: tuple[float, ...],
    patients: int | None = None,
    annotated: tuple[str, ...] | None = None,
) -> ValidationCases:
    geometry = Geometry.from_spacing(pairs[0][0].shape, spacing)
    cases = [
        ValidationCase.of(
            (f"case {i}", f"patient {i % (patients or len(pairs))}"), *pair, geometry, labels, annotated
        )
        for i, pair in enumerate(pairs)
    ]
    return ValidationCases(labels, cases, workers=1)
