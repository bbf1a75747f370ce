"""The artefacts against TorchIO's transforms, where it has the same one: another hand wrote the same physics.

TorchIO shows the real part of the transform back, a scanner (and Vesal) its magnitude: where the picture stays
positive they are the same. It moves patients along the last axis of k-space and centres rotations half a voxel
elsewhere, so movements are compared by their translations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vesal.augment.artifacts.bias_field import BiasField
from vesal.augment.artifacts.contrast import LogGamma
from vesal.augment.artifacts.kspace import Ghosting, Spikes
from vesal.augment.artifacts.motion import Motion
from vesal.augment.artifacts.noise import ScannerNoise
from vesal.augment.artifacts.signal import usual_range
from vesal.augment.intensity import Blur, LowResolution

torchio: Any = pytest.importorskip("torchio", reason="TorchIO is not installed (pip install torchio)")

SHAPE = (32, 40, 24)
ONE = torch.ones(1, 1)


def body() -> Tensor:
    """(1, *S): tissue from 0.3 to 1 within air of 0."""
    image = torch.zeros(1, *SHAPE)
    image[:, 6:26, 8:32, 5:19] = 0.3 + 0.7 * torch.rand(
        20, 24, 14, generator=torch.Generator().manual_seed(0)
    )
    image[:, 10:14, 12:20, 8:12] = 1.0
    return image


def of_torchio(transform: Any, image: Tensor) -> Tensor:
    out: Tensor = transform(torchio.ScalarImage(tensor=image)).data
    return out


def ours(record: Any, image: Tensor) -> Tensor:
    out: Tensor = record.apply(image[None])[0]
    return out


def correlation(one: Tensor, other: Tensor) -> float:
    return float(np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1])


def test_blur_is_the_same() -> None:
    image = body()
    theirs = of_torchio(torchio.transforms.augmentation.intensity.random_blur.Blur((1.5, 1.0, 0.7)), image)
    out = ours(Blur(torch.tensor([[[1.5, 1.0, 0.7]]])), image)
    assert torch.allclose(out, theirs, atol=2e-3)


def test_gamma_is_the_same() -> None:
    image = body()
    theirs = of_torchio(torchio.transforms.augmentation.intensity.random_gamma.Gamma(1.6), image)
    assert torch.allclose(ours(LogGamma(torch.tensor([[1.6]]).log()), image), theirs, atol=1e-5)


def test_noise_is_as_strong() -> None:
    image = body()
    noise = torchio.transforms.augmentation.intensity.random_noise.Noise(mean=0.0, std=0.07, seed=3)
    theirs = (of_torchio(noise, image) - image).std()
    low, high = usual_range(image[0])
    record = ScannerNoise(0.07 * ONE / (high - low), torch.tensor([5]), rician=False)
    assert (ours(record, image) - image).std() == pytest.approx(float(theirs), rel=0.03)


def test_a_bias_field_is_the_same_polynomial() -> None:
    image = body() + 0.1
    coefficients = torch.zeros(1, 1, 4, 4, 4)
    listed = []
    generator = torch.Generator().manual_seed(1)
    for x in range(4):
        for y in range(4 - x):
            for z in range(4 - x - y):
                listed.append(float(torch.rand((), generator=generator) - 0.5))
                coefficients[0, 0, x, y, z] = listed[-1]
    field = torchio.transforms.augmentation.intensity.random_bias_field.BiasField(listed, order=3)
    theirs = (of_torchio(field, image) / image).log().flatten()
    inside = BiasField(0.4 * ONE, coefficients).factor(SHAPE, 0, 0).log().flatten()
    # Ours is centred and as strong as asked: the same field but for an offset and a factor.
    slope = (inside.max() - inside.min()) / (theirs.max() - theirs.min())
    offset = inside.mean() - slope * theirs.mean()
    assert torch.allclose(theirs * slope + offset, inside, atol=1e-4)


def test_spikes_make_the_same_stripes() -> None:
    image = body() + 0.5
    image[0, 0, 0, 0] = 0.0  # The scale's zero.
    cycles = np.array([5, -7, 3])
    places = np.array(
        [(n // 2 + sign * c + 0.5) / n for sign in (1, -1) for c, n in zip(cycles, SHAPE, strict=True)]
    )
    spike = torchio.transforms.augmentation.intensity.random_spike.Spike(places.reshape(2, 3), 0.1)
    theirs = of_torchio(spike, image)
    frequency = torch.tensor([[(cycles / SHAPE).tolist(), (-cycles / SHAPE).tolist()]])
    record = Spikes((0, 1, 2), frequency, torch.zeros(1, 2), torch.full((1, 1, 2), 0.1))
    out = ours(record, image)
    positive = theirs > 0
    assert positive.float().mean() > 0.99
    assert torch.allclose(out[positive], theirs[positive], atol=1e-3)
    assert (out - image).abs().max() > 0.1


@pytest.mark.parametrize("moment", [0.6, 0.7, 0.8])
def test_motion_takes_the_same_lines_from_the_same_pose(moment: float) -> None:
    image = body()
    moved = torchio.transforms.augmentation.intensity.random_motion.Motion(
        degrees=np.zeros((1, 3)),
        translation=np.array([[3.0, -2.0, 4.0]]),
        times=np.array([moment]),
        image_interpolation="linear",
    )
    theirs = of_torchio(moved, image) - image
    lines = int(moment * SHAPE[2])
    record = Motion(
        axes=(0, 1, 2),
        spacing_mm=(1.0, 1.0, 1.0),
        angles=torch.zeros(1, 1, 3),
        # SimpleITK fetches from where a point goes, along left and posterior.
        shift=torch.tensor([[[3.0, -2.0, -4.0]]]),
        moments=torch.tensor([[lines / SHAPE[2]]]),
        phase=torch.tensor([2]),
        channels=torch.ones(1, 1, dtype=torch.bool),
    )
    out = ours(record, image) - image
    inside = image > 0.25
    assert correlation(out[inside], theirs[inside]) > 0.97
    assert out[inside].abs().mean() == pytest.approx(float(theirs[inside].abs().mean()), rel=0.1)


def test_ghosts_lie_where_torchios_lie() -> None:
    image = torch.zeros(1, 32, 48, 8)
    image[:, 14:18, 22:26, 2:6] = 1.0
    ghosts = torchio.transforms.augmentation.intensity.random_ghosting.Ghosting(
        num_ghosts=4, axis=1, intensity=0.5, restore=None
    )
    theirs = (of_torchio(ghosts, image) - image).abs()[0, 16, :, 4]
    record = Ghosting(0.5 * ONE, torch.tensor([4]), torch.tensor([0.0]), torch.tensor([1]))
    out = (ours(record, image) - image).abs()[0, 16, :, 4]
    far = torch.ones(48, dtype=torch.bool)
    far[18:30] = False
    for ghost in (out, theirs):
        places = set((ghost * far > 0.3 * (ghost * far).max()).nonzero().flatten().tolist())
        assert {10, 11, 12, 13, 34, 35, 36, 37} <= places, "a quarter of the side away, either way"


def test_larger_voxels_look_the_same() -> None:
    image = body()
    smooth = ours(Blur(torch.full((1, 1, 3), 1.0)), image)
    coarse = torchio.RandomAnisotropy(axes=(2,), downsampling=(2.0, 2.0))
    theirs = of_torchio(coarse, smooth)
    out = ours(LowResolution(0.5 * ONE, torch.tensor([[False, False, True]])), smooth)
    assert correlation(out, theirs) > 0.98
    assert (out - smooth).abs().mean() == pytest.approx(float((theirs - smooth).abs().mean()), rel=0.5)
