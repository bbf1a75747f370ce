"""The boundary loss: its distances, and what it makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesal.nn.losses.boundary import boundary, signed_distances
from vesal.nn.losses.soft_counts import Head, SoftmaxCounts


def test_distances_are_the_nearest_of_all_pairs_in_millimetres() -> None:
    rng = np.random.default_rng(2)
    kind = rng.integers(0, 3, (4, 5, 3))  # inside, outside, neither
    inside, outside = kind == 0, kind == 1
    spacing = np.array([1.0, 0.5, 3.0])
    ours = signed_distances(inside, outside, spacing.tolist())
    for index in np.ndindex(kind.shape):
        side = {0: outside, 1: inside}.get(int(kind[index]))
        if side is None:
            assert ours[index] == 0
        else:
            nearest = np.linalg.norm((np.argwhere(side) - index) * spacing, axis=1).min()
            assert abs(ours[index]) == pytest.approx(nearest)
            assert (ours[index] < 0) == inside[index]


@pytest.mark.parametrize("inside", [True, False])
def test_a_patch_without_a_boundary_has_no_distances(inside: bool) -> None:
    mask = np.full((3, 3), inside)
    assert not signed_distances(mask, ~mask, [1.0, 1.0]).any()


def test_a_mistake_costs_the_more_the_farther_it_lies_from_the_boundary() -> None:
    target = torch.zeros(1, 1, 8, dtype=torch.uint8)
    target[..., :3] = 1
    costs = []
    for wrong in range(8):
        prediction = target.clone()
        prediction[..., wrong] = 1 - prediction[..., wrong]
        logits = 40 * torch.stack([1 - 2.0 * prediction, 2.0 * prediction - 1], dim=1)
        counts = SoftmaxCounts(Head(logits, target, None, None, (1.0, 2.0)))
        costs.append(boundary(counts, background=False).item())
    assert costs == pytest.approx([mm / 8 for mm in (6, 4, 2, 2, 4, 6, 8, 10)])


def test_its_gradient_is_that_of_the_published_loss() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(1, 2, 6, 6, generator=generator).requires_grad_()
    target = torch.zeros(1, 6, 6, dtype=torch.uint8)
    target[:, 2:4, 1:4] = 1
    distances = torch.from_numpy(signed_distances(target[0].numpy() == 1, target[0].numpy() == 0, [1.0, 1.0]))
    ours = boundary(SoftmaxCounts(Head(logits, target, None, None, (1.0, 1.0))), background=False)
    published = (logits.softmax(1)[:, 1] * distances).mean()
    gradients = [torch.autograd.grad(value, logits)[0] for value in (ours, published)]
    torch.testing.assert_close(*gradients)
    assert ours.item() > 0
