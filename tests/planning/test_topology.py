"""Strides, kernels and features of a network's resolutions."""

from __future__ import annotations

import math

import pytest

from vesal.planning.topology import make_stages, rounded_up, strides_and_kernels


def test_a_coarse_axis_is_neither_halved_nor_convolved_until_the_others_have_caught_up() -> None:
    strides, kernels = strides_and_kernels((160, 160, 16), (0.625, 0.625, 3.6))
    assert strides[:4] == [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2)]
    assert kernels[:3] == [(3, 3, 1), (3, 3, 1), (3, 3, 3)]
    assert kernels[-1] == (3, 3, 3)


def test_every_axis_keeps_four_voxels_and_features_are_capped() -> None:
    for patch in [(128, 128, 128), (40, 56, 40), (250, 31, 9), (8, 8, 8), (4, 5, 6)]:
        stages = make_stages(patch, (1.0, 1.0, 1.0), width="wide")
        total = [math.prod(stage.stride[axis] for stage in stages) for axis in range(3)]
        assert all(
            size / step >= min(size, 4) for size, step in zip(rounded_up(patch, stages), total, strict=True)
        )
        assert max(stage.features for stage in stages) <= 320
    assert make_stages((512, 512), (1.0, 1.0), width="wide")[-1].features == 512


@pytest.mark.parametrize(
    ("side", "features"),
    [(96, [16, 32, 64, 128, 256]), (128, [16, 32, 64, 128, 128, 128])],
)
def test_deep_networks_of_slices_end_in_fewer_features(side: int, features: list[int]) -> None:
    stages = make_stages((side, side), (1.0, 1.0), width="middle")
    assert [stage.features for stage in stages] == features
