"""Random parameters, drawn on the CPU into small frozen records, and sent to any device.

A record is a frozen dataclass of tensors, numbers and tuples with an `apply` that is plain arithmetic: the same
record gives the same result. Every draw takes the same number of random numbers whatever the probabilities
are, so that changing that of one transform leaves what the others draw as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(shape: tuple[int, ...], limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    """float32 `shape`, uniform in [low, high)."""
    low, high = limits
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float32)


def log_uniform(shape: tuple[int, ...], limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    """float32 `shape`, its logarithm uniform: for factors, of which 1/2 and 2 are equally strong."""
    low, high = torch.tensor(limits, dtype=torch.float64).log().tolist()
    return uniform(shape, (low, high), generator).exp()


def happens(shape: tuple[int, ...], probability: float, generator: torch.Generator) -> Tensor:
    """bool `shape`, each True with this probability."""
    return torch.rand(shape, generator=generator, dtype=torch.float32) < probability


def whole(shape: tuple[int, ...], limits: tuple[int, int], generator: torch.Generator) -> Tensor:
    """int64 `shape`, each whole number from low to high, both included, equally likely."""
    return torch.randint(limits[0], limits[1] + 1, shape, generator=generator)


def directions(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """float32 `shape`: vectors of length 1 along the last axis, all directions equally likely."""
    vectors = torch.randn(shape, generator=generator, dtype=torch.float32)
    return vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp_min(1e-12)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`, the same one where it is there already; the CPU does not wait for a GPU's earlier work.

    Unpinned memory is read before this returns, so it may be freed; pinned memory must not be written to until the
    copy is complete.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")
