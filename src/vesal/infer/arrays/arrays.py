"""Which library computes with an array: numpy, in the runtime without torch, or torch on some device.

What holds for both is written with slices, operators and methods that numpy's arrays and torch's tensors share; what
they call or do differently stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vesal.infer.arrays.numpy_arrays import NumpyArrays

#: numpy's array or torch's tensor.
Array = Any
Function = TypeVar("Function", bound=Callable[..., Any])


class Arrays(Protocol):
    """What prediction asks of a library. Axis 0 of a batch counts windows, axis 1 channels."""

    def without_gradients(self, function: Function) -> Function:
        """The function or generator, run so that nothing is recorded for a backward pass."""

    def of(self, image: NDArray[np.float32]) -> Array:
        """A prepared image for the networks' windows, on the CPU."""

    def numpy(self, array: Array) -> NDArray[Any]:
        """numpy's view of it, or a copy from another device."""

    def beside(self, values: Array | NDArray[Any], other: Array) -> Array:
        """Values as float32 where `other` is."""

    def empty(self, shape: Sequence[int], slow_axis: int = 0) -> Array:
        """Uninitialised float32 on the CPU; under a limit of memory that has no room for it, on the disk.

        There `slow_axis` is the axis whose rows lie one behind the other.
        """

    def zeros(self, shape: Sequence[int], slow_axis: int = 0) -> Array:
        """float32 where the networks compute, if there is room for it; on the CPU as `empty`."""

    def zeros_like(self, array: Array) -> Array: ...

    def pad(self, image: Array, before: Sequence[int], after: Sequence[int]) -> Array:
        """Zeros around (C, *S)."""

    def batch(self, windows: Sequence[Array]) -> Array:
        """Windows (C, *patch) -> (N, C, *patch) where the networks compute."""

    def flip(self, array: Array, axes: Sequence[int]) -> Array: ...

    def copy(self, array: Array) -> Array: ...

    def add_weighted(self, target: Array, values: Array, weight: Array, share: float) -> None:
        """target += share * values * weight, in place."""

    def add_in_16_bits(self, target: Array, values: Array, weight: Array | float, share: float) -> None:
        """`add_weighted`, with the sum rounded to float16, which it stays float32 of."""

    def divided_in_16_bits(self, array: Array, by: Array | float) -> Array:
        """array / by, rounded to float16, as float32; a new one."""

    def divide(self, array: Array, by: float) -> None:
        """In place."""

    def take(self, array: Array, places: NDArray[np.intp], axis: int) -> Array: ...

    def stack(self, parts: Sequence[Array], axis: int) -> Array: ...

    def join(self, parts: Sequence[Array]) -> Array:
        """One after the other along the channels."""

    def softmax(self, logits: Array) -> Array:
        """Over the channels."""

    def sigmoid(self, logits: Array) -> Array: ...

    def argmax(self, logits: Array) -> Array:
        """Over the channels."""

    def largest(self, array: Array) -> Array:
        """Over the channels."""

    def sum(self, array: Array, axes: Sequence[int]) -> Array: ...

    def spread(self, rows: Array) -> Array:
        """(N, M) -> (N,) standard deviations, of M - 1 degrees of freedom."""

    def log(self, array: Array) -> Array: ...

    def clip(self, array: Array, low: float, high: float) -> Array: ...

    def floats(self, mask: Array) -> Array:
        """float32 of truth values."""


NUMPY: Arrays = NumpyArrays()


def arrays_of(array: Array, device: Any = None) -> Arrays:
    """The library of an array, and where its networks compute: where it is, if `device` is None."""
    if isinstance(array, np.ndarray):
        return NUMPY
    return torch_arrays(array.device if device is None else device)


def torch_arrays(device: Any) -> Arrays:
    """Torch's, on a device."""
    # The runtime does without torch.
    from vesal.infer.arrays.torch_arrays import TorchArrays

    return TorchArrays(device)
