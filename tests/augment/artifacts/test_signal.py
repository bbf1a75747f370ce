"""The signal of a channel: its range."""

from __future__ import annotations

import pytest
import torch
from augment_examples import seeded

from vesal.augment.artifacts.signal import usual_range


def spread(scan: torch.Tensor) -> float:
    low, high = usual_range(scan)
    return float(high - low)


def test_the_range_of_intensities_ignores_outliers_and_is_never_lost() -> None:
    scan = torch.rand(64, 64, 64, generator=seeded())
    assert spread(scan) == pytest.approx(0.98, abs=0.01)
    scan[:4, :4, :4] = 1e6
    assert spread(scan) == pytest.approx(0.98, abs=0.01)
    lone = torch.zeros(30, 30)
    lone[3, 3] = 5.0
    assert spread(lone) == 5.0
