"""nnU-Net's windows, whose weighted logits are added up in 16 bits."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from vesal.errors import DataError
from vesal.infer.imported_windows.nnunet_windows import in_16_bits, nnunet_weight
from vesal.infer.windows import Windows, predict_logits, window_starts


@pytest.mark.parametrize("patch", [(16, 17), (40, 56, 40), (9, 12, 8)])
def test_weights_are_a_filtered_point_in_16_bits(patch: tuple[int, ...]) -> None:
    point = np.zeros(patch)
    point[tuple(size // 2 for size in patch)] = 1
    gaussian = ndimage.gaussian_filter(point, [size / 8 for size in patch], mode="constant")
    expected = (gaussian / gaussian.max() * 10).astype(np.float16)
    expected[expected == 0] = expected[expected > 0].min()
    found = nnunet_weight(patch)
    assert found.min() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=6e-8)
    assert np.mean(found == expected) > 0.99


@pytest.mark.parametrize("library", ["torch", "numpy"])
@pytest.mark.parametrize("mirror_axes", [(), (0, 2)])
def test_logits_are_to_the_bit_those_of_sums_in_16_bits(library: str, mirror_axes: tuple[int, ...]) -> None:
    patch, shape = (6, 8, 8), (9, 13, 12)
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    ramp = np.arange(8, dtype=np.float32)

    def network(batch: Any) -> Any:
        if library == "torch":
            return torch.cat([3 * batch, batch + torch.from_numpy(ramp)], 1)
        return np.concatenate([3 * batch, batch + ramp], 1)

    weight = torch.from_numpy(nnunet_weight(patch)).half()
    sums, total = torch.zeros((2, *shape), dtype=torch.half), torch.zeros(shape, dtype=torch.half)
    starts = [window_starts(size, window, 0.5) for size, window in zip(shape, patch, strict=True)]
    for corner in itertools.product(*starts):
        box = tuple(slice(start, start + size) for start, size in zip(corner, patch, strict=True))
        window = torch.from_numpy(image[(slice(None), *box)])[None]
        logits = torch.zeros((1, 2, *patch))
        sets = [subset for count in range(3) for subset in itertools.combinations(mirror_axes, count)]
        for subset in sets:
            flips = [axis + 2 for axis in subset]
            logits += torch.as_tensor(
                network(window.flip(flips) if library == "torch" else window.flip(flips).numpy())
            ).flip(flips)
        sums[(slice(None), *box)] += logits[0] / len(sets) * weight
        total[box] += weight
    expected = (sums / total).float().numpy()
    given = torch.from_numpy(image) if library == "torch" else image
    windows = Windows(patch, batch=2, mirror_axes=mirror_axes, nnunet=True)
    found = np.asarray(predict_logits(network, given, windows, outputs=2))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(in_16_bits(found), found)


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_logits_that_16_bits_do_not_hold_are_refused_as_nnunet_does(library: str) -> None:
    image = np.ones((1, 6, 8, 8), dtype=np.float32)
    scan: Any = torch.from_numpy(image) if library == "torch" else image

    def network(batch: Any) -> Any:
        both = (8000 * batch, 9000 * batch)  # the second class is likelier, and ten times both are infinite
        return torch.cat(both, 1) if library == "torch" else np.concatenate(both, 1)

    with pytest.raises(DataError, match="16 bits"):
        predict_logits(network, scan, Windows((6, 8, 8), nnunet=True), outputs=2)
