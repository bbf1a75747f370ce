"""One contract for every network of the zoo: shapes, sizes, gradients, weights, counts, graphs."""

from __future__ import annotations

import copy
import importlib.util

import pytest
import torch
from small_networks import OURS, PLANS, halving, make_plan, some_loss, unsettle

from vesal.errors import UsageError
from vesal.nn import zoo
from vesal.nn.model_file import Package, load_package, save_package
from vesal.nn.zoo import NETWORKS, build_network, count_trainable, resolve_device
from vesal.planning.cost import network_of
from vesal.planning.plan import Plan
from vesal.train.schedule import WeightAverage

#: Layers that take the mean of their input away, and with it a bias in front of them.
NORM_TYPES = (
    torch.nn.modules.batchnorm._BatchNorm,
    torch.nn.modules.instancenorm._InstanceNorm,
    torch.nn.GroupNorm,
)

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


#: Networks without deep supervision.
SINGLE_HEAD = {"monai-unet", "monai-attention-unet", "monai-segresnet", "monai-swin-unetr"}


def heads_of(name: str, plan: Plan) -> int:
    return 1 if name in SINGLE_HEAD else plan.heads


def test_every_network_is_held_to_the_contract() -> None:
    assert set(CASES) == set(NETWORKS)


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


def gradients(network: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor | None]:
    """By parameter; of a bias whose layer feeds a norm, the gradient of the layer's output in place of its own.

    The norm takes the bias away again: its own gradient, the sum of the output's, is zero but for rounding.
    """
    layers: dict[
        int, tuple[str, torch.Tensor]
    ] = {}  # by their output's identity; holding it keeps that unique
    normalised: dict[str, torch.Tensor] = {}

    def note_layer(name: str, output: torch.Tensor) -> None:
        layers[id(output)] = (name, output)

    def note_norm(x: torch.Tensor) -> None:
        if id(x) in layers:
            name, output = layers[id(x)]
            output.retain_grad()
            normalised[name] = output

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, NORM_TYPES):
            hooks.append(module.register_forward_pre_hook(lambda module, inputs: note_norm(inputs[0])))
        elif getattr(module, "bias", None) is not None:
            hooks.append(
                module.register_forward_hook(lambda module, inputs, y, name=name: note_layer(name, y))
            )
    some_loss(network(x)).backward()
    for hook in hooks:
        hook.remove()
    own = {key: parameter.grad for key, parameter in network.named_parameters()}
    of_outputs = {f"{name}.bias": output.grad for name, output in normalised.items()}
    return {key: of_outputs.get(key, grad) if grad is not None else None for key, grad in own.items()}


def test_gradients_reach_every_parameter(case: tuple[str, Plan]) -> None:
    name, plan = case
    network, x = network_and_input(name, plan)
    unsettle(network)
    for key, grad in gradients(network, x).items():
        assert grad is not None, key
        assert grad.abs().sum() > 0, key


@pytest.mark.parametrize("bias", [False, True])
def test_a_parameter_that_no_gradient_reaches_is_found(bias: bool) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, bias=bias), torch.nn.BatchNorm2d(2), torch.nn.Conv2d(2, 1, 3)
    )
    x = torch.randn(2, 1, 8, 8)
    found = gradients(network, x)
    assert all(grad is not None and grad.abs().sum() > 0 for grad in found.values())
    assert not bias or found["0.bias"].shape == (2, 2, 6, 6)
    network.zero_grad()
    torch.nn.init.zeros_(network[2].weight)
    cut = {key for key, grad in gradients(network, x).items() if not grad.abs().sum() > 0}
    assert cut == {"0.weight", "1.weight", "1.bias"} | ({"0.bias"} if bias else set())


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
        assert network_of(plan, name).parameters == count


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_network_is_the_network_at_another_batch_size_too(case: tuple[str, Plan]) -> None:
    name, plan = case
    network, x = network_and_input(name, plan)
    network.eval()
    with torch.no_grad():
        traced = torch.jit.trace(network, x, check_trace=False)
        scale = 2 if name in OURS else 1
        other = torch.randn(3, plan.inputs, *(scale * size for size in plan.patch))
        expected = network(other)
        assert (traced(other) - expected).abs().max() < 1e-4 * expected.abs().max()


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


def test_torch_gets_no_more_threads_than_a_process_may_use_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        monkeypatch.setattr(zoo, "cpu_count", lambda: 8)
        resolve_device("cpu")
        assert torch.get_num_threads() == 4
        monkeypatch.setattr(zoo, "cpu_count", lambda: 3)
        resolve_device("cpu")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
