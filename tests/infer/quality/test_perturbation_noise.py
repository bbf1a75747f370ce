"""The noise of perturbed windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesal.infer.quality.perturbation_noise import standard_normal


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 5, 7, 9), (1, 40, 56, 40), (1, 17)])
def test_it_is_what_torch_draws_with_the_seed_0(shape: tuple[int, ...]) -> None:
    expected = torch.randn(shape, generator=torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(standard_normal(shape), expected, rtol=1e-4, atol=1e-5)


def test_it_is_the_same_again_and_cannot_be_changed() -> None:
    noise = standard_normal((3, 20))
    assert standard_normal((3, 20)) is noise
    assert not noise.flags.writeable
