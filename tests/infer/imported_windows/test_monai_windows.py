"""MONAI's windows, beside its own sliding window inference."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch

from vesal.infer.imported_windows.monai_windows import importance, monai_starts, monai_weight
from vesal.infer.windows import Windows, predict_logits


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("shape", [(20, 19, 12), (9, 40, 16), (7, 6, 5)])
def test_logits_are_those_of_sliding_window_inference(
    mode: Literal["constant", "gaussian"], overlap: float, shape: tuple[int, ...]
) -> None:
    inferers = pytest.importorskip("monai.inferers", reason="MONAI is not installed (extra monai)")
    image = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))

    # Says where in its window a voxel lies, so that windows and weights show.
    place = torch.arange(12.0)[:, None, None] + 3 * torch.arange(9.0)[:, None] + 7 * torch.arange(8.0)

    def network(batch: Any) -> Any:
        return torch.cat([batch * place, batch + place], 1)

    patch = (12, 9, 8)
    expected = inferers.sliding_window_inference(image[None], patch, 3, network, overlap=overlap, mode=mode)[
        0
    ]
    windows = Windows(patch, overlap=overlap, batch=2, monai=mode)
    found = predict_logits(network, image, windows, outputs=4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_last_window_is_moved_back_to_the_border() -> None:
    assert monai_starts(21, 8, 0.5) == [0, 4, 8, 12, 13]
    assert monai_starts(21, 8, 0.999) == list(range(14))


def test_weights_of_a_voxel_sum_to_one_and_no_voxel_of_a_window_is_without_weight() -> None:
    starts, patch = [monai_starts(13, 8, 0.5), monai_starts(8, 8, 0.5)], (8, 8)
    total = np.zeros((13, 8))
    for number, start in enumerate(starts[0]):
        total[start : start + 8] += monai_weight(patch, starts, (number, 0), "gaussian")
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    assert importance((32, 32), "gaussian").min() == np.float32(1e-3)
    assert importance((32, 32), "constant").min() == 1
