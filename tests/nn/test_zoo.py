"""One contract for every network of the zoo: shapes, sizes, gradients, weights, counts, graphs."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import pytest
import torch

from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.nn.blocks import ACTIVATIONS, NORMS, AttentionGate, Bricks
from vesal.nn.cpu import instance_norm as cpu
from vesal.nn.model_file import Package, load_package, save_package
from vesal.nn.unet import UNet
from vesal.nn.zoo import NETWORKS, build_network, count_trainable
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.planning.planner import count_parameters
from vesal.train.schedule import WeightAverage

OURS = ("unet", "residual-unet", "attention-unet")


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


def halving(features: tuple[int, ...], patch: tuple[int, ...], **changes: Any) -> Plan:
    """Kernels of 3 and strides of 2, as most networks are drawn."""
    axes = len(patch)
    stages = [(f, (3,) * axes, (1 + (level > 0),) * axes) for level, f in enumerate(features)]
    return make_plan(stages, patch, **changes)


PLANS = {
    "2d": halving((4, 8, 12), (16, 24)),
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
    "published": halving(
        (4, 8, 8), (16, 8), norm="batch", activation="prelu", pooling=True, bias=True, foreground_channel=True
    ),
}

_BATCH_RELU = {"norm": "batch", "activation": "relu"}
_ONE_KERNEL = [(4, (3, 3, 3), (1, 1, 1)), (6, (3, 3, 3), (1, 3, 2)), (8, (3, 3, 3), (2, 1, 2))]

#: Network -> plans that it is held to.
CASES: dict[str, dict[str, Plan]] = {
    **dict.fromkeys(OURS, PLANS),
    "monai-unet": {
        "2d": PLANS["2d"],
        "prelu": halving((4, 8, 8), (16, 8), norm="batch", activation="prelu", bias=True),
        "anisotropic": make_plan(_ONE_KERNEL, (4, 12, 8)),
    },
    "monai-attention-unet": {
        "2d": halving((4, 8, 12), (16, 8), **_BATCH_RELU),
        "anisotropic": make_plan(_ONE_KERNEL, (4, 12, 8), **_BATCH_RELU),
    },
    "monai-dynunet": {
        "2d": PLANS["2d"],
        "anisotropic": PLANS["anisotropic"],
        "one head": halving((4, 8, 8), (16, 8), heads=1, norm="group", activation="gelu"),
    },
    "monai-segresnet": {
        "2d": halving((4, 8, 16), (16, 24)),
        "3d": halving((4, 8, 16), (8, 16, 8), norm="group", activation="relu"),
    },
    "monai-swin-unetr": {"2d": halving((12, 12, 24, 48, 96, 192), (64, 32))},
}

needs_monai = pytest.mark.skipif(
    importlib.util.find_spec("monai") is None or importlib.util.find_spec("einops") is None,
    reason="MONAI is not installed: pip install 'vesal[monai]'",
)


def marks(name: str) -> list[pytest.MarkDecorator]:
    return [] if name in OURS else [needs_monai]


@pytest.fixture(
    params=[
        pytest.param((name, plan), id=f"{name}-{key}", marks=marks(name))
        for name, plans in CASES.items()
        for key, plan in plans.items()
    ]
)
def case(request: pytest.FixtureRequest) -> tuple[str, Plan]:
    return request.param


@pytest.fixture(params=[pytest.param(name, marks=marks(name)) for name in CASES])
def name(request: pytest.FixtureRequest) -> str:
    """Each network once, with the first of its plans."""
    return request.param


def first_plan(name: str) -> Plan:
    return next(iter(CASES[name].values()))


def network_and_input(name: str, plan: Plan) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return build_network(name, plan), torch.randn(2, plan.inputs, *plan.patch)


def heads_of(name: str, plan: Plan) -> int:
    return plan.heads if NETWORKS[name].deep_supervision else 1


def unsettle(network: torch.nn.Module) -> None:
    """A residual block starts with a norm of zero, which hides what lies behind it."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))


