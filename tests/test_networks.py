"""One contract for every network of the zoo: shapes, gradients, sizes, initial weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vesal.data.labels import LabelSet
from vesal.data.plan import Normalisation, Plan, Stage
from vesal.errors import UsageError
from vesal.nn.blocks import ACTIVATIONS, NORMS, Bricks
from vesal.nn.unet import UNet
from vesal.nn.zoo import NETWORKS, build_network


def make_plan(stages: list[tuple[int, tuple, tuple]], patch: tuple[int, ...], **changes: Any) -> Plan:
    dimension = len(patch)
    return Plan(
        **{
            "dimension": dimension,
            "spacing_mm": (1.0,) * dimension,
            "patch": patch,
            "batch": 2,
            "stages": tuple(Stage(features=f, kernel=k, stride=s) for f, k, s in stages),
            "heads": 2,
            "normalisation": (Normalisation(scheme="zscore"),) * 2,
            "mirror_axes": (),
            "channels": ("T1", "T2"),
            "labels": LabelSet.from_values({"background": 0, "left": 1, "right": 2}),
            "median_shape": patch,
            **changes,
        }
    )


PLANS = {
    "2d": make_plan([(4, (3, 3), (1, 1)), (8, (3, 3), (2, 2)), (12, (3, 3), (2, 2))], (16, 24)),
    "3d": make_plan(
        [(4, (3, 3, 3), (1, 1, 1)), (8, (3, 3, 3), (2, 2, 2)), (8, (3, 3, 3), (2, 2, 2))], (8, 16, 12)
    ),
    "anisotropic": make_plan(
        [
            (4, (1, 3, 3), (1, 1, 1)),
            (6, (1, 3, 3), (1, 2, 2)),
            (8, (3, 3, 3), (1, 3, 2)),
            (8, (3, 5, 3), (2, 1, 2)),
        ],
        (4, 12, 16),
        heads=3,
    ),
    "one stage": make_plan([(4, (3, 3), (1, 1))], (8, 8), heads=1),
}


@pytest.fixture(params=sorted(NETWORKS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=sorted(PLANS))
def plan(request: pytest.FixtureRequest) -> Plan:
    return PLANS[request.param]


def network_and_input(name: str, plan: Plan) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return build_network(name, plan), torch.randn(2, len(plan.channels), *plan.patch)


def test_evaluation_gives_one_logit_map_of_the_inputs_size(name: str, plan: Plan) -> None:
    network, x = network_and_input(name, plan)
    logits = network.eval()(x)
    assert logits.shape == (2, plan.labels.outputs, *plan.patch)
    assert logits.isfinite().all()


def test_training_gives_one_logit_map_a_head_the_highest_resolution_first(name: str, plan: Plan) -> None:
    network, x = network_and_input(name, plan)
    logits = network(x)
    if plan.heads == 1:
        assert isinstance(logits, torch.Tensor)
        return
    expected = list(plan.patch)
    assert len(logits) == plan.heads
    for head, stage in zip(logits, plan.stages, strict=False):
        expected = [size // step for size, step in zip(expected, stage.stride, strict=True)]
        assert head.shape == (2, plan.labels.outputs, *expected)


def test_training_and_evaluation_agree_on_the_highest_resolution(name: str, plan: Plan) -> None:
    network, x = network_and_input(name, plan)
    trained = network(x)
    torch.testing.assert_close(trained[0] if plan.heads > 1 else trained, network.eval()(x))


def test_gradients_reach_every_parameter(name: str, plan: Plan) -> None:
    network, x = network_and_input(name, plan)
    with torch.no_grad():  # a residual block starts with a norm of zero, which hides what lies behind it
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    logits = network(x)
    sum(head.square().mean() for head in (logits if plan.heads > 1 else [logits])).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


def test_any_multiple_of_the_strides_is_taken_and_anything_else_is_refused(name: str, plan: Plan) -> None:
    network = build_network(name, plan).eval()
    size = tuple(3 * step for step in network.total_stride)
    assert network(torch.zeros(1, 2, *size)).shape[2:] == size
    if max(network.total_stride) > 1:
        axis = network.total_stride.index(max(network.total_stride))
        wrong = tuple(s + (i == axis) for i, s in enumerate(size))
        with pytest.raises(UsageError, match="multiple of the network's strides"):
            network(torch.zeros(1, 2, *wrong))
    with pytest.raises(UsageError, match="axes"):
        network(torch.zeros(1, 2, *size, 8))


def test_the_same_seed_gives_the_same_weights_and_names_stay(name: str, plan: Plan) -> None:
    first, _ = network_and_input(name, plan)
    second, _ = network_and_input(name, plan)
    for (key, a), (other, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert key == other
        assert torch.equal(a, b), key
    keys = set(first.state_dict())
    assert "heads.0.bias" in keys
    assert {"encoder.0.0.conv.weight", "encoder.0.0.first.conv.weight"} & keys


def test_a_traced_network_is_the_network(name: str, plan: Plan) -> None:
    network, x = network_and_input(name, plan)
    network.eval()
    with torch.no_grad():
        traced = torch.jit.trace(network, x)
        larger = torch.randn(1, 2, *(2 * size for size in plan.patch))
        torch.testing.assert_close(traced(larger), network(larger))


def test_networks_run_in_bfloat16(name: str) -> None:
    network, x = network_and_input(name, PLANS["2d"])
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = network(x)
    with torch.no_grad():
        full = network(x)
    assert (half.float() - full).abs().max() < 0.1 * full.abs().max()


@pytest.mark.parametrize("norm", sorted(NORMS))
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_norm_goes_with_every_activation(norm: str, activation: str) -> None:
    stages = PLANS["2d"].stages
    network = UNet(stages, 2, 3, bricks=Bricks(2, norm, activation), encoder="residual")
    network(torch.randn(2, 2, 16, 24)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_residual_block_starts_as_its_shortcut() -> None:
    torch.manual_seed(0)
    block = UNet(PLANS["2d"].stages, 2, 3, encoder="residual").encoder[1][1]
    x = torch.randn(1, 8, 8, 12)
    torch.testing.assert_close(block(x), torch.nn.functional.leaky_relu(x, 0.01))


def test_the_first_convolution_has_kaiming_variance_for_leaky_relu() -> None:
    torch.manual_seed(0)
    stages = [Stage(features=256, kernel=(3, 3, 3), stride=(1, 1, 1))]
    weight = UNet(stages, 8, 2).encoder[0][0].conv.weight
    expected = (2 / (1 + 0.01**2) / (8 * 27)) ** 0.5
    assert weight.std().item() == pytest.approx(expected, rel=0.02)


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(UsageError, match="choose one of: residual-unet, unet"):
        build_network("u-net", PLANS["2d"])
    with pytest.raises(UsageError, match="instance"):
        Bricks(2, norm="layer")
    with pytest.raises(UsageError, match="gelu"):
        Bricks(2, activation="swish")
    with pytest.raises(UsageError, match="plain"):
        UNet(PLANS["2d"].stages, 1, 2, encoder="dense")  # type: ignore[arg-type]


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


def test_the_double_convolution_u_net_with_max_pooling_has_its_published_parameters() -> None:
    plan = make_plan(
        [(32 * 2**level, (3, 3, 3), (1 + (level > 0),) * 3) for level in range(5)],
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
    with torch.device("meta"):
        network = build_network("unet", plan)
    assert sum(parameter.numel() for parameter in network.parameters()) == 22_581_217
