"""What numpy does for a prediction is what torch does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vesal.infer.arrays.arrays import NUMPY, Arrays, torch_arrays

TORCH = torch_arrays("cpu")
LOGITS = (np.random.default_rng(0).normal(0, 3, (2, 3, 4, 5)) * [[[[1.0]]]]).astype(np.float32)
LOGITS[0, 0, 0, :2] = (200.0, -200.0)

OPERATIONS: dict[str, Callable[[Arrays, Any], Any]] = {
    "softmax": lambda of, x: of.softmax(x),
    "sigmoid": lambda of, x: of.sigmoid(x),
    "argmax": lambda of, x: of.argmax(x),
    "largest": lambda of, x: of.largest(x),
    "sum": lambda of, x: of.sum(x, (0, 2)),
    "sum of truth": lambda of, x: of.sum(x > 0, (0, 2, 3)),
    "spread": lambda of, x: of.spread(x.reshape(2, -1)),
    "log": lambda of, x: of.log(of.clip(x, 0.5, 2.0)),
    "take": lambda of, x: of.take(x, np.array([0, 0, 2]), 2),
    "stack": lambda of, x: of.stack([x, x], 1),
    "join": lambda of, x: of.join([x, of.zeros_like(x[:, :1])]),
    "flip": lambda of, x: of.flip(x, (2, 3)),
    "pad": lambda of, x: of.pad(x[0], (1, 0), (2, 3)),
    "batch": lambda of, x: of.batch([x[0], x[1]]),
    "floats": lambda of, x: of.floats(x > 1),
    "copy": lambda of, x: of.copy(x),
}


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_each_operation_gives_torchs_numbers(name: str) -> None:
    expected = TORCH.numpy(OPERATIONS[name](TORCH, TORCH.of(LOGITS)))
    found = OPERATIONS[name](NUMPY, LOGITS)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_is_done_in_place_gives_torchs_numbers() -> None:
    weight = np.random.default_rng(1).random((4, 5)).astype(np.float32)
    for share in (1.0, 0.25):
        sums = []
        for of in (NUMPY, TORCH):
            target = of.zeros((3, 4, 5))
            of.add_weighted(target, of.of(LOGITS[0]), of.beside(weight, target), share)
            of.divide(target[:2], 1.7)
            sums.append(of.numpy(target))
        np.testing.assert_allclose(*sums, rtol=1e-5)


def test_far_logits_overflow_nowhere() -> None:
    with np.errstate(all="raise"):
        np.testing.assert_allclose(NUMPY.sigmoid(np.array([-500.0, 0.0, 500.0], np.float32)), [0, 0.5, 1])
