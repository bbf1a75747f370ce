"""Statistics in one pass."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.data.moments import moments


def test_moments_agree_with_numpy_far_from_zero() -> None:
    values = np.random.default_rng(0).normal(1e6, 3, (70, 60, 50)).astype(np.float32)
    found = moments(np.asfortranarray(values))
    assert (found.minimum, found.maximum, found.count) == (values.min(), values.max(), values.size)
    assert found.mean == pytest.approx(values.mean(dtype=float), rel=1e-12)
    assert found.std == pytest.approx(values.std(dtype=float), rel=1e-9)
    assert moments(np.full(3, np.nan)).not_finite == 3
