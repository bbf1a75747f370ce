"""A step: what is not finite changes nothing, and nothing waits for a number that a GPU still computes."""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vesal.nn.losses.losses import build_loss
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan
from vesal.train.batches import Batch
from vesal.train.checkpoint import Position, Trained, load_checkpoint, save_checkpoint
from vesal.train.objective import Objective
from vesal.train.optimizers import OPTIMIZERS, build_optimizer
from vesal.train.precision import Precision, kernels, memory_format, step_where
from vesal.train.recipe import TrainConfig
from vesal.train.schedule import WeightAverage
from vesal.train.state import State, TrainJob
from vesal.train.trainer import take_step

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def plan(tiny_plan: Path) -> Plan:
    return Plan.load(tiny_plan)


def batch_of(plan: Plan, seed: int = 0, *, wrong: float = 0.0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn((plan.batch, plan.inputs, *plan.patch), generator=generator) + wrong
    label = torch.randint(0, 3, (plan.batch, *plan.patch), generator=generator, dtype=torch.uint8)
    return Batch(image, label, None)


def state_of(plan: Plan, folder: Path, **config: Any) -> State:
    torch.manual_seed(0)
    settings = TrainConfig(**{"steps": 100, "warmup": 0.0, "ema": 0.9} | config)
    network = build_network(settings.network, plan)
    precision = Precision("32", CPU)
    assert settings.ema is not None
    average = WeightAverage(network, settings.ema)
    trained = Trained(network, build_optimizer(network, settings), average, precision.scaler)
    return State(TrainJob(plan, settings, [], [], folder, CPU, "", {}), trained, Position(), 100, 10.0)


def stepped(state: State, *batches: Batch) -> list[float]:
    loss = build_loss("dice_ce", state.job.plan)
    precision = Precision("32", CPU)
    objective = Objective(state.trained.network, loss, precision)
    feed = iter(batches)
    count = len(batches) // state.job.config.accumulation
    return [float(take_step(state, feed, objective, precision)) for _ in range(count)]


def everything(state: State) -> dict[str, Tensor]:
    trained = state.trained
    assert trained.average is not None
    kept = {f"network {name}": value for name, value in trained.network.state_dict().items()}
    kept |= {f"average {name}": value for name, value in trained.average.network.state_dict().items()}
    for number, of in trained.optimizer.state_dict()["state"].items():
        kept |= {f"optimizer {number} {name}": torch.as_tensor(value) for name, value in of.items()}
    return {name: value.clone() for name, value in kept.items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_loss_that_is_not_finite_changes_neither_weights_nor_optimizer_nor_average(
    plan: Plan, tmp_path: Path, optimizer: str
) -> None:
    state = state_of(plan, tmp_path, optimizer=optimizer)
    (first,) = stepped(state, batch_of(plan))
    before = everything(state)
    (wrong,) = stepped(state, batch_of(plan, wrong=math.nan))
    assert math.isfinite(first)
    assert not math.isfinite(wrong)
    torch.testing.assert_close(everything(state), before, rtol=0, atol=0)
    assert state.position.step == 2
    (after,) = stepped(state, batch_of(plan))
    assert math.isfinite(after)
    assert any(not torch.equal(value, before[name]) for name, value in everything(state).items())


def test_gradients_that_are_not_finite_change_nothing_though_the_loss_is(plan: Plan, tmp_path: Path) -> None:
    state = state_of(plan, tmp_path)
    stepped(state, batch_of(plan))
    before = everything(state)
    next(state.trained.network.parameters()).register_hook(lambda gradient: gradient * math.inf)
    (told,) = stepped(state, batch_of(plan))
    assert math.isnan(told)
    torch.testing.assert_close(everything(state), before, rtol=0, atol=0)


def test_two_half_batches_make_the_step_of_a_whole_one(plan: Plan, tmp_path: Path) -> None:
    # Samples of equal weight: the cross-entropy of the whole is the mean of its halves' (Dice's too, a sample each).
    one, other = batch_of(plan, 1), batch_of(plan, 2)
    whole = Batch(torch.cat([one.image, other.image]), torch.cat([one.label, other.label]), None)
    parts = state_of(plan, tmp_path, accumulation=2, optimizer="sgd")
    together = state_of(plan, tmp_path, optimizer="sgd")
    losses = stepped(parts, one, other), stepped(together, whole)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(everything(parts), everything(together), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_fused_optimizer_leaves_a_step_out_by_itself(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    optimizer = build_optimizer(network, TrainConfig(optimizer=name, steps=1))

    def step(sound: bool, *, wait: bool) -> None:
        for number, parameter in enumerate(network.parameters()):
            parameter.grad = torch.full_like(parameter, math.nan if not sound else 0.1 + number)
        step_where(optimizer, torch.tensor(sound), wait=wait)

    step(False, wait=False)  # before there is any state
    assert not optimizer.state
    step(True, wait=False)
    before = copy.deepcopy((network.state_dict(), optimizer.state_dict()["state"]))
    step(False, wait=False)
    torch.testing.assert_close(
        (network.state_dict(), optimizer.state_dict()["state"]), before, rtol=0, atol=0
    )
    twin, other = copy.deepcopy((network, optimizer.state_dict()))
    step(True, wait=False)
    left = copy.deepcopy(network.state_dict())
    network.load_state_dict(twin.state_dict())
    optimizer.load_state_dict(other)
    step(True, wait=True)
    torch.testing.assert_close(network.state_dict(), left, rtol=0, atol=0)


def test_forwards_and_backwards_nobody_looks_at_a_number(plan: Plan) -> None:
    # Tensors on the meta device have no values: whoever looks at one, or mixes devices, raises an error.
    with torch.device("meta"):
        network = build_network("unet", plan).train()
    loss = build_loss("dice_ce", plan)
    image = torch.empty((plan.batch, plan.inputs, *plan.patch), device="meta")
    label = torch.empty((plan.batch, *plan.patch), dtype=torch.uint8, device="meta")
    for annotated in (None, torch.ones((plan.batch, 2), dtype=torch.bool)):
        value = loss_without_autocast(loss, network(image), label, annotated)
        value.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def loss_without_autocast(loss: Any, logits: Any, label: Tensor, annotated: Tensor | None) -> Tensor:
    """The loss as it is inside its `autocast`, which does not know the meta device."""
    heads = [logits] if isinstance(logits, Tensor) else logits
    annotated = None if annotated is None else annotated.to(label.device)
    return torch.stack([loss._head(head, label, annotated) for head in heads]).sum()


# --- devices --------------------------------------------------------------------------------------------


def test_channels_are_last_on_cuda_unless_refused() -> None:
    cuda = torch.device("cuda")
    chosen = [memory_format(TrainConfig(channels_last=of), 3, cuda) for of in (None, True, False)]
    assert chosen == [torch.channels_last_3d, torch.channels_last_3d, None]
    assert memory_format(TrainConfig(), 2, cuda) is torch.channels_last
    assert memory_format(TrainConfig(channels_last=True), 3, CPU) is None


def test_fast_kernels_are_a_gpus_and_end_with_the_block() -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, matmul.allow_tf32
    with kernels(torch.device("cuda"), deterministic=False):
        assert (cudnn.benchmark, matmul.allow_tf32) == (True, True)
    with kernels(torch.device("cuda"), deterministic=True):
        assert not cudnn.benchmark
        assert torch.are_deterministic_algorithms_enabled()
    with kernels(CPU, deterministic=False):
        assert (cudnn.benchmark, matmul.allow_tf32) == before
    assert (cudnn.benchmark, matmul.allow_tf32) == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_checkpoint_goes_on_with_the_kernels_and_the_layout_of_the_device_it_is_loaded_on(
    plan: Plan, tmp_path: Path
) -> None:
    state = state_of(plan, tmp_path, optimizer="adamw")
    stepped(state, batch_of(plan))
    for group in state.trained.optimizer.param_groups:
        group["fused"] = None  # as a device without such kernels saves it
    save_checkpoint(tmp_path / "last.ckpt", state.position, state.trained)
    other = state_of(plan, tmp_path, optimizer="adamw")
    other.trained.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    load_checkpoint(tmp_path / "last.ckpt", other.trained)
    optimizer = other.trained.optimizer
    assert all(group["fused"] for group in optimizer.param_groups)
    for parameter, kept in optimizer.state.items():
        assert kept["exp_avg"].stride() == parameter.stride()
    torch.testing.assert_close(everything(other), everything(state), rtol=0, atol=0)
    following = itertools.islice(map(batch_of, itertools.repeat(plan), (1, 2)), 2)
    for batch in following:
        assert stepped(other, batch) == pytest.approx(stepped(state, batch), rel=1e-4)


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_trains_in_bfloat16_where_it_has_it(
    has: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesal.train.precision.computes_bfloat16", lambda: has)
    assert Precision("auto", CPU).dtype is dtype
    assert Precision("32", CPU).dtype is torch.float32


def test_bfloat16_steps_follow_float32_s_and_what_is_kept_stays_float32(plan: Plan, tmp_path: Path) -> None:
    losses = {}
    for name in ("32", "bf16"):
        state = state_of(plan, tmp_path)
        precision = Precision(name, CPU)
        objective = Objective(state.trained.network, build_loss("dice_ce", plan), precision)
        batches = itertools.repeat(batch_of(plan))
        steps = [take_step(state, batches, objective, precision) for _ in range(4)]
        assert {value.dtype for value in steps} == {torch.float32}
        kept = [*state.trained.network.state_dict().values(), *tensors_of(state.trained.optimizer)]
        assert {tensor.dtype for tensor in kept} == {torch.float32}
        losses[name] = torch.stack(steps)
    assert losses["32"][-1] < losses["32"][0] - 0.02
    torch.testing.assert_close(losses["bf16"], losses["32"], rtol=0.01, atol=0)
    assert not torch.equal(losses["bf16"], losses["32"])


def tensors_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [
        value for kept in optimizer.state.values() for value in kept.values() if isinstance(value, Tensor)
    ]


@pytest.mark.parametrize(("network", "dtype"), [("unet", torch.bfloat16), ("monai-unet", torch.float32)])
def test_a_cpu_takes_bfloat16_by_itself_for_our_own_networks(
    network: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesal.train.precision.computes_bfloat16", lambda: True)
    assert Precision.of(TrainConfig(network=network, steps=1), CPU).dtype is dtype
    asked = TrainConfig(network=network, steps=1, precision="bf16")
    assert Precision.of(asked, CPU).dtype is torch.bfloat16
