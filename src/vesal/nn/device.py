"""Which device computes."""

from __future__ import annotations

import torch

from vesal.errors import UsageError


def resolve_device(name: str = "auto") -> torch.device:
    """The device of that name; 'auto' takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UsageError: the name is not a device, or this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"'{name}' is not a device; choose auto, cpu, cuda, cuda:N or mps.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("No CUDA GPU is usable on this machine; choose --device cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("Apple's MPS is not usable on this machine; choose --device cpu.")
    return device
