"""Our U-Nets: names of weights, checkpointing, gates, norms, starts, refusals."""

from __future__ import annotations

import pytest
import torch
from small_networks import OURS, PLANS, halving, some_loss, unsettle

from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.nn.blocks import Bricks
from vesal.nn.unet import UNet
from vesal.nn.zoo import build_network, count_trainable
from vesal.planning.cost import network_of
from vesal.planning.plan import Normalisation, Stage


@pytest.mark.parametrize("name", OURS)
def test_names_of_weights_stay(name: str) -> None:
    keys = set(build_network(name, PLANS["2d"]).state_dict())
    stem = "encoder.0.0.first." if name == "residual-unet" else "encoder.0.0."
    assert {"heads.0.bias", "ups.1.weight", "decoder.1.1.norm.bias", f"{stem}conv.weight"} <= keys
    assert ("gates.0.score.bias" in keys) == (name == "attention-unet")


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("key", ["2d", "3d"])
def test_recomputed_activations_give_the_same_gradients_and_statistics(
    name: str, norm: str, key: str
) -> None:
    plan = PLANS[key].model_copy(update={"norm": norm, "pooling": norm == "batch"})
    torch.manual_seed(0)
    plain = build_network(name, plan)
    unsettle(plain)
    saving = build_network(name, plan, checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 2, *plan.patch)
    kept = []
    for network in (plain, saving):
        counted: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, c=counted: c.append(t.numel()) or t, lambda t: t
        ):
            loss = some_loss(network(x))
        kept.append(sum(counted))
        loss.backward()
    assert kept[1] < 0.6 * kept[0]
    for (key, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=key)
    for (key, one), other in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(one, other), key
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(x), saving.eval()(x))


def test_a_network_without_checkpointing_says_so_and_names_those_with() -> None:
    with pytest.raises(
        UsageError, match=r"monai-unet has no gradient checkpointing; .* one of: attention-unet, res"
    ):
        build_network("monai-unet", PLANS["2d"], checkpointing=True)


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(UsageError, match="choose one of: attention-unet, monai-attention-unet"):
        build_network("u-net", PLANS["2d"])
    with pytest.raises(UsageError, match="instance"):
        Bricks(2, norm="layer")
    with pytest.raises(UsageError, match="gelu"):
        Bricks(2, activation="swish")
    with pytest.raises(UsageError, match="plain"):
        UNet(PLANS["2d"].stages, 1, 2, encoder="dense")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="gated"):
        UNet(PLANS["2d"].stages, 1, 2, skips="none")  # type: ignore[arg-type]


def test_a_network_that_cannot_be_built_is_refused_with_the_reason() -> None:
    stage = {"features": 4, "kernel": (3, 3), "stride": (1, 1)}
    for changes, reason in [
        ({"kernel": (2, 3)}, "even"),
        ({"features": 0}, "start at 1"),
        ({"stride": (2, 2)}, "first stage"),
        ({"convolutions": 0}, "no convolution"),
    ]:
        with pytest.raises(UsageError, match=reason):
            UNet([Stage(**{**stage, **changes})], 1, 2)
    with pytest.raises(UsageError, match="heads"):
        UNet([Stage(**stage)], 1, 2, heads=2)
    with pytest.raises(UsageError, match="single voxel"):
        build_network("unet", PLANS["2d"])(torch.zeros(1, 2, 4, 4))
    with pytest.raises(UsageError, match="single voxel, which batch norm"):
        build_network("unet", PLANS["published"])(torch.zeros(1, 3, 4, 4))


def test_the_double_convolution_u_net_with_max_pooling_has_its_published_parameters() -> None:
    plan = halving(
        (32, 64, 128, 256, 512),
        (16, 16, 16),
        heads=1,
        norm="batch",
        activation="relu",
        pooling=True,
        bias=True,
        channels=("MRI",),
        normalisation=(Normalisation(scheme="minmax"),),
        labels=LabelSet.from_values({"background": 0, "heart": 1}, regions={"heart": ["heart"]}),
    )
    assert count_trainable("unet", plan) == network_of(plan).parameters == 22_581_217
