"""Features of an encoder: of the network that predicts, and of the graph that does both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesal.infer.quality.encoder_features import WithEncoderFeatures, encoder_of
from vesal.nn.unet import UNet
from vesal.planning.plan import Stage


def network(features: int = 4, **options: object) -> UNet:
    torch.manual_seed(0)
    stages = [
        Stage(features=features * 2**i, kernel=(3, 3, 3), stride=(1 + (i > 0),) * 3, convolutions=2)
        for i in range(3)
    ]
    return UNet(stages, channels=1, outputs=2, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("encoder", ["plain", "residual"])
def test_they_are_mean_and_log_spread_of_what_enters_the_norms(encoder: str) -> None:
    net = network(encoder=encoder)
    window = torch.randn(1, 1, 16, 16, 16)
    encoded = encoder_of(net)
    assert encoded is not None
    found = encoded(window)
    assert len(found) == 2 * (4 + 8 + 16 + 16)
    if encoder == "plain":
        with torch.inference_mode():
            first = net.encoder[0][0].conv(window)[0].flatten(1)  # type: ignore[index, union-attr, operator]
        np.testing.assert_allclose(found[:4], first.mean(1), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found[4:8], (first.std(1) + 1e-6).log(), rtol=1e-4, atol=1e-6)


def test_of_wide_layers_48_channels_are_taken() -> None:
    encoded = encoder_of(network(24))
    assert encoded is not None
    assert len(encoded(torch.randn(1, 1, 8, 8, 8))) == 2 * (24 + 48 + 48 + 48)


def test_one_pass_gives_logits_and_features_of_each_window() -> None:
    net = network(24)
    windows = torch.randn(2, 1, 16, 16, 16)
    encoded = encoder_of(net)
    assert encoded is not None
    with torch.inference_mode():
        logits, features = WithEncoderFeatures(net)(windows)
        torch.testing.assert_close(logits, net(windows))
    for window, row in zip(windows, features, strict=True):
        np.testing.assert_allclose(row, encoded(window[None]), rtol=1e-3, atol=1e-4)


def test_other_networks_have_none() -> None:
    assert encoder_of(torch.nn.Conv3d(1, 2, 3)) is None
