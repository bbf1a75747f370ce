"""What networks show of their own doubt while they predict: how soft, how steady, how unlike the usual inside.

A `Watch` takes the place of the networks' vote and looks on window by window, so that nothing of a large scan is
kept: of each window its sums go into a few numbers. What it costs is one more pass, of a copy of each window that
is a little changed, and the encoders' pass of a few windows.

Shapes: windows (N, C, *patch), logits (N, K, *patch).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vesal.data.labels import LabelSet
from vesal.infer.windows import Network, Windows
from vesal.nn.cpu.instance_norm import channels_last
from vesal.nn.unet import UNet

#: Windows whose inner pictures are looked at: those with the most foreground.
_LOOKED_INTO = {2: 12, 3: 4}

#: Channels of one layer that are looked at, evenly chosen.
_CHANNELS = 48

#: The changed copy: voxels it is moved along each axis, and noise added to it, in standard deviations of the window.
_MOVED, _NOISE = 2, 0.2

_SMALL = 1e-6


@dataclass
class _Sums:
    """Of one network, over the windows: one number a class."""

    classes: int
    sure: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        #: probability, mask, probability in mask, changed mask, mask and changed mask, and entropy of the window
        self.sure = np.zeros((6, self.classes))

    def add(self, values: Tensor) -> None:
        self.sure += values.double().cpu().numpy()


class Watch:
    """Votes as the model does, and keeps what its networks showed.

    Args:
        networks: that vote, with the torch modules behind them (None where there is none).
        labels: what they predict.
        windows: how the volume is cut.
        doubt: also give the doubt of each voxel, as one more channel behind the logits: the entropy of the mean
            probability over all networks and their changed copies, 0 to 1.
        temperature: by which logits are divided for that channel.
        witnesses: networks that do not vote, and with which those that do are compared.
    """

    def __init__(
        self,
        networks: Sequence[tuple[Network, nn.Module | None]],
        labels: LabelSet,
        windows: Windows,
        *,
        doubt: bool = False,
        temperature: float = 1.0,
        witnesses: Sequence[Network] = (),
    ) -> None:
        self._witnesses = witnesses
        count = len(networks) + len(witnesses)
        # Masks that two networks share, and on the diagonal those of each, by class.
        self._shared = np.zeros((count, count, len(labels.classes)))
        self._networks, self._labels, self._doubt, self._temperature = networks, labels, doubt, temperature
        self._copies = 2 ** len(windows.mirror_axes)
        self._calls = 0
        self._sums = [_Sums(len(labels.classes)) for _ in networks]
        self._most: list[tuple[float, int, Tensor]] = []
        self._seen = 0

    @property
    def outputs(self) -> int:
        """Channels of what it gives."""
        return self._labels.outputs + self._doubt

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Tensor:
        """The mean logits, and where asked for the doubt behind them."""
        # Of mirrored copies of a window the first, which is not mirrored, is looked at.
        looks = self._calls % self._copies == 0
        self._calls += 1
        changed = _changed(batch) if looks else batch
        total, mean = None, None
        masks: list[Tensor] = []
        for (network, _), sums in zip(self._networks, self._sums, strict=True):
            logits = network(batch)
            if looks:
                other = _back(network(changed))
                masks.append(self._masks(logits))
                self._count(sums, logits, other)
                if self._doubt:
                    both = self._probabilities(logits / self._temperature)
                    both = both + self._probabilities(other / self._temperature)
                    mean = both if mean is None else mean + both
            total = logits if total is None else total + logits
        assert total is not None
        voted = total / len(self._networks) if len(self._networks) > 1 else total
        if looks:
            masks += [self._masks(witness(batch)) for witness in self._witnesses]
            self._compare(masks)
            self._keep(batch, voted)
        if not self._doubt:
            return voted
        if mean is None:
            return torch.cat([voted, torch.zeros_like(voted[:, :1])], dim=1)
        # The mirrored copies that follow give zeros, and their mean is taken.
        doubt = _entropy(mean / (2 * len(self._networks)), regions=bool(self._labels.regions)) * self._copies
        return torch.cat([voted, doubt[:, None]], dim=1)

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.float().sigmoid() if self._labels.regions else logits.float().softmax(dim=1)

    def _masks(self, logits: Tensor) -> Tensor:
        """(N, classes, *patch) bool."""
        if self._labels.regions:
            return logits > 0
        winner = logits.argmax(dim=1)
        return torch.stack([winner == number for number in range(1, logits.shape[1])], dim=1)

    def _count(self, sums: _Sums, logits: Tensor, other: Tensor) -> None:
        probability = self._probabilities(logits)
        entropy = _entropy(probability, regions=bool(self._labels.regions))
        if not self._labels.regions:
            probability = probability[:, 1:]
        mask, moved = self._masks(logits).float(), self._masks(other).float()

        def total(values: Tensor) -> Tensor:
            return values.sum(dim=(0, *range(2, values.ndim)))

        everywhere = total(entropy[:, None]).expand(mask.shape[1])
        sums.add(
            torch.stack(
                [
                    total(probability),
                    total(mask),
                    total(probability * mask),
                    total(moved),
                    total(mask * moved),
                    everywhere,
                ]
            )
        )

    def _compare(self, masks: Sequence[Tensor]) -> None:
        if len(masks) < 2:
            return
        for one, first in enumerate(masks):
            for other, second in enumerate(masks[: one + 1]):
                shared = (first & second).sum(dim=(0, *range(2, first.ndim)))
                self._shared[one, other] += shared.double().cpu().numpy()
                self._shared[other, one] = self._shared[one, other]

    def agreement(self) -> NDArray[np.float64]:
        """(M, M, classes): the Dice of the masks of each two of the networks and witnesses; 1 where both are empty."""
        sizes = np.einsum("iic->ic", self._shared)
        return (2 * self._shared + _SMALL) / (sizes[:, None] + sizes[None] + _SMALL)

    def _keep(self, batch: Tensor, voted: Tensor) -> None:
        """The windows with the most foreground, for `insides`."""
        amounts = self._masks(voted).any(dim=1).flatten(1).sum(dim=1).tolist()
        room = _LOOKED_INTO[batch.ndim - 2]
        for amount, window in zip(amounts, batch, strict=True):
            self._seen += 1
            if len(self._most) < room or amount > self._most[-1][0]:
                self._most.append((amount, self._seen, window.clone()))
                self._most.sort(key=lambda entry: (-entry[0], entry[1]))
                del self._most[room:]

    def signals(self) -> list[dict[str, float]]:
        """For each network, numbers by name, for each class:

        - soft: the Dice that the probabilities promise, 2 sum(p m) / (sum p + sum m), m the mask of the class;
        - steady: the Dice of the masks of a window and of its changed copy; 1 where both are empty;
        - inside, outside: mean probability in the mask; probability outside of it, over the mask's size;
        - agree: the mean Dice of its mask with those of the other networks, where there are any;
        - entropy: of the whole scan, over the size of all masks.
        """
        found = []
        agreement = self.agreement()
        for place, sums in enumerate(self._sums):
            soft, size, joint, moved, agreed, entropy = sums.sure
            values: dict[str, float] = {}
            for number, name in enumerate(self._labels.classes):
                both, promised = size[number] + moved[number], soft[number] + size[number]
                values[f"{name} soft"] = (2 * joint[number] + _SMALL) / (promised + _SMALL)
                values[f"{name} steady"] = (2 * agreed[number] + _SMALL) / (both + _SMALL)
                values[f"{name} inside"] = joint[number] / max(size[number], 1.0)
                values[f"{name} outside"] = np.log1p(
                    max(soft[number] - joint[number], 0) / max(size[number], 1.0)
                )
                if len(agreement) > 1:
                    values[f"{name} agree"] = np.delete(agreement[place, :, number], place).mean()
            values["entropy"] = np.log1p(entropy[0] / max(size.sum(), 1.0)) if len(entropy) else 0.0
            found.append({name: float(value) for name, value in values.items()})
        return found

    @torch.inference_mode()
    def insides(self) -> list[NDArray[np.float64]]:
        """For each network, mean and log of the spread of what enters the norms of its encoder, (2 F,).

        Instance norms take away just what differs between scans, so it is read before them. Empty where the
        network is not one of `vesal.nn.unet`.
        """
        found = []
        for _, module in self._networks:
            if not isinstance(module, UNet) or not self._most:
                found.append(np.empty(0))
                continue
            windows = [_encoded(module, window[None]) for *_, window in self._most]
            found.append(np.mean(windows, axis=0))
        return found


# --- a window, a little changed --------------------------------------------------------------------------


def _changed(batch: Tensor) -> Tensor:
    """Moved by a few voxels along each axis, the border repeated, with noise that is always the same."""
    moved = _move(batch, _MOVED)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch.shape[1:], generator=generator).to(batch.device)
    spread = batch.flatten(1).std(dim=1).reshape(-1, *[1] * (batch.ndim - 1))
    return moved + _NOISE * spread * noise


def _back(logits: Tensor) -> Tensor:
    return _move(logits, -_MOVED)


def _move(batch: Tensor, voxels: int) -> Tensor:
    for axis in range(2, batch.ndim):
        size = batch.shape[axis]
        places = (torch.arange(size, device=batch.device) - voxels).clamp(0, size - 1)
        batch = batch.index_select(axis, places)
    return batch


def _entropy(probability: Tensor, *, regions: bool) -> Tensor:
    """(N, K, *patch) -> (N, *patch), 0 to 1: over the classes, or the largest of the regions' own."""
    safe = probability.clamp(1e-7, 1 - 1e-7)
    if regions:
        own = -(safe * safe.log() + (1 - safe) * (1 - safe).log())
        return own.amax(dim=1) / float(np.log(2))
    return (-(safe * safe.log()).sum(dim=1) / float(np.log(probability.shape[1]))).clamp(0, 1)


