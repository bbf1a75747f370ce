"""From the CPU, where chance is drawn, to the device that computes."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; the CPU does not wait for a GPU to be done with what came before.

    The same tensor where it is there already. Unpinned memory is read before this returns, so it may be freed;
    pinned memory must not be written to until the copy is through.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")
