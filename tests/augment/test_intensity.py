"""Each intensity transform against a computation by other means, and its bounds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.augment.intensity import (
    Blur,
    Brightness,
    Contrast,
    Dropout,
    Gamma,
    Intensity,
    LowResolution,
    Noise,
    Shift,
)


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


NOTHING: dict[str, Intensity] = {
    "noise": Noise(torch.zeros(2), torch.zeros(2, dtype=torch.int64)),
    "blur": Blur(torch.zeros(2, 2, 3)),
    "brightness": Brightness(torch.ones(2, 2)),
    "contrast": Contrast(torch.ones(2, 2)),
    "low resolution": LowResolution(torch.ones(2, 2), torch.ones(2, 3).bool()),
    "gamma": Gamma(torch.ones(2, 2)),
    "shift": Shift(torch.zeros(2, 2)),
    "dropout": Dropout(torch.ones(2, 1, 3, dtype=torch.int64), torch.ones(2, 1, 3, dtype=torch.int64)),
}


@pytest.mark.parametrize("name", NOTHING)
def test_identity_parameters_give_the_very_same_tensor(name: str) -> None:
    image = picture(2, 2, 5, 6, 7)
    assert NOTHING[name].apply(image) is image


CHANGES: dict[str, Intensity] = {
    "blur": Blur(torch.tensor([[[0.0, 0.0], [0.7, 0.9]], [[0.0, 0.0], [0.0, 0.0]]])),
    "brightness": Brightness(torch.tensor([[1.0, 1.2], [1.0, 1.0]])),
    "contrast": Contrast(torch.tensor([[1.0, 1.2], [1.0, 1.0]])),
    "low resolution": LowResolution(
        torch.tensor([[1.0, 0.6], [1.0, 1.0]]), torch.tensor([[True, True, False]] * 2)
    ),
    "gamma": Gamma(torch.tensor([[1.0, 1.2], [1.0, 1.0]])),
    "shift": Shift(torch.tensor([[0.0, 0.2], [0.0, 0.0]])),
}


@pytest.mark.parametrize("name", CHANGES)
def test_only_the_channels_that_are_named_change(name: str) -> None:
    image = picture(2, 2, 12, 10)
    out = CHANGES[name].apply(image)
    assert not torch.allclose(out[0, 1], image[0, 1])
    assert torch.equal(out[0, 0], image[0, 0])
    assert torch.equal(out[1], image[1])


def test_noise_has_its_share_of_each_channels_spread_and_comes_from_its_seed() -> None:
    image = torch.cat([picture(2, 1, 40, 40, 40), 300 + 50 * picture(2, 1, 40, 40, 40, seed=1)], dim=1)
    noise = Noise(torch.tensor([0.1, 0.0]), torch.tensor([7, 7]))
    out = noise.apply(image)
    added = out[0] - image[0]
    assert added[0].std().item() == pytest.approx(0.1, rel=0.02)
    assert added[1].std().item() == pytest.approx(5.0, rel=0.02)
    assert torch.equal(out[1], image[1])
    assert torch.equal(noise.apply(image), out)
    assert not torch.equal(Noise(noise.std, torch.tensor([8, 7])).apply(image), out)


def test_blur_agrees_with_scipy_inside_and_keeps_a_constant_at_the_border() -> None:
    image = picture(1, 1, 18, 20, 16)
    sigma = (0.6, 1.0, 0.8)
    out = Blur(torch.tensor(sigma).view(1, 1, 3)).apply(image)[0, 0].numpy()
    expected = scipy.ndimage.gaussian_filter(image[0, 0].numpy().astype(np.float64), sigma, truncate=6)
    inside = (slice(4, -4),) * 3
    assert np.abs(out - expected)[inside].max() < 2e-3
    flat = torch.full((1, 1, 9, 9, 9), 3.0)
    assert torch.allclose(Blur(torch.full((1, 1, 3), 1.0)).apply(flat), flat)


def test_low_resolution_is_nearest_down_and_linear_up() -> None:
    image = picture(1, 1, 20, 15, 12)
    out = LowResolution(torch.tensor([[0.6]]), torch.ones(1, 3).bool()).apply(image)
    small = F.interpolate(image, size=(12, 9, 7), mode="nearest-exact")
    expected = F.interpolate(small, size=(20, 15, 12), mode="trilinear", align_corners=False)
    assert torch.allclose(out, expected, atol=1e-5)


def test_low_resolution_leaves_thick_slices_apart() -> None:
    image = picture(1, 1, 20, 15, 6)
    image[..., 3] = 0
    out = LowResolution(torch.tensor([[0.5]]), torch.tensor([[True, True, False]])).apply(image)
    assert (out[..., 3] == 0).all()
    assert not torch.allclose(out[..., 2], image[..., 2])


def test_brightness_multiplies() -> None:
    image = picture(1, 2, 6, 6)
    out = Brightness(torch.tensor([[0.8, 1.25]])).apply(image)
    assert torch.allclose(out[0, 0], image[0, 0] * 0.8)
    assert torch.allclose(out[0, 1], image[0, 1] * 1.25)


def test_contrast_stretches_about_the_mean_within_the_range() -> None:
    image = picture(1, 1, 30, 30) + 5
    low, high = image.aminmax()
    less, more = (Contrast(torch.tensor([[factor]])).apply(image) for factor in (0.75, 1.25))
    assert less.std().item() == pytest.approx(0.75 * image.std().item(), rel=1e-4)
    assert less.mean().item() == pytest.approx(image.mean().item(), rel=1e-4)
    assert more.std() > image.std()
    assert more.min() == low
    assert more.max() == high


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("exponent", [0.7, 1.5])
def test_gamma_keeps_mean_and_spread_and_the_order_of_intensities(exponent: float, inverted: bool) -> None:
    image = picture(1, 1, 24, 24, 24) * 3 + 100
    out = Gamma(torch.tensor([[exponent]]), inverted).apply(image)
    assert out.mean().item() == pytest.approx(image.mean().item(), rel=1e-4)
    assert out.std().item() == pytest.approx(image.std().item(), rel=1e-3)
    order = image.flatten().argsort()
    assert (out.flatten()[order].diff() >= -1e-4).all()
    # A power law above 1 flattens the dark end, which the negative has at the bright one.
    skew = ((out - out.mean()) ** 3).mean() / out.std() ** 3
    assert (skew > 0) == ((exponent > 1) != inverted)


def test_gamma_agrees_with_its_formula() -> None:
    image = torch.rand(1, 1, 50, generator=torch.Generator().manual_seed(0)).view(1, 1, 5, 10)
    bent = ((image - image.min()) / (image.max() - image.min())) ** 1.4
    expected = (bent - bent.mean()) / bent.std() * image.std() + image.mean()
    assert torch.allclose(Gamma(torch.tensor([[1.4]])).apply(image), expected, atol=1e-5)


@pytest.mark.parametrize("name", CHANGES)
def test_a_constant_channel_stays_finite(name: str) -> None:
    out = CHANGES[name].apply(torch.full((2, 2, 6, 6), -4.0))
    assert out.isfinite().all()


def test_a_shift_adds_a_share_of_the_spread() -> None:
    image = 300 + 50 * picture(1, 1, 30, 30)
    out = Shift(torch.tensor([[-0.4]])).apply(image)
    assert torch.allclose(out, image - 0.4 * image.std(correction=0), atol=1e-3)


@pytest.mark.parametrize("fill", ["mean", "zero"])
def test_dropout_blanks_its_boxes_and_nothing_else(fill: str) -> None:
    image = picture(2, 2, 12, 10) + torch.tensor([4.0, -3.0]).view(1, 2, 1, 1)
    start = torch.tensor([[[2, 3], [8, 0]], [[0, 0], [5, 5]]])
    stop = torch.tensor([[[5, 9], [12, 2]], [[0, 0], [5, 5]]])
    out = Dropout(start, stop, fill).apply(image)
    blank = torch.zeros(12, 10, dtype=torch.bool)
    blank[2:5, 3:9] = True
    blank[8:12, 0:2] = True
    for channel in range(2):
        level = image[0, channel].mean() if fill == "mean" else torch.zeros(())
        assert torch.allclose(out[0, channel][blank], level)
        assert torch.equal(out[0, channel][~blank], image[0, channel][~blank])
    assert torch.equal(out[1], image[1])
