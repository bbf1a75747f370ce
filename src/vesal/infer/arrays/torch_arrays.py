"""What prediction asks of a library of arrays (`vesal.infer.arrays.arrays.Arrays`), by torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vesal import memory_limit

Function = TypeVar("Function", bound=Callable[..., Any])


class TorchArrays:
    """As `Arrays`.

    Args:
        device: where the networks compute.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)

    def without_gradients(self, function: Function) -> Function:
        return torch.inference_mode()(function)

    def of(self, image: NDArray[np.float32]) -> Tensor:
        if memory_limit.limit() is not None and image.dtype == np.float32 and image.flags.writeable:
            return torch.from_numpy(image)  # a copy might not be in memory's room
        return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))

    def numpy(self, array: Tensor) -> NDArray[Any]:
        found: NDArray[Any] = array.cpu().numpy()
        return found

    def beside(self, values: Tensor | NDArray[Any], other: Tensor) -> Tensor:
        if isinstance(values, np.ndarray) and not values.flags.writeable:
            values = values.copy()
        return torch.as_tensor(values).to(other.device, torch.float32)

    def empty(self, shape: Sequence[int], slow_axis: int = 0) -> Tensor:
        if memory_limit.limit() is not None:
            return torch.from_numpy(memory_limit.array(tuple(shape), np.float32, slow_axis=slow_axis))
        return torch.empty(tuple(shape), dtype=torch.float32)

    def zeros(self, shape: Sequence[int], slow_axis: int = 0) -> Tensor:
        device = self.device
        if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] <= 8 * math.prod(shape):
            # They would take more than half of its free memory.
            device = torch.device("cpu")
        if device.type == "cpu" and memory_limit.limit() is not None:
            made = memory_limit.array(tuple(shape), np.float32, slow_axis=slow_axis, zeros=True)
            return torch.from_numpy(made)
        return torch.zeros(tuple(shape), dtype=torch.float32, device=device)

    def zeros_like(self, array: Tensor) -> Tensor:
        return torch.zeros_like(array)

    def pad(self, image: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
        pairs = [number for pair in zip(before, after, strict=True) for number in reversed(pair)]
        return torch.nn.functional.pad(image, pairs[::-1])

    def batch(self, windows: Sequence[Tensor]) -> Tensor:
        # In one stretch, so that what computes is the same however the scan lies in memory.
        batch = windows[0][None].contiguous() if len(windows) == 1 else torch.stack(list(windows))
        return batch.to(self.device)

    def flip(self, array: Tensor, axes: Sequence[int]) -> Tensor:
        return array.flip(list(axes))

    def copy(self, array: Tensor) -> Tensor:
        return array.clone()

    def add_weighted(self, target: Tensor, values: Tensor, weight: Tensor, share: float) -> None:
        target.addcmul_(values, weight, value=share)

    def add_in_16_bits(self, target: Tensor, values: Tensor, weight: Tensor | float, share: float) -> None:
        for channel, more in zip(target, values, strict=True):
            channel.copy_((more * share * weight).add_(channel).half())

    def divided_in_16_bits(self, array: Tensor, by: Tensor | float) -> Tensor:
        return (array / by).half().float()

    def divide(self, array: Tensor, by: float) -> None:
        with torch.inference_mode():
            array /= by

    def take(self, array: Tensor, places: NDArray[np.intp], axis: int) -> Tensor:
        return array.index_select(axis, torch.from_numpy(places).to(array.device))

    def stack(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        return torch.stack(list(parts), axis)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), dim=1)

    def softmax(self, logits: Tensor) -> Tensor:
        return logits.float().softmax(dim=1)

    def sigmoid(self, logits: Tensor) -> Tensor:
        return logits.float().sigmoid()

    def argmax(self, logits: Tensor) -> Tensor:
        return logits.argmax(dim=1)

    def largest(self, array: Tensor) -> Tensor:
        return array.amax(dim=1)

    def sum(self, array: Tensor, axes: Sequence[int]) -> Tensor:
        return array.sum(dim=tuple(axes))

    def spread(self, rows: Tensor) -> Tensor:
        return rows.std(dim=1)

    def log(self, array: Tensor) -> Tensor:
        return array.log()

    def clip(self, array: Tensor, low: float, high: float) -> Tensor:
        return array.clamp(low, high)

    def floats(self, mask: Tensor) -> Tensor:
        return mask.float()