# --- the inside of an encoder ------------------------------------------------------------------------------


def _encoded(network: UNet, window: Tensor) -> NDArray[np.float64]:
    """Of one window (1, C, *patch): mean and log spread of the first convolution of each stage and of the last."""
    read: list[list[float]] = []
    stages = [list(stage.children()) for stage in network.encoder]
    with _listening([stage[0] for stage in stages] + [stages[-1][-1]], read):
        x = network.stem(channels_last(window))
        for pool, stage in zip(network.pools, network.encoder, strict=True):
            x = stage(pool(x))
    return np.concatenate([np.asarray(row, dtype=np.float64) for row in read])


@contextmanager
def _listening(blocks: Sequence[nn.Module], read: list[list[float]]) -> Iterator[None]:
    """Note what the first convolution of each block gives, as long as the block lasts and from this thread."""
    here = threading.get_ident()

    def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if threading.get_ident() != here:
            return
        channels = output[0].float().flatten(1)
        chosen = torch.linspace(0, len(channels) - 1, min(_CHANNELS, len(channels))).round().long()
        channels = channels[chosen.to(channels.device)]
        read.append([*channels.mean(dim=1).tolist(), *(channels.std(dim=1) + _SMALL).log().tolist()])

    handles = []
    try:
        for block in dict.fromkeys(blocks):
            first = next(module for module in block.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
            handles.append(first.register_forward_hook(note))
        yield
    finally:
        for handle in handles:
            handle.remove()
