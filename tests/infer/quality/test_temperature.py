"""The temperature of probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.infer.quality.temperature import Voxels, VoxelSampler, fit_temperature


def test_a_planted_temperature_is_found() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (20_000, 3))
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (chance.cumsum(axis=1) < generator.random((20_000, 1))).sum(axis=1)
    weight, known = np.ones(20_000), np.zeros((20_000, 3), dtype=bool)
    found = fit_temperature(Voxels(2.5 * logits, truth, weight, known), regions=False)
    assert found == pytest.approx(2.5, rel=0.05)
    regions = (generator.random((20_000, 3)) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    found = fit_temperature(Voxels(0.5 * logits, regions, weight, known), regions=True)
    assert found == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(("factor", "limit"), [(100.0, 8.0), (0.01, 0.25)])
def test_a_temperature_stays_within_its_limits(factor: float, limit: float) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (2_000, 2))
    truth = logits.argmax(axis=1)
    truth[::5] = 1 - truth[::5]
    voxels = Voxels(factor * logits, truth, np.ones(2_000), np.zeros((2_000, 2), dtype=bool))
    found = fit_temperature(voxels, regions=False)
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


@pytest.mark.parametrize("regions", [False, True])
def test_classes_that_were_not_drawn_are_no_errors_of_the_network(regions: bool) -> None:
    labels = LabelSet.from_values({"liver": 1, "spleen": 2})
    labels = labels.as_regions() if regions else labels
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(labels.outputs, 10, 20, 20, generator=generator)
    chance = logits.sigmoid() if regions else logits.softmax(0)[1:]
    draw = torch.rand(10, 20, 20, generator=generator)
    liver = (draw < chance[0]).numpy()
    spleen = ~liver & (draw < chance.sum(0)).numpy()
    # In truth there are spleens, and this case shows none of them.
    whole, partly = np.where(liver, 1, np.where(spleen, 2, 0)), liver.astype(int)

    def temperature(truth: NDArray[np.int64], annotated: tuple[str, ...] | None) -> float:
        sampler = VoxelSampler(truth.astype(np.uint8), labels, 0, "case", annotated)
        sampler(1.5 * logits, 0)
        return fit_temperature(sampler.voxels(), regions=regions)

    assert temperature(partly, ("liver",)) == pytest.approx(1.5, rel=0.1)
    # Whatever is in the file of a class that counts as not drawn.
    assert temperature(whole, ("liver",)) == temperature(partly, ("liver",))
    assert temperature(partly, None) > 2
