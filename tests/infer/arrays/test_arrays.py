"""Which library computes with an array."""

from __future__ import annotations

import numpy as np
import torch

from vesal.infer.arrays.arrays import NUMPY, arrays_of, torch_arrays
from vesal.infer.arrays.torch_arrays import TorchArrays


def test_an_array_is_computed_by_the_library_that_it_is_of() -> None:
    assert arrays_of(np.zeros(3)) is NUMPY
    found = arrays_of(torch.zeros(3))
    assert isinstance(found, TorchArrays)
    assert found.device == torch.device("cpu")


def test_torchs_networks_may_compute_elsewhere_than_where_the_array_is() -> None:
    found = arrays_of(torch.zeros(3), torch.device("meta"))
    assert isinstance(found, TorchArrays)
    assert found.batch([torch.zeros(1, 2, 2)]).device.type == "meta"
    assert torch_arrays("cpu").of(np.zeros((1, 2), np.float32)).dtype is torch.float32
