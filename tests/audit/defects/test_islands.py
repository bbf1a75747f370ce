"""Small far pieces of a label are removed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from organs import Fixed, label_of, rewrite, undone

from vesal.audit.defects.islands import islands


def test_tiny_far_pieces_of_a_label_are_removed_and_near_or_large_ones_stay(
    data: Path, clean: Path, fixed: Fixed
) -> None:
    def damage(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        array = array.copy()
        array[1:3, 24:, 1] = 1
        return array, affine

    rewrite(label_of(data, 4), damage)
    undone(fixed("stray-island"), data, clean)
    drawn = np.zeros((30, 30), np.uint8)
    drawn[:10, :10], drawn[20:, 20:], drawn[12, 2], drawn[2, 28] = 1, 1, 1, 1
    assert np.argwhere(islands(drawn, 0, (1.0, 1.0))).tolist() == [[2, 28]]
    drawn[2, 28] = 2  # all that there is of another class
    assert not islands(drawn, 0, (1.0, 1.0)).any()
