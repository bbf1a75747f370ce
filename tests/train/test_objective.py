"""Compiling: only what agrees with plain torch, and nobody else knows of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vesal.nn.losses.losses import build_loss
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan
from vesal.train.batches import Batch
from vesal.train.objective import _BRIGHTER, Objective, _difference, wants_compiling
from vesal.train.precision import Precision
from vesal.train.recipe import TrainConfig

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def plan(tiny_plan: Path) -> Plan:
    return Plan.load(tiny_plan)


def batch_of(plan: Plan) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn((plan.batch, plan.inputs, *plan.patch), generator=generator)
    label = torch.randint(0, 3, (plan.batch, *plan.patch), generator=generator, dtype=torch.uint8)
    return Batch(image, label, None)


def objective_of(plan: Plan, name: str = "unet", **settings: Any) -> tuple[Objective, torch.nn.Module]:
    torch.manual_seed(0)
    network = build_network(name, plan, **settings).train()
    return Objective(network, build_loss("dice_ce", plan), Precision("32", CPU)), network


def compiler(change: Callable[..., Any]) -> Callable[..., Any]:
    """Something in place of torch.compile whose function gives `change` of the true one's loss."""

    def compile(function: Callable[..., Any], **_options: Any) -> Callable[..., Any]:
        def compiled(*arguments: Any) -> tuple[Any, Any]:
            loss, logits = function(*arguments)
            return change(loss), logits

        return compiled

    return compile


def test_a_function_that_agrees_is_used_and_one_line_says_so(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(torch, "compile", compiler(lambda value: calls.append(1) or value))
    objective, _ = objective_of(plan)
    batch = batch_of(plan)
    plain = objective.gradients(batch).item()
    assert "are compiled and agree" in objective.compile(batch)
    calls.clear()
    assert objective.gradients(batch).item() == plain
    assert calls == [1]


class WrongGradient(torch.autograd.Function):
    """The right value, and gradients of half the size."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0] / 2


def broken(_value: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("no C++ compiler\nand a long story")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value * 1.1, "the loss is"),
        (lambda value: value * float("nan"), "the loss is nan"),
        (WrongGradient.apply, "is off by 50%"),
        (lambda value: value.detach().requires_grad_(), "other parameters have gradients"),
        (broken, "RuntimeError: no C\\+\\+ compiler\\)"),
    ],
    ids=["another loss", "not a number", "other gradients", "no gradients", "no compiler"],
)
def test_a_function_that_fails_or_differs_is_not_used_and_one_line_says_why(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, change: Callable[..., Any], words: str
) -> None:
    monkeypatch.setattr(torch, "compile", compiler(change))
    objective, _ = objective_of(plan)
    batch = batch_of(plan)
    plain = objective.gradients(batch).item()
    told = objective.compile(batch)
    assert told.startswith("Not compiled")
    assert told.endswith("plain torch computes.")
    assert "\n" not in told
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(told)
    assert objective.gradients(batch).item() == plain


def test_the_comparison_leaves_no_trace(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", compiler(lambda value: value + 0 * torch.rand(())))
    batched = plan.model_copy(update={"norm": "batch"})
    objective, network = objective_of(batched)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    objective.compile(batch_of(batched))
    assert any("running_mean" in name for name in before)
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_torch_can_trace_network_and_loss(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    # The part of the compiler that reads our code, which has to find one graph in it, as a GPU takes it; kernels would
    # take too long to make here.
    monkeypatch.setattr("vesal.nn.cpu.instance_norm.applies", lambda _x: False)
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda of, **_: compiled(of, backend="eager", fullgraph=True))
    objective, network = objective_of(plan)
    names = list(network.state_dict())
    batch = batch_of(plan)
    plain = objective.gradients(batch).item()
    told = objective.compile(batch)
    assert "are compiled and agree" in told, told
    assert objective.gradients(batch).item() == pytest.approx(plain, rel=1e-4)
    assert list(network.state_dict()) == names
    # Evaluation goes past it, and training on the same function again.
    assert isinstance(network.eval()(batch.image), torch.Tensor)
    network.train()
    assert objective.gradients(batch).item() == pytest.approx(plain, rel=1e-4)
    torch.compiler.reset()


def test_a_run_is_compiled_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    assert wants_compiling(TrainConfig(budget_s=600), None, CUDA)
    assert wants_compiling(TrainConfig(epochs=100), 5000, CUDA)
    assert not wants_compiling(TrainConfig(budget_s=120), None, CUDA)
    assert not wants_compiling(TrainConfig(steps=100), 100, CUDA)
    assert not wants_compiling(TrainConfig(budget_s=600), None, CPU)
    assert not wants_compiling(TrainConfig(steps=5000, deterministic=True), 5000, CUDA)
    assert not wants_compiling(TrainConfig(steps=5000, gradient_checkpointing=True), 5000, CUDA)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert not wants_compiling(TrainConfig(budget_s=600), None, CUDA)


@pytest.mark.parametrize(("choice", "wanted"), [(True, True), ("graphs", True), (False, False)])
def test_a_choice_stands_on_any_device(choice: Any, wanted: bool) -> None:
    for device in (CPU, CUDA):
        assert wants_compiling(TrainConfig(budget_s=10, compile=choice), None, device) == wanted


def test_a_gradient_that_is_wrong_in_one_small_place_is_found_and_rounding_is_none(plan: Plan) -> None:
    objective, _ = objective_of(plan)
    batch = batch_of(plan)
    narrow = Objective(objective._network, build_loss("dice_ce", plan), Precision("bf16", CPU))
    expected = narrow._probe(narrow._plain, batch)
    again = narrow._probe(narrow._plain, replace(batch, image=batch.image * _BRIGHTER))
    exact = objective._probe(objective._plain, batch)
    # What another order of the same narrow arithmetic would give lies no further away than exact arithmetic does.
    assert _difference(expected, again, exact) is None
    for wrong in (0.0, 2.0, math.nan):
        gradients = dict(exact.gradients)
        gradients["heads.0.weight"] = wrong * gradients["heads.0.weight"]
        told = _difference(exact, exact, replace(exact, gradients=gradients))
        assert told is not None
        assert "off by" in told