def some_loss(logits: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    return sum(
        (head.square().mean() for head in (logits if isinstance(logits, list) else [logits])),
        torch.tensor(0.0),
    )


def test_every_network_is_held_to_the_contract() -> None:
    assert set(CASES) == set(NETWORKS)
    for kind in NETWORKS.values():
        assert kind.about


def test_evaluation_gives_one_logit_map_of_the_inputs_size(case: tuple[str, Plan]) -> None:
    name, plan = case
    network, x = network_and_input(name, plan)
    with torch.no_grad():
        logits = network.eval()(x)
    assert logits.shape == (2, plan.labels.outputs, *plan.patch)
    assert logits.isfinite().all()


def test_training_gives_one_logit_map_a_head_the_highest_resolution_first(case: tuple[str, Plan]) -> None:
    name, plan = case
    network, x = network_and_input(name, plan)
    logits = network(x)
    heads = heads_of(name, plan)
    if heads == 1:
        assert isinstance(logits, torch.Tensor)
        assert logits.shape == (2, plan.labels.outputs, *plan.patch)
        return
    expected = list(plan.patch)
    assert len(logits) == heads
    for head, stage in zip(logits, plan.stages, strict=False):
        expected = [size // step for size, step in zip(expected, stage.stride, strict=True)]
        assert head.shape == (2, plan.labels.outputs, *expected)


def test_training_and_evaluation_agree_on_the_highest_resolution(case: tuple[str, Plan]) -> None:
    name, plan = case
    network, x = network_and_input(name, plan)
    for module in network.modules():  # one batch is then all that a batch norm remembers
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    trained = network(x)
    highest = trained[0] if isinstance(trained, list) else trained
    if plan.norm == "batch":  # what it remembers is the unbiased variance: not the same, but near
        assert (network.eval()(x) - highest).abs().mean() < 0.2 * highest.std()
    else:
        torch.testing.assert_close(highest, network.eval()(x))


def test_gradients_reach_every_parameter(case: tuple[str, Plan]) -> None:
    name, plan = case
    network, x = network_and_input(name, plan)
    unsettle(network)
    some_loss(network(x)).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


def test_any_size_is_taken_and_what_is_padded_is_cut_again(case: tuple[str, Plan]) -> None:
    name, plan = case
    network, _ = network_and_input(name, plan)
    network.eval()
    fits = tuple(2 * step for step in plan.total_stride)
    odd = tuple(size - (size > 2) for size in fits)
    x = torch.randn(1, plan.inputs, *odd)
    padded = torch.zeros(1, plan.inputs, *fits)
    inside = (..., *(slice(size) for size in odd))
    padded[inside] = x
    with torch.no_grad():
        logits = network(x)
        torch.testing.assert_close(logits, network(padded)[inside])
        one_voxel = network(x[(..., *(slice(1),) * plan.dimension)])
    assert logits.shape == (1, plan.labels.outputs, *odd)
    assert one_voxel.shape == (1, plan.labels.outputs, *(1,) * plan.dimension)
    assert one_voxel.isfinite().all()
    with pytest.raises(UsageError, match="axes"):
        network(torch.zeros(1, plan.inputs, *fits, 8))
    with pytest.raises(UsageError, match="no voxel"):
        network(torch.zeros(1, plan.inputs, *fits[:-1], 0))


def test_while_training_odd_sizes_are_refused_with_several_heads_and_padded_with_one(
    case: tuple[str, Plan],
) -> None:
    name, plan = case
    network, _ = network_and_input(name, plan)
    axis = plan.total_stride.index(max(plan.total_stride))
    odd = tuple(size + (i == axis) for i, size in enumerate(plan.patch))
    x = torch.randn(2, plan.inputs, *odd)
    if heads_of(name, plan) > 1:
        with pytest.raises(UsageError, match="multiple of the network's strides"):
            network(x)
    else:
        assert network(x).shape == (2, plan.labels.outputs, *odd)


def test_the_same_seed_gives_the_same_weights(case: tuple[str, Plan]) -> None:
    first, _ = network_and_input(*case)
    second, _ = network_and_input(*case)
    for (key, a), (other, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert key == other
        assert torch.equal(a, b), key


def test_parameters_are_counted_without_building_the_weights(case: tuple[str, Plan]) -> None:
    name, plan = case
    network, _ = network_and_input(name, plan)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count_trainable(name, plan) == count
    if name in OURS:
        assert count_parameters(plan, name) == count


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_network_is_the_network_at_another_batch_size_too(case: tuple[str, Plan]) -> None:
    name, plan = case
    network, x = network_and_input(name, plan)
    network.eval()
    with torch.no_grad():
        traced = torch.jit.trace(network, x, check_trace=False)
        scale = 2 if name in OURS else 1
        other = torch.randn(3, plan.inputs, *(scale * size for size in plan.patch))
        torch.testing.assert_close(traced(other), network(other), rtol=1e-4, atol=1e-5)


def test_networks_run_in_bfloat16(name: str) -> None:
    network, x = network_and_input(name, first_plan(name))
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = network(x)
    with torch.no_grad():
        full = network(x)
    assert (half.float() - full).abs().max() < 0.1 * full.abs().max()


def test_a_trained_network_can_be_copied_and_its_package_predicts_the_same(name: str, tmp_path) -> None:
    plan = first_plan(name)
    network, x = network_and_input(name, plan)
    average = WeightAverage(network, 0.5)
    some_loss(network(x)).backward()
    average.update(network, 1)
    copy.deepcopy(network)
    network.eval()
    package = Package(plan=plan, network=name, recipe={}, provenance={}, weights=network.state_dict())
    save_package(tmp_path / "model.vesal", package)
    again = load_package(tmp_path / "model.vesal").build()
    with torch.no_grad():
        assert torch.equal(again(x), network(x))
        assert average.network(x).isfinite().all()


# --- ours --------------------------------------------------------------------------------------------------


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


def test_an_attention_gate_starts_open_and_can_close() -> None:
    torch.manual_seed(0)
    network = UNet(PLANS["2d"].stages, 2, 3, skips="gated")
    gate = network.gates[0]
    assert isinstance(gate, AttentionGate)
    skip, signal = torch.ones(1, 4, 8, 8), 0.1 * torch.randn(1, 4, 8, 8)
    open_share = gate(skip, signal).mean().item()
    assert 0.75 < open_share <= 1
    torch.nn.init.constant_(gate.score.bias, -20.0)
    assert gate(skip, signal).abs().max() < 1e-6


@pytest.mark.parametrize("norm", sorted(NORMS))
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_norm_goes_with_every_activation_and_the_cpus_own_functions_change_nothing(
    norm: str, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    stages = PLANS["2d"].stages
    bricks = Bricks(2, norm, activation, bias=True)
    network = UNet(stages, 2, 3, bricks=bricks, encoder="residual", skips="gated", pooling=True)
    x = torch.randn(2, 2, 16, 24)
    fast = network(x)
    fast.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    monkeypatch.setattr(cpu, "applies", lambda x: False)
    assert (fast - network(x)).abs().max() < 1e-5 * fast.abs().max()


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
    assert count_trainable("unet", plan) == count_parameters(plan) == 22_581_217
