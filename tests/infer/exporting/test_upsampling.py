"""Transposed convolutions as products compute the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vesal.infer.exporting.upsampling import BlockUpsampling, with_block_upsampling
from vesal.nn.cpu.convolution import ConvTranspose3d


@pytest.mark.parametrize(
    "part",
    [
        nn.ConvTranspose2d(3, 5, 2, stride=2),
        nn.ConvTranspose3d(3, 4, 2, stride=2, bias=False),
        nn.ConvTranspose3d(2, 3, (1, 2, 3), stride=(1, 2, 3)),
        ConvTranspose3d(2, 3, 2, stride=2, bias=False),
    ],
)
def test_a_block_is_upsampled_alike(part: nn.ConvTranspose2d | nn.ConvTranspose3d) -> None:
    features = torch.randn(2, part.in_channels, *(3, 4, 5)[: len(part.stride)])
    torch.testing.assert_close(BlockUpsampling(part)(features), part(features))


def test_what_overlaps_or_is_padded_stays() -> None:
    network = nn.Sequential(
        nn.ConvTranspose3d(2, 2, 2, stride=2),
        nn.Sequential(
            nn.ConvTranspose3d(2, 2, 3, stride=2), nn.ConvTranspose3d(2, 2, 2, stride=2, padding=1)
        ),
    )
    features = torch.randn(1, 2, 3, 3, 3)
    with torch.no_grad():
        expected = network(features)
        found = with_block_upsampling(network)(features)
    torch.testing.assert_close(found, expected)
    assert isinstance(network[0], BlockUpsampling)
    assert [type(part) for part in network[1]] == [nn.ConvTranspose3d, nn.ConvTranspose3d]
