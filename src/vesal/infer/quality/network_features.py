"""Features of a scan and its result: of the networks while they predict, and all others beside them.

A `FeatureRecorder` takes the place of the networks' vote and records window by window, so that nothing as large as the
scan is kept: of each window its sums go into a few numbers. It costs one more pass, of a perturbed copy of each window,
and the encoders' pass of a few windows.

Shapes: windows (N, C, *patch), logits (N, K, *patch).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.infer.arrays.arrays import Array, Arrays, arrays_of
from vesal.infer.quality.mask_features import mask_features
from vesal.infer.quality.perturbation_noise import standard_normal
from vesal.infer.windows import Network, Windows
from vesal.volume.geometry import Geometry

#: One window (1, C, *patch) -> (2 F,) features of a network's encoder.
Encoder = Callable[[Array], NDArray[np.float64]]

#: Windows whose encoder features are taken: those with the most foreground; by spatial dimensions.
_ENCODED_WINDOWS = {2: 12, 3: 4}

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
    encoders: list[NDArray[np.float64]]


class FeatureRecorder:
    """Votes as the model does, and records features of its networks.

    Args:
        networks: that vote, each with what gives the features of its encoder; None where nothing does.
        labels: what they predict.
        windows: how the volume is cut.
        uncertainty: also give the uncertainty of each voxel, as one more channel behind the logits: the entropy of the
            mean probability over all networks and their perturbed copies, 0 to 1.
        temperature: by which logits are divided for that channel.
        reference_networks: that do not vote, and with which those that do are compared.
    """

    def __init__(
        self,
        networks: Sequence[tuple[Network, Encoder | None]],
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
        self._most: list[tuple[float, int, Array]] = []
        self._seen = 0

    @property
    def outputs(self) -> int:
        """Channels of what it gives."""
        return self._labels.outputs + self._uncertainty

    def __call__(self, batch: Array) -> Array:
        """The mean logits, and with `uncertainty` that channel behind them."""
        arrays = arrays_of(batch)
        return arrays.without_gradients(self._recorded)(arrays, batch)

    def _recorded(self, arrays: Arrays, batch: Array) -> Array:
        # Of mirrored copies of a window only the first, which is not mirrored, is recorded.
        records = self._calls % self._copies == 0
        self._calls += 1
        perturbed = _perturbed(batch, arrays) if records else batch
        total: Array = None
        mean: Array = None
        masks: list[Array] = []
        for number, (network, _) in enumerate(self._networks):
            logits = network(batch)
            if records:
                other = _move(network(perturbed), -_MOVED, arrays)
                masks.append(self._masks(logits, arrays))
                self._add_sums(number, logits, other, arrays)
                if self._uncertainty:
                    both = self._probabilities(logits / self._temperature, arrays)
                    both = both + self._probabilities(other / self._temperature, arrays)
                    mean = both if mean is None else mean + both
            total = logits if total is None else total + logits
        voted = total / len(self._networks) if len(self._networks) > 1 else total
        if records:
            masks += [self._masks(network(batch), arrays) for network in self._reference_networks]
            self._add_shared(masks, arrays)
            self._keep_windows(batch, voted, arrays)
        if not self._uncertainty:
            return voted
        if mean is None:
            # The mirrored copies that follow give zeros, and their mean is taken.
            return arrays.join([voted, arrays.zeros_like(voted[:, :1])])
        entropy = self._entropy(mean / (2 * len(self._networks)), arrays) * self._copies
        return arrays.join([voted, entropy[:, None]])

    def _probabilities(self, logits: Array, arrays: Arrays) -> Array:
        return arrays.sigmoid(logits) if self._labels.regions else arrays.softmax(logits)

    def _masks(self, logits: Array, arrays: Arrays) -> Array:
        """(N, classes, *patch) bool."""
        if self._labels.regions:
            return logits > 0
        winner = arrays.argmax(logits)
        return arrays.stack([winner == number for number in range(1, logits.shape[1])], 1)

    def _entropy(self, probability: Array, arrays: Arrays) -> Array:
        """(N, K, *patch) -> (N, *patch), 0 to 1: over the classes, or the largest of the regions' own."""
        safe = arrays.clip(probability, 1e-7, 1 - 1e-7)
        if self._labels.regions:
            own = -(safe * arrays.log(safe) + (1 - safe) * arrays.log(1 - safe))
            return arrays.largest(own) / float(np.log(2))
        total = arrays.sum(safe * arrays.log(safe), (1,))
        return arrays.clip(-total / float(np.log(probability.shape[1])), 0, 1)

    def _add_sums(self, number: int, logits: Array, perturbed: Array, arrays: Arrays) -> None:
        probability = self._probabilities(logits, arrays)
        entropy = self._entropy(probability, arrays)
        if not self._labels.regions:
            probability = probability[:, 1:]
        mask = arrays.floats(self._masks(logits, arrays))
        other = arrays.floats(self._masks(perturbed, arrays))
        space = (0, *range(2, mask.ndim))
        sums = [arrays.sum(of, space) for of in (probability, mask, probability * mask, other, mask * other)]
        self._sums[number, :-1] += arrays.numpy(arrays.stack(sums, 0)).astype(np.float64)
        self._sums[number, -1] += float(arrays.sum(entropy, tuple(range(entropy.ndim))))

    def _add_shared(self, masks: Sequence[Array], arrays: Arrays) -> None:
        if len(masks) < 2:
            return
        for one, first in enumerate(masks):
            for other, second in enumerate(masks[: one + 1]):
                shared = arrays.sum(first & second, (0, *range(2, first.ndim)))
                self._shared[one, other] += arrays.numpy(shared).astype(np.float64)
                self._shared[other, one] = self._shared[one, other]

    def agreement(self) -> NDArray[np.float64]:
        """(M, M, classes): Dice of the masks of each two networks, reference networks last; 1 where both are empty."""
        sizes = np.einsum("iic->ic", self._shared)
        return (2 * self._shared + _SMALL) / (sizes[:, None] + sizes[None] + _SMALL)

    def _keep_windows(self, batch: Array, voted: Array, arrays: Arrays) -> None:
        """The windows with the most foreground, for `encoder_features`."""
        found = self._masks(voted, arrays).any(1)
        amounts = found.reshape(len(batch), -1).sum(1).tolist()
        room = _ENCODED_WINDOWS[batch.ndim - 2]
        for amount, window in zip(amounts, batch, strict=True):
            self._seen += 1
            if len(self._most) < room or amount > self._most[-1][0]:
                self._most.append((amount, self._seen, arrays.copy(window)))
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

    def encoder_features(self) -> list[NDArray[np.float64]]:
        """For each network, mean and log of the spread of what enters the norms of its encoder, (2 F,).

        Instance norms remove just what differs between scans, so it is taken before them. Empty where nothing gives
        them.
        """
        found = []
        for _, encoder in self._networks:
            if encoder is None or not self._most:
                found.append(np.empty(0))
                continue
            windows = [encoder(window[None]) for *_, window in self._most]
            found.append(np.mean(windows, axis=0))
        return found


# --- a perturbed window ----------------------------------------------------------------------------------


def _perturbed(batch: Array, arrays: Arrays) -> Array:
    """Moved by a few voxels along each axis, the border repeated, with noise that is always the same."""
    moved = _move(batch, _MOVED, arrays)
    noise = arrays.beside(standard_normal(tuple(batch.shape[1:])), batch)
    spread = arrays.spread(batch.reshape(len(batch), -1)).reshape(-1, *[1] * (batch.ndim - 1))
    return moved + _NOISE * spread * noise


def _move(batch: Array, voxels: int, arrays: Arrays) -> Array:
    for axis in range(2, batch.ndim):
        size = batch.shape[axis]
        batch = arrays.take(batch, np.clip(np.arange(size) - voxels, 0, size - 1), axis)
    return batch
