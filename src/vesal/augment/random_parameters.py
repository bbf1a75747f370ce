"""Random parameters, drawn on the CPU into small frozen records that JSON can hold, and sent to any device.

A record is a frozen dataclass of tensors, numbers and tuples with an `apply` that is plain arithmetic: the same
record gives the same result. Every draw takes the same number of random numbers whatever the chances are, so
that changing one transform's chance leaves what the others draw as it was.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

import torch
from torch import Tensor

RecordT = TypeVar("RecordT")


def uniform(shape: tuple[int, ...], limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    """float32 `shape`, uniform in [low, high)."""
    low, high = limits
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float32)


def log_uniform(shape: tuple[int, ...], limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    """float32 `shape`, its logarithm uniform: for factors, of which 1/2 and 2 are equally strong."""
    low, high = torch.tensor(limits, dtype=torch.float64).log().tolist()
    return uniform(shape, (low, high), generator).exp()


def happens(shape: tuple[int, ...], chance: float, generator: torch.Generator) -> Tensor:
    """bool `shape`, each True with probability `chance`."""
    return torch.rand(shape, generator=generator, dtype=torch.float32) < chance


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


def record_to_dict(record: Any) -> dict[str, Any]:
    """A record as plain lists and numbers; float32 survives JSON to the bit."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: value.tolist() if isinstance(value, Tensor) else value for name, value in values.items()}


def record_from_dict(kind: type[RecordT], data: dict[str, Any]) -> RecordT:
    """What `record_to_dict` wrote, also after a trip through JSON.

    Raises:
        TypeError: `data` is of another kind of record.
    """
    hints = get_type_hints(kind)
    return kind(**{name: _restored(hints.get(name), value) for name, value in data.items()})


def _restored(hint: Any, value: Any) -> Any:
    if value is None or not isinstance(value, list | tuple):
        return value
    if hint in (Tensor, Tensor | None):
        tensor = torch.tensor(value)
        return tensor.to(torch.float32) if tensor.is_floating_point() else tensor
    return tuple(_restored(None, item) for item in value)
