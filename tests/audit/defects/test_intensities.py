"""Voxels that are not finite are replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from organs import Fixed, image_of, load, only, rewrite


def test_voxels_that_are_no_number_become_the_least_of_their_channel(data: Path, fixed: Fixed) -> None:
    def damage(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        array = array.astype(np.float32) + 5
        array[3, 4, 5, 1], array[0, 0, 0, 1] = np.nan, np.inf
        return array, affine

    rewrite(image_of(data, 4), damage)
    result = fixed("not-finite")
    assert only(result).numbers["voxels"] == 2
    assert result.files is not None
    array = result.files[image_of(data, 4)].array
    assert array[1, 3, 4, 5] == array[1, 0, 0, 0] == np.nanmin(load(image_of(data, 4))[0][..., 1])
