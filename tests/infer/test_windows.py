"""Whole-volume prediction by windows."""

from __future__ import annotations

import itertools

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

from vesal.infer.window_grid import Windows, window_starts
from vesal.infer.windows import Network, predict_logits, stream_logits


def twice(batch: Tensor) -> Tensor:
    """A 'network' of two outputs whose result does not depend on the window."""
    return torch.cat([batch, 2 * batch], dim=1)


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


# --- windows that hold only background -------------------------------------------------------------------


def blob(*centres: tuple[int, int, int], size: int = 3) -> Tensor:
    """(1, 60, 52, 44) noise around 0 with cubes around 1."""
    image = 0.05 * torch.randn(1, 60, 52, 44, generator=torch.Generator().manual_seed(0))
    for x, y, z in centres:
        image[0, x - size : x + size, y - size : y + size, z - size : z + size] += 1
    return image


def seeing(windows: list[Tensor], at_borders: float) -> Network:
    """A network that sees what is bright, and near a window's borders only a part of it; its windows are kept."""

    def network(batch: Tensor) -> Tensor:
        windows.extend(batch)
        logit = 20 * batch - 10
        sure = torch.full(batch.shape, at_borders)
        sure[:, :, 3:-3, 3:-3, 3:-3] = 1.0
        found = torch.where(logit > 0, logit * sure - 4 * (1 - sure), logit)
        return torch.cat([torch.zeros_like(batch), found], dim=1)

    return network


def possible(logits: Tensor) -> Tensor:
    return logits[1] - logits[0] > -4.6  # 1 %


@pytest.mark.parametrize("mirror_axes", [(), (0, 2)])
@pytest.mark.parametrize("at_borders", [1.0, 0.0])
def test_what_skipped_windows_leave_out_is_background(
    at_borders: float, mirror_axes: tuple[int, ...]
) -> None:
    # In the middle of a window, across the border of two that cover the volume, and in a corner.
    image = blob((10, 10, 10), (32, 33, 16), (56, 48, 40))
    found = []
    counts = []
    for skip in (False, True):
        computed: list[Tensor] = []
        windows = Windows((16, 16, 16), batch=2, mirror_axes=mirror_axes, skip=skip)
        network = seeing(computed, at_borders)
        logits = predict_logits(network, image, windows, outputs=2, foreground=possible)
        found.append(logits)
        counts.append(len(computed))
    everything, needed = found
    assert counts[1] < 0.6 * counts[0]
    assert torch.equal(needed.argmax(0), everything.argmax(0))
    assert everything.argmax(0).sum() > 450
    near = everything.argmax(0) == 1
    torch.testing.assert_close(needed[:, near], everything[:, near], rtol=1e-4, atol=1e-4)
    # What is left out is blended of fewer windows, which all say background.
    assert float((needed[1] - needed[0])[~near].max()) < 0


def test_no_window_is_skipped_where_foreground_is_everywhere_or_nothing_is_known_of_it() -> None:
    image = blob()
    for foreground in (None, lambda logits: torch.ones(logits.shape[1:], dtype=torch.bool)):
        counts = []
        for skip in (False, True):
            computed: list[Tensor] = []
            windows = Windows((16, 16, 16), skip=skip)
            predict_logits(seeing(computed, 1.0), image, windows, outputs=2, foreground=foreground)
            counts.append(len(computed))
        assert counts[0] == counts[1]


def test_of_an_empty_scan_only_the_windows_that_cover_it_are_computed() -> None:
    computed: list[Tensor] = []
    windows = Windows((16, 16, 16), skip=True)
    logits = predict_logits(seeing(computed, 1.0), blob(), windows, outputs=2, foreground=possible)
    assert len(computed) == 4 * 4 * 3
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[1:], 20 * blob() - 10, rtol=1e-4, atol=1e-4)


def test_a_window_that_is_needed_for_what_another_found_is_computed() -> None:
    """A cube that only windows around its middle see: one of these is asked for because of a brighter neighbour."""
    near, far = (24, 24, 24), (24, 24, 31)
    image = blob(near, far, size=2)
    masks = []
    for skip in (False, True):
        windows = Windows((16, 16, 16), skip=skip)
        network = seeing([], 0.0)
        masks.append(predict_logits(network, image, windows, outputs=2, foreground=possible).argmax(0))
    assert torch.equal(*masks)


def test_slices_of_a_stack_are_all_predicted() -> None:
    image = torch.zeros(1, 5, 60, 60)
    sizes: list[int] = []

    def network(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return twice(batch)

    image += torch.arange(5).view(1, 5, 1, 1) + torch.rand(60)
    predict_logits(network, image, Windows((32, 32), skip=True), outputs=2, foreground=possible)
    assert sum(sizes) == 5 * 9
