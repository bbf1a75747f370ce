"""Windows as nnU-Net weighs them, in 16 bits: for models that were trained there.

nnU-Net 2.8.1, `inference/sliding_window_prediction.py` (compute_gaussian) and `inference/predict_from_raw_data.py`:
weighted logits and weights are added up as float16 and divided as such. Where weights are small, as at the corners of a
scan, little is left of the logits, and two classes are often equal; so a mask is the same only where this rounding is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Of the voxel that weighs most, and the deviation of the Gaussian in shares of the window.
_LARGEST, _SIGMA = 10.0, 1 / 8


@lru_cache(maxsize=4)
def nnunet_weight(patch: Sequence[int]) -> NDArray[np.float32]:
    """What a window weighs at its voxels (*patch): a Gaussian around voxel size // 2, rounded to 16 bits, nowhere 0."""
    found = np.ones(())
    for size in patch:
        from_middle = np.arange(size) - size // 2
        found = found[..., None] * np.exp(-0.5 * (from_middle / (_SIGMA * size)) ** 2)
    rounded = in_16_bits((found * _LARGEST).astype(np.float32))
    rounded[rounded == 0] = rounded[rounded > 0].min()
    return rounded


def in_16_bits(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values rounded to float16, as float32."""
    return values.astype(np.float16).astype(np.float32)
