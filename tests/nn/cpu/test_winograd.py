"""Winograd's convolution gives torch's numbers, forward and backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.nn.cpu import winograd

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN; its own modules are used"
)


# Sizes beside the tiles of 4, several chunks, a single voxel, kernels of 2 axes in 3D.
SHAPES = [
    ((2, 3, 9, 10, 7), (5, 3, 3, 3, 3)),
    ((1, 4, 1, 1, 1), (2, 4, 3, 3, 3)),
    ((2, 3, 5, 90, 41), (2, 3, 3, 3, 3)),
    ((2, 3, 3, 10, 5), (5, 3, 1, 3, 3)),
    ((2, 3, 9, 10), (5, 3, 3, 3)),
    ((1, 2, 70, 81), (2, 2, 3, 3)),
]


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    function = F.conv3d if x.ndim == 5 else F.conv2d
    return function(x, weight, padding=tuple(size // 2 for size in weight.shape[2:]))


@pytest.mark.parametrize(("shape", "kernel"), SHAPES)
def test_winograds_convolution_and_its_gradients_are_torchs(
    shape: tuple[int, ...], kernel: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(shape).double().requires_grad_(), torch.randn(kernel).double().requires_grad_()
    expected = convolved(x, weight)
    dy = torch.randn_like(expected)
    torch.testing.assert_close(winograd.convolve(x.detach(), weight.detach()), expected.detach())
    dx, dw = torch.autograd.grad(expected, (x, weight), dy)
    mine = winograd.gradients(x.detach(), weight.detach(), dy, of_input=True)
    torch.testing.assert_close(mine, (dx, dw))
    assert winograd.gradients(x.detach(), weight.detach(), dy, of_input=False)[0] is None


def test_winograds_convolution_keeps_five_digits_in_float32() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(1, 64, 12, 12, 12) + 1, torch.randn(64, 64, 3, 3, 3)
    exact = convolved(x.double(), weight.double())
    error = (winograd.convolve(x, weight) - exact).abs().max() / exact.std()
    assert error < 3e-5


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_a_layout_changes_nothing(memory_format: torch.memory_format) -> None:
    x, weight = torch.randn(2, 3, 6, 5, 4), torch.randn(4, 3, 3, 3, 3)
    y = winograd.convolve(x.to(memory_format=memory_format), weight)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(y, convolved(x, weight), rtol=1e-4, atol=1e-4)


def test_rows_are_those_of_whole_tiles() -> None:
    assert winograd.rows((2, 32, 8, 12, 10), (3, 3, 3)) == (2 * 2 * 3 * 10, 1.0)
    rows, filled = winograd.rows((1, 32, 5, 10), (3, 3))
    assert (rows, filled) == (2 * 10, 5 / 8)
    assert winograd.rows((1, 32, 7, 5, 10), (1, 3, 3)) == (7 * 2 * 10, 5 / 8)
