"""What torch does for a prediction."""

from __future__ import annotations

import numpy as np
import torch

from vesal.infer.arrays.torch_arrays import TorchArrays

CPU = TorchArrays("cpu")


def test_nothing_is_recorded_for_a_backward_pass() -> None:
    weight = torch.ones(3, requires_grad=True)
    assert not CPU.without_gradients(lambda x: x * weight)(torch.ones(3)).requires_grad

    def doubled(count: int):
        for _ in range(count):
            yield weight * 2

    rows = list(CPU.without_gradients(doubled)(2))
    assert len(rows) == 2
    assert not any(row.requires_grad for row in rows)
    assert torch.is_grad_enabled()


def test_zeros_are_padded_before_and_behind_each_axis() -> None:
    padded = CPU.pad(torch.ones(1, 2, 3), (1, 0), (0, 2))
    assert padded.tolist() == [[[0, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]]


def test_a_lone_window_is_not_copied() -> None:
    window = torch.ones(1, 4, 4)
    assert CPU.batch([window]).data_ptr() == window.data_ptr()


def test_numpys_arrays_that_cannot_be_written_are_copied() -> None:
    values = np.ones(3, np.float32)
    values.flags.writeable = False
    CPU.beside(values, torch.zeros(1)).add_(1)
    assert values.tolist() == [1, 1, 1]
