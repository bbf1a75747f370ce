"""The intensity curve: gamma and saturation."""

from __future__ import annotations

import math

import pytest
import torch
from augment_examples import picture

from vesal.augment.artifacts.contrast import LogGamma, Saturation


def test_log_gamma_agrees_with_its_formula_and_keeps_the_range() -> None:
    image = picture((20, 20), n=2, channels=1)
    out = LogGamma(torch.tensor([[0.3], [-0.3]])).apply(image)
    for sample, exponent in enumerate((math.exp(0.3), math.exp(-0.3))):
        low, high = image[sample].aminmax()
        expected = ((image[sample] - low) / (high - low)) ** exponent * (high - low) + low
        assert torch.allclose(out[sample], expected, atol=1e-5)
        assert out[sample].min().item() == pytest.approx(low.item(), abs=1e-5)
        assert out[sample].max().item() == pytest.approx(high.item(), abs=1e-5)


def test_saturation_stretches_about_the_middle_and_cuts_off_at_the_ends_of_the_range() -> None:
    image = torch.linspace(-1, 1, 101).reshape(1, 1, 1, 101)
    out = Saturation(torch.tensor([[2.0]])).apply(image)
    assert torch.allclose(out, (2 * image).clamp(-0.98, 0.98), atol=1e-5)
