"""Whole-volume prediction by windows."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

from vesal.infer.windows import Windows, gaussian_weight, predict_logits, window_starts


def twice(batch: Tensor) -> Tensor:
    """A 'network' of two outputs whose result does not depend on the window."""
    return torch.cat([batch, 2 * batch], dim=1)


@pytest.mark.parametrize(("size", "window"), [(100, 32), (33, 32), (32, 32), (7, 32), (64, 5)])
def test_windows_cover_every_voxel_and_overlap_at_least_as_asked(size: int, window: int) -> None:
    starts = window_starts(size, window, 0.5)
    covered = {voxel for start in starts for voxel in range(start, start + window)}
    assert covered >= set(range(size))
    assert all(later - earlier <= -(-window // 2) for earlier, later in pairwise(starts))


@pytest.mark.parametrize("shape", [(20, 31, 17), (5, 40, 16), (16, 16, 16), (3, 3, 3)])
def test_blended_windows_give_back_what_a_pointwise_network_says(shape: tuple[int, ...]) -> None:
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    logits = predict_logits(twice, image, Windows((16, 16, 16), batch=3), outputs=2)
    torch.testing.assert_close(logits, torch.cat([image, 2 * image]), rtol=1e-5, atol=1e-5)


def test_a_2d_network_predicts_every_slice_of_a_stack_on_its_own() -> None:
    image = torch.randn(1, 6, 40, 30, generator=torch.Generator().manual_seed(0))
    sizes = []

    def network(batch: Tensor) -> Tensor:
        sizes.append(tuple(batch.shape))
        return twice(batch)

    logits = predict_logits(network, image, Windows((24, 24), batch=4), outputs=2)
    torch.testing.assert_close(logits, torch.cat([image, 2 * image]), rtol=1e-5, atol=1e-5)
    assert all(size[1:] == (1, 24, 24) for size in sizes)


def test_a_volume_smaller_than_the_window_is_padded_around_its_centre() -> None:
    seen = []

    def network(batch: Tensor) -> Tensor:
        seen.append(batch)
        return twice(batch)

    logits = predict_logits(network, torch.ones(1, 4, 6, 8), Windows((8, 8, 8)), outputs=2)
    assert logits.shape == (2, 4, 6, 8)
    assert seen[0].shape == (1, 1, 8, 8, 8)
    assert seen[0][0, 0, 2:6, 1:7].min() == 1
    assert seen[0].sum() == 4 * 6 * 8


def test_mirroring_averages_over_all_subsets_of_the_axes_and_flips_back() -> None:
    calls = []

    def ramp(batch: Tensor) -> Tensor:
        calls.append(1)
        return batch + torch.arange(batch.shape[2]).view(1, 1, -1, 1, 1)

    image = torch.zeros(1, 8, 8, 8)
    logits = predict_logits(ramp, image, Windows((8, 8, 8), mirror_axes=(0, 1, 2)), outputs=1)
    assert len(calls) == 8
    # The ramp 0..7 and its mirror image average to 3.5 everywhere.
    torch.testing.assert_close(logits, torch.full((1, 8, 8, 8), 3.5))


def test_the_gaussian_peaks_at_the_centre_and_never_vanishes() -> None:
    weight = gaussian_weight((9, 17))
    assert weight[4, 8] == weight.max() == 1
    assert weight.min() >= 1e-4
    torch.testing.assert_close(weight, weight.flip(0, 1))


def test_the_blend_is_close_to_monais_sliding_window() -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 2, 3, padding=1).eval()
    image = torch.randn(1, 40, 24, 24)
    ours = predict_logits(network, image, Windows((16, 16, 16)), outputs=2)
    with torch.inference_mode():
        theirs = sliding_window_inference(
            image[None], (16, 16, 16), 4, network, overlap=0.5, mode="gaussian"
        )[0]
    # Positions differ by a voxel where the size is no multiple of the step; the blend hides it but at borders.
    assert (ours - theirs).abs().mean() < 0.02


def test_an_overlap_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        Windows((8, 8), overlap=1.0)
