"""Swapped and inverted channels are put right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from organs import Fixed, image_of, rewrite, undone


def test_swapped_channels_are_put_in_the_order_of_the_others(data: Path, clean: Path, fixed: Fixed) -> None:
    rewrite(image_of(data, 4), lambda array, affine: (array[..., ::-1], affine))
    undone(fixed("swapped-channels", order=[1, 0]), data, clean)


def test_an_inverted_channel_is_negated_about_its_range(data: Path, clean: Path, fixed: Fixed) -> None:
    def damage(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        array = array.copy()
        array[..., 0] = array[..., 0].max() - array[..., 0] + array[..., 0].min()
        return array, affine

    rewrite(image_of(data, 4), damage)
    undone(fixed("inverted", channels=[0]), data, clean)
