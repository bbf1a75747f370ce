"""Features of a scan and its result: of the networks while they predict, and all others beside them.

A `FeatureRecorder` takes the place of the networks' vote and records window by window, so that nothing as large as the
scan is kept: of each window its sums go into a few numbers. It costs one more pass, of a perturbed copy of each window,
and the encoders' pass of a few windows.

Shapes: windows (N, C, *patch), logits (N, K, *patch).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vesal.data.labels import LabelSet
from vesal.infer.quality.mask_features import mask_features
from vesal.infer.quality.stored import Array
from vesal.infer.windows import Network, Windows
from vesal.nn.cpu.instance_norm import channels_last
from vesal.nn.unet import UNet
from vesal.volume.geometry import Geometry

#: Windows whose encoder features are taken: those with the most foreground; by spatial dimensions.
_ENCODED_WINDOWS = {2: 12, 3: 4}

#: Channels of one layer that are taken, evenly chosen.
_CHANNELS = 48

#: The perturbed copy: voxels it is moved along each axis, and noise added to it, in standard deviations of the window.
_MOVED, _NOISE = 2, 0.2

_SMALL = 1e-6


@dataclass(frozen=True, eq=False)
class Features:
    """All numbers of one scan and its result that its quality is estimated from.

    Attributes:
        groups: name of `vesal.infer.quality.quality_model.GROUPS` but the encoder's -> numbers by name.
        networks: for each network that voted, its numbers by name (`FeatureRecorder.network_features`).
        encoders: for each network, (2 F,) features of its encoder (`FeatureRecorder.encoder_features`).
    """

    groups: dict[str, dict[str, float]]
    networks: list[dict[str, float]]
    encoders: list[Array]


class FeatureRecorder:
    """Votes as the model does, and records features of its networks.

    Args:
        networks: that vote, with what is behind each: torch's module, or the network itself.
        labels: what they predict.
        windows: how the volume is cut.
        uncertainty: also give the uncertainty of each voxel, as one more channel behind the logits: the entropy of the
            mean probability over all networks and their perturbed copies, 0 to 1.
        temperature: by which logits are divided for that channel.
        reference_networks: that do not vote, and with which those that do are compared.
    """

    def __init__(
        self,
        networks: Sequence[tuple[Network, Any]],
        labels: LabelSet,
        windows: Windows,
        *,
        uncertainty: bool = False,
        temperature: float = 1.0,
        reference_networks: Sequence[Network] = (),
    ) -> None:
        self._networks, self._reference_networks = networks, reference_networks
        self._labels, self._uncertainty, self._temperature = labels, uncertainty, temperature
        self._copies = 2 ** len(windows.mirror_axes)
        self._calls = 0
        classes, count = len(labels.classes), len(networks) + len(reference_networks)
        # Of each network: probability, mask, probability in mask, mask of the perturbed copy, what both masks share,
        # and entropy of the window; by class.
        self._sums = np.zeros((len(networks), 6, classes))
        # What the masks of two networks share, and on the diagonal those of each; by class.
        self._shared = np.zeros((count, count, classes))
        self._most: list[tuple[float, int, Tensor]] = []
        self._seen = 0

    @property
    def outputs(self) -> int:
        """Channels of what it gives."""
        return self._labels.outputs + self._uncertainty

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Tensor:
        """The mean logits, and with `uncertainty` that channel behind them."""
        # Of mirrored copies of a window only the first, which is not mirrored, is recorded.
        records = self._calls % self._copies == 0
        self._calls += 1
        perturbed = _perturbed(batch) if records else batch
        total, mean = None, None
        masks: list[Tensor] = []
        for number, (network, _) in enumerate(self._networks):
            logits = network(batch)
            if records:
                other = _move(network(perturbed), -_MOVED)
                masks.append(self._masks(logits))
                self._add_sums(number, logits, other)
                if self._uncertainty:
                    both = self._probabilities(logits / self._temperature)
                    both = both + self._probabilities(other / self._temperature)
                    mean = both if mean is None else mean + both
            total = logits if total is None else total + logits
        assert total is not None
        voted = total / len(self._networks) if len(self._networks) > 1 else total
        if records:
            masks += [self._masks(network(batch)) for network in self._reference_networks]
            self._add_shared(masks)
            self._keep_windows(batch, voted)
        if not self._uncertainty:
            return voted
        if mean is None:
            return torch.cat([voted, torch.zeros_like(voted[:, :1])], dim=1)
        # The mirrored copies that follow give zeros, and their mean is taken.
        entropy = (
            _entropy(mean / (2 * len(self._networks)), regions=bool(self._labels.regions)) * self._copies
        )
        return torch.cat([voted, entropy[:, None]], dim=1)

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.float().sigmoid() if self._labels.regions else logits.float().softmax(dim=1)

    def _masks(self, logits: Tensor) -> Tensor:
        """(N, classes, *patch) bool."""
        if self._labels.regions:
            return logits > 0
        winner = logits.argmax(dim=1)
        return torch.stack([winner == number for number in range(1, logits.shape[1])], dim=1)

    def _add_sums(self, number: int, logits: Tensor, perturbed: Tensor) -> None:
        probability = self._probabilities(logits)
        entropy = _entropy(probability, regions=bool(self._labels.regions))
        if not self._labels.regions:
            probability = probability[:, 1:]
        mask, other = self._masks(logits).float(), self._masks(perturbed).float()

        def total(values: Tensor) -> Tensor:
            return values.sum(dim=(0, *range(2, values.ndim)))

        everywhere = total(entropy[:, None]).expand(mask.shape[1])
        sums = [total(of) for of in (probability, mask, probability * mask, other, mask * other)]
        self._sums[number] += torch.stack([*sums, everywhere]).double().cpu().numpy()

    def _add_shared(self, masks: Sequence[Tensor]) -> None:
        if len(masks) < 2:
            return
        for one, first in enumerate(masks):
            for other, second in enumerate(masks[: one + 1]):
                shared = (first & second).sum(dim=(0, *range(2, first.ndim)))
                self._shared[one, other] += shared.double().cpu().numpy()
                self._shared[other, one] = self._shared[one, other]

    def agreement(self) -> Array:
        """(M, M, classes): Dice of the masks of each two networks, reference networks last; 1 where both are empty."""
        sizes = np.einsum("iic->ic", self._shared)
        return (2 * self._shared + _SMALL) / (sizes[:, None] + sizes[None] + _SMALL)

    def _keep_windows(self, batch: Tensor, voted: Tensor) -> None:
        """The windows with the most foreground, for `encoder_features`."""
        amounts = self._masks(voted).any(dim=1).flatten(1).sum(dim=1).tolist()
        room = _ENCODED_WINDOWS[batch.ndim - 2]
        for amount, window in zip(amounts, batch, strict=True):
            self._seen += 1
            if len(self._most) < room or amount > self._most[-1][0]:
                self._most.append((amount, self._seen, window.clone()))
                self._most.sort(key=lambda entry: (-entry[0], entry[1]))
                del self._most[room:]

    def features(
        self, image: dict[str, dict[str, float]], contiguous: NDArray[np.uint8], grid: Geometry
    ) -> Features:
        """Of the scan that was recorded, with its `image_features` and its final label map (*S) on its own grid."""
        groups = {**image, "shape": mask_features(contiguous, grid, self._labels)}
        return Features(groups, self.network_features(), self.encoder_features())

    def network_features(self) -> list[dict[str, float]]:
        """For each network, numbers by name, for each class:

        - expected_dice: of the probabilities, 2 sum(p m) / (sum p + sum m), m the mask of the class;
        - perturbation_consistency: Dice of the masks of the windows and of their perturbed copies; 1 where both are
          empty;
        - inside, outside: mean probability in the mask; probability outside of it, over the mask's size;
        - ensemble_agreement: the mean Dice of its mask with those of the other networks, where there are any;
        - entropy: of the whole scan, over the size of all masks.
        """
        found = []
        agreement = self.agreement()
        for place, sums in enumerate(self._sums):
            probability, size, joint, perturbed, shared, entropy = sums
            values: dict[str, float] = {}
            for number, name in enumerate(self._labels.classes):
                both, expected = size[number] + perturbed[number], probability[number] + size[number]
                least = max(size[number], 1.0)
                values[f"{name} expected_dice"] = (2 * joint[number] + _SMALL) / (expected + _SMALL)
                values[f"{name} perturbation_consistency"] = (2 * shared[number] + _SMALL) / (both + _SMALL)
                values[f"{name} inside"] = joint[number] / least
                values[f"{name} outside"] = np.log1p(max(probability[number] - joint[number], 0) / least)
                if len(agreement) > 1:
                    others = np.delete(agreement[place, :, number], place)
                    values[f"{name} ensemble_agreement"] = others.mean()
            values["entropy"] = np.log1p(entropy[0] / max(size.sum(), 1.0)) if len(entropy) else 0.0
            found.append({name: float(value) for name, value in values.items()})
        return found

    @torch.inference_mode()
    def encoder_features(self) -> list[Array]:
        """For each network, mean and log of the spread of what enters the norms of its encoder, (2 F,).

        Instance norms remove just what differs between scans, so it is taken before them. Empty where the network is
        not one of `vesal.nn.unet`.
        """
        found = []
        for _, module in self._networks:
            if not isinstance(module, UNet) or not self._most:
                found.append(np.empty(0))
                continue
            windows = [_encoded(module, window[None]) for *_, window in self._most]
            found.append(np.mean(windows, axis=0))
        return found


# --- a perturbed window ----------------------------------------------------------------------------------


def _perturbed(batch: Tensor) -> Tensor:
    """Moved by a few voxels along each axis, the border repeated, with noise that is always the same."""
    moved = _move(batch, _MOVED)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch.shape[1:], generator=generator).to(batch.device)
    spread = batch.flatten(1).std(dim=1).reshape(-1, *[1] * (batch.ndim - 1))
    return moved + _NOISE * spread * noise


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


# --- features of an encoder ------------------------------------------------------------------------------


def _encoded(network: UNet, window: Tensor) -> Array:
    """Of one window (1, C, *patch): mean and log spread of the first convolution of each stage and of the last."""
    rows: list[list[float]] = []
    stages = [list(stage.children()) for stage in network.encoder]
    with _recording([stage[0] for stage in stages] + [stages[-1][-1]], rows):
        x = network.stem(channels_last(window))
        for pool, stage in zip(network.pools, network.encoder, strict=True):
            x = stage(pool(x))
    return np.concatenate([np.asarray(row, dtype=np.float64) for row in rows])


@contextmanager
def _recording(blocks: Sequence[nn.Module], rows: list[list[float]]) -> Iterator[None]:
    """Record what the first convolution of each block gives to this thread, as long as the context lasts."""
    here = threading.get_ident()

    def record(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if threading.get_ident() != here:
            return
        channels = output[0].float().flatten(1)
        chosen = torch.linspace(0, len(channels) - 1, min(_CHANNELS, len(channels))).round().long()
        channels = channels[chosen.to(channels.device)]
        rows.append([*channels.mean(dim=1).tolist(), *(channels.std(dim=1) + _SMALL).log().tolist()])

    handles = []
    try:
        for block in dict.fromkeys(blocks):
            first = next(module for module in block.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
            handles.append(first.register_forward_hook(record))
        yield
    finally:
        for handle in handles:
            handle.remove()
