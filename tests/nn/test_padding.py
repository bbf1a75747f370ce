"""Images of any size through networks whose strides want multiples."""

from __future__ import annotations

import pytest
import torch

from vesal.errors import UsageError
from vesal.nn.padding import Sizes

SIZES = Sizes((4, 2), "instance", 8)


def shape_seen(
    x: torch.Tensor, sizes: Sizes = SIZES, *, training: bool = False, heads: int = 1
) -> tuple[int, ...]:
    """The size that the network is given."""
    seen = []

    def network(image: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(image.shape[2:]))
        return image

    result = sizes.run(network, x, training=training, heads=heads)
    assert isinstance(result, torch.Tensor)
    assert torch.equal(result, x), "what was padded was not cut back"
    return seen[0]


@pytest.mark.parametrize(
    ("size", "padded"), [((8, 6), (8, 6)), ((7, 5), (8, 6)), ((9, 1), (12, 2)), ((1, 1), (8, 2))]
)
def test_sizes_are_padded_to_multiples_and_to_two_voxels_for_the_norm(
    size: tuple[int, int], padded: tuple[int, int]
) -> None:
    assert shape_seen(torch.randn(1, 3, *size)) == padded


def test_a_norm_that_takes_no_statistics_needs_no_second_voxel() -> None:
    assert shape_seen(torch.randn(1, 3, 4, 2), Sizes((4, 2), "batch", 8)) == (4, 2)


@pytest.mark.parametrize(
    ("size", "heads", "words"),
    [
        ((7, 6), 2, "not a multiple"),
        ((4, 2), 1, "single voxel"),
        ((4, 2, 2), 1, "axes"),
        ((0, 2), 1, "no voxel"),
    ],
)
def test_a_patch_that_cannot_be_trained_on_is_refused(size: tuple[int, ...], heads: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        shape_seen(torch.zeros(1, 3, *size), training=True, heads=heads)
