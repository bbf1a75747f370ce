"""The bias field: a smooth positive factor on the signal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from augment_examples import FRAMES, seeded

from vesal.augment.artifacts.artifact_settings import Patches
from vesal.augment.artifacts.bias_field import BiasField
from vesal.augment.artifacts.draw import draw_artifacts
from vesal.augment.artifacts.registry import ArtifactConfig


@pytest.mark.parametrize("where", FRAMES)
def test_a_bias_field_is_positive_smooth_and_as_strong_as_asked(where: str) -> None:
    frame, _ = FRAMES[where]
    shape = (40, 36, 32)[: len(frame.spacing_mm)]
    for seed in range(5):
        config = ArtifactConfig(bias={"probability": 1, "strength": (0.4, 0.4)})
        record = draw_artifacts(config, Patches(frame, 1, shape), seeded(seed))["bias"]
        assert isinstance(record, BiasField)
        orders = np.indices(record.coefficients.shape[2:]).sum(axis=0)
        assert set(orders[(record.coefficients[0, 0] != 0).numpy()].tolist()) == {0, 1, 2, 3}
        field = record.factor(shape, 0, 0)
        assert field.min() > 0
        assert field.log().abs().max().item() == pytest.approx(0.4, abs=1e-4)
        for axis in range(len(shape)):
            assert field.log().diff(dim=axis).abs().max() < 0.25
            # No ripples: a polynomial of order 3 turns at most twice along a line.
            # (Flat places are left to rounding.)
            steps = field.log().double().diff(dim=axis).movedim(axis, 0).flatten(1)
            steps = steps[:, (steps.abs() > 1e-5).all(dim=0)]
            turns = (steps.sign().diff(dim=0) != 0).sum(dim=0)
            assert len(turns) > 0
            assert turns.max() <= 2


def test_a_bias_field_multiplies_the_signal_and_leaves_air_dark() -> None:
    image = torch.full((1, 1, 20, 20), -1.5)
    image[..., 5:15, 5:15] = 2.5
    coefficients = torch.zeros(1, 1, 2, 2)
    coefficients[..., 1, 0] = 1.0  # A gradient along the first axis.
    out = BiasField(torch.tensor([[0.3]]), coefficients).apply(image)
    ramp = torch.linspace(-0.3, 0.3, 20).exp()[:, None].expand(20, 20)
    assert torch.allclose(out[0, 0], (image[0, 0] + 1.5) * ramp - 1.5, atol=1e-5)
