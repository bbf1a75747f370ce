"""The temperature of probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesal.data.labels import LabelSet
from vesal.infer.quality.temperature import Voxels, VoxelSampler, fit_temperature


def test_a_planted_temperature_is_found() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (20_000, 3))
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (chance.cumsum(axis=1) < generator.random((20_000, 1))).sum(axis=1)
    weight = np.ones(20_000)
    found = fit_temperature(Voxels(2.5 * logits, truth, weight), regions=False)
    assert found == pytest.approx(2.5, rel=0.05)
    regions = (generator.random((20_000, 3)) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    found = fit_temperature(Voxels(0.5 * logits, regions, weight), regions=True)
    assert found == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(("factor", "limit"), [(100.0, 8.0), (0.01, 0.25)])
def test_a_temperature_stays_within_its_limits(factor: float, limit: float) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (2_000, 2))
    truth = logits.argmax(axis=1)
    truth[::5] = 1 - truth[::5]
    found = fit_temperature(Voxels(factor * logits, truth, np.ones(2_000)), regions=False)
    assert found == pytest.approx(limit, rel=1e-4)


def test_sampled_voxels_stand_for_all_of_a_scan() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 20 * torch.randn(2, 40, 40, 40, generator=generator)
    truth = (logits[1] > logits[0]).numpy().astype(np.uint8)
    sampler = VoxelSampler(truth, LabelSet.from_values({"organ": 1}), 0, "case")
    for first in range(0, 40, 8):
        sampler(logits[:, first : first + 8], first)
    voxels = sampler.voxels()
    assert 3_500 < len(voxels.logits) < 4_500
    assert voxels.weight.sum() == pytest.approx(truth.size, rel=0.05)
    assert (voxels.logits.argmax(axis=1) == voxels.truth).all()
    assert np.average(voxels.truth, weights=voxels.weight) == pytest.approx(truth.mean(), abs=0.05)
