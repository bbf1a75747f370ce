"""Images of any size through a network that takes multiples of its strides: zero padding, and cropped logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.errors import UsageError

Logits = Tensor | list[Tensor]


@dataclass(frozen=True)
class Sizes:
    """Which spatial sizes a network takes as they are.

    Attributes:
        strides: in all, along each axis; sizes are multiples of them.
        norm: its name; some norms need more than one voxel at the lowest resolution.
        features: channels there.
    """

    strides: tuple[int, ...]
    norm: str
    features: int

    def run(self, network: Callable[[Tensor], Logits], x: Tensor, *, training: bool, heads: int) -> Logits:
        """`network(x)`, padded with zeros behind each axis where the size does not fit, and cut back.

        Zeros are also what stands around an image that is smaller than its window. A traced or compiled graph
        has no padding in it and takes the sizes that fit.

        Args:
            network: the forward pass, of (N, C, *spatial) that fits.
            x: (N, C, *spatial) of any size.
            training: whether it trains; the patch has then to be one that its norms can normalise.
            heads: how many it has; several logits in training cannot be cut to one size.

        Raises:
            UsageError: another number of axes, an empty one, or while training a size that cannot be used.
        """
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            return network(x)
        size = tuple(x.shape[2:])
        if len(size) != len(self.strides):
            raise UsageError(
                f"This network takes (N, C, {len(self.strides)} axes); it was given {tuple(x.shape)}."
            )
        if min(size) < 1:
            raise UsageError(f"An image of size {size} has no voxel; give it at least one along each axis.")
        wanted = [-(-length // step) * step for length, step in zip(size, self.strides, strict=True)]
        if training and heads > 1 and tuple(wanted) != size:
            raise UsageError(
                f"Patch {size} is not a multiple of the network's strides {self.strides}; pad it."
            )
        if tuple(wanted) == self.strides and self._needs_two_voxels(len(x), training):
            if training:
                raise UsageError(
                    f"Patch {size} shrinks to a single voxel, which {self.norm} norm cannot normalise; "
                    "choose a larger patch or fewer stages."
                )
            wanted[0] *= 2
        if tuple(wanted) == size:
            return network(x)
        missing = [want - length for want, length in zip(wanted, size, strict=True)]
        logits = network(F.pad(x, [n for axis in reversed(missing) for n in (0, axis)]))
        assert isinstance(logits, Tensor)
        for axis, length in enumerate(size, start=2):
            logits = logits.narrow(axis, 0, length)
        return logits

    def _needs_two_voxels(self, samples: int, training: bool) -> bool:
        """Whether statistics would be taken over one number."""
        if self.norm == "batch":  # while predicting it takes none
            return training and samples == 1
        if self.norm == "group":  # torch counts the samples in
            return samples == 1 and 8 % self.features == 0
        return self.norm == "instance"
