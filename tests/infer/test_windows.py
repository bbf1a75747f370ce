"""Whole-volume prediction by windows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

from vesal.infer.windows import Windows, predict_logits, stream_logits, window_starts, window_weights


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


def test_the_weights_of_all_windows_sum_to_one_and_fall_from_each_centre() -> None:
    starts = window_starts(50, 17, 0.5)
    total = np.zeros(50)
    for start, weight in zip(starts, window_weights(50, 17, starts), strict=True):
        assert weight.min() > 0
        total[start : start + 17] += weight
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)
    middle = window_weights(50, 17, starts)[1]
    assert middle[8] == middle.max() > 10 * middle[0]


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


@pytest.mark.parametrize("shape", [(20, 31, 70), (60, 17, 16), (9, 40, 16), (5, 6, 7)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
def test_the_stream_is_the_sum_of_all_windows_over_their_weights(
    shape: tuple[int, ...], overlap: float
) -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv3d(2, 3, 5, padding=2).eval()
    image = torch.randn(2, *shape)
    windows = Windows((16, 12, 14), overlap=overlap, batch=2)
    logits = predict_logits(network, image, windows, outputs=3)
    torch.testing.assert_close(logits, blended_at_once(network, image, windows), rtol=1e-4, atol=1e-5)


def blended_at_once(network: torch.nn.Module, image: Tensor, windows: Windows) -> Tensor:
    """The textbook's form: two whole volumes, of the weighted sums and of the weights."""
    sizes = [max(size, window) for size, window in zip(image.shape[1:], windows.patch, strict=True)]
    before = [(big - size) // 2 for big, size in zip(sizes, image.shape[1:], strict=True)]
    inner = tuple(slice(at, at + size) for at, size in zip(before, image.shape[1:], strict=True))
    padded = torch.zeros(image.shape[0], *sizes)
    padded[(slice(None), *inner)] = image
    gauss = [torch.exp(-0.5 * ((torch.arange(p) - (p - 1) / 2) / (p / 8)) ** 2) for p in windows.patch]
    weight = gauss[0][:, None, None] * gauss[1][:, None] * gauss[2]
    total, coverage = torch.zeros(3, *sizes), torch.zeros(sizes)
    axes = zip(sizes, windows.patch, strict=True)
    for corner in itertools.product(*(window_starts(*axis, windows.overlap) for axis in axes)):
        box = tuple(slice(at, at + size) for at, size in zip(corner, windows.patch, strict=True))
        with torch.inference_mode():
            total[(slice(None), *box)] += network(padded[(slice(None), *box)][None])[0] * weight
        coverage[box] += weight
    return (total / coverage)[(slice(None), *inner)]


def test_the_stream_holds_no_more_than_a_window_is_deep() -> None:
    windows = Windows((16, 16, 16))
    shape = (20, 24, 100)
    assert windows.stream_axis(shape) == 2
    depths, memory = [], set()
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    for rows in stream_logits(twice, image, windows, outputs=2):
        assert rows.shape[:3] == (2, 20, 24)
        depths.append(rows.shape[3])
        memory.add((rows.untyped_storage().data_ptr(), rows.untyped_storage().nbytes()))
    assert sum(depths) == 100
    assert len(memory) == 1
    assert memory.pop()[1] == 4 * 2 * 20 * 24 * 16


def test_windows_of_one_value_are_asked_of_the_network_once() -> None:
    asked = []

    def network(batch: Tensor) -> Tensor:
        asked.extend(batch)
        ramp = torch.arange(16.0).view(1, 1, -1, 1, 1)
        return torch.cat([batch + ramp, 2 * batch], dim=1)

    image = torch.zeros(1, 16, 16, 128)
    image[..., 100:] = torch.rand(1, 16, 16, 28, generator=torch.Generator().manual_seed(0))
    image[..., :40] = -1.5
    for batch in (1, 3, 50):
        asked.clear()
        windows = Windows((16, 16, 16), batch=batch)
        logits = predict_logits(network, image, windows, outputs=2)
        kinds = [tuple(window.unique().tolist()) for window in asked]
        assert kinds.count((0.0,)) == kinds.count((-1.5,)) == 1
        assert len(asked) < len(window_starts(128, 16, 0.5))
        ramp = torch.arange(16.0).view(1, -1, 1, 1).expand_as(image)
        torch.testing.assert_close(logits, torch.cat([image + ramp, 2 * image]), rtol=1e-5, atol=1e-5)


def test_one_value_in_each_of_three_channels_is_not_taken_for_a_windows_place() -> None:
    image = torch.zeros(3, 32, 8, 8)
    image[:, 24:] = torch.rand(3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    logits = predict_logits(lambda batch: batch, image, Windows((8, 8, 8), overlap=0.0), outputs=3)
    torch.testing.assert_close(logits, image)


def test_what_a_network_returns_is_left_as_it_is() -> None:
    image = torch.randn(1, 20, 8, 8, generator=torch.Generator().manual_seed(0))
    kept = image.clone()
    predict_logits(lambda batch: batch, image, Windows((8, 8, 8), mirror_axes=(0, 2)), outputs=1)
    assert torch.equal(image, kept)


def test_an_overlap_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        Windows((8, 8), overlap=1.0)


@pytest.mark.parametrize("shape", [(20, 31, 17), (5, 40, 16)])
def test_numpys_windows_are_blended_as_torchs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 2, 5, padding=2).eval()
    image = torch.randn(1, *shape)
    image[:, :, 3:] *= torch.rand(1)
    windows = Windows((16, 12, 14), batch=2, mirror_axes=(0, 2))

    def by_numpy(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(np.ascontiguousarray(batch))).numpy()

    expected = predict_logits(network, image, windows, outputs=2)
    found = predict_logits(by_numpy, image.numpy(), windows, outputs=2)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(20, 31, 17), (5, 40, 16), (3, 3, 3)])
def test_logits_that_lie_on_the_disk_are_the_same(
    all_on_disk: Callable[[], AbstractContextManager[None]], shape: tuple[int, ...]
) -> None:
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    windows = Windows((16, 12, 14), batch=2, mirror_axes=(0,))
    expected = predict_logits(twice, image, windows, outputs=2)
    by_numpy = predict_logits(
        lambda batch: np.concatenate([batch, 2 * batch], axis=1), image.numpy(), windows, outputs=2
    )
    with all_on_disk():
        found = predict_logits(twice, image, windows, outputs=2)
        assert torch.equal(found, expected)
        of_numpy = predict_logits(
            lambda batch: np.concatenate([batch, 2 * batch], axis=1), image.numpy(), windows, outputs=2
        )
        assert isinstance(of_numpy, np.ndarray)
        assert np.array_equal(of_numpy, by_numpy)
