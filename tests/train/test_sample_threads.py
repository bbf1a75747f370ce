"""The samples of a batch on threads: the same gradients, in any order of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vesal.nn.losses.losses import build_loss
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan
from vesal.train.batches import Batch
from vesal.train.objective import Objective
from vesal.train.precision import Precision
from vesal.train.recipe import TrainConfig
from vesal.train.sample_threads import SampleThreads

CPU = torch.device("cpu")
PLAIN = Precision("32", CPU)


@pytest.fixture
def plan(tiny_plan: Path) -> Plan:
    return Plan.load(tiny_plan).model_copy(update={"batch": 4})


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def batch_of(plan: Plan) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn((plan.batch, plan.inputs, *plan.patch), generator=generator)
    label = torch.randint(0, 3, (plan.batch, *plan.patch), generator=generator, dtype=torch.uint8)
    return Batch(image, label, None)


def of_network(network: nn.Module, plan: Plan, threads: SampleThreads | None) -> tuple[float, list[Tensor]]:
    """Loss and gradients of one batch, of half the loss and of half of it again."""
    objective = Objective(network.train(), build_loss("dice_ce", plan), PLAIN, threads)
    network.zero_grad()
    batch = batch_of(plan)
    value = sum(objective.gradients(batch, share=0.5).item() for _ in range(2))
    return value, [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("name", ["unet", "residual-unet", "attention-unet"])
@pytest.mark.parametrize("parts", [2, 3])
def test_the_gradients_are_those_of_the_whole_batch(plan: Plan, name: str, parts: int) -> None:
    torch.manual_seed(0)
    network = build_network(name, plan)
    loss, gradients = of_network(network, plan, None)
    found, parted = of_network(network, plan, SampleThreads(network, PLAIN, parts))
    assert found == pytest.approx(loss, rel=1e-5)
    assert len(parted) == len(gradients)
    largest = max(float(of.norm()) for of in gradients)
    for one, other in zip(gradients, parted, strict=True):
        assert float((one - other).norm()) < 1e-3 * max(float(one.norm()), 0.01 * largest)


class Late(nn.Module):
    """Does what is within, in some threads later than in others."""

    def __init__(self, inner: nn.Module, late: int) -> None:
        super().__init__()
        self.inner = inner
        self.late = late
        self.names: list[str] = []

    def forward(self, x: Tensor) -> Tensor:
        if int(x[0, 0].sum() * 1000) % 2 == self.late:
            time.sleep(0.05)
        self.names.append(threading.current_thread().name)
        return self.inner(x)


def test_which_sample_is_done_first_changes_no_bit(plan: Plan) -> None:
    torch.manual_seed(0)
    network = build_network("unet", plan)
    found = []
    for late in (0, 1):
        slowed = Late(network, late)
        found.append(of_network(slowed, plan, SampleThreads(slowed, PLAIN, 2))[1])
        assert all(name.startswith("samples") for name in slowed.names)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.usefixtures("two_threads")
def test_it_is_for_samples_that_do_not_depend_on_each_other(plan: Plan) -> None:
    def fits(
        module: nn.Module, batch: int = 4, dimension: int = 3, precision: str = "32", **settings
    ) -> bool:
        config = TrainConfig(steps=1, **settings)
        return SampleThreads.fitting(module, config, Precision(precision, CPU), batch, dimension) is not None

    network = build_network("unet", plan)
    assert fits(network)
    assert not fits(network, gradient_checkpointing=True)
    assert not fits(network, network="monai-dynunet")
    assert not fits(nn.Sequential(network, nn.BatchNorm3d(3)))
    assert not fits(nn.Sequential(network, nn.Dropout3d(0.2)))
    assert fits(nn.Sequential(network, nn.Dropout3d(0.0)))
    assert not fits(network, batch=2), "single volumes in float32 go another way"
    assert fits(network, batch=2, dimension=2)
    assert fits(network, batch=2, precision="bf16")
    assert not fits(network, batch=1, precision="bf16")
    torch.set_num_threads(1)
    assert not fits(network)


@pytest.mark.usefixtures("two_threads")
def test_the_caller_keeps_its_own_number_of_threads(plan: Plan) -> None:
    network = build_network("unet", plan)
    of_network(network, plan, SampleThreads(network, PLAIN, 2))
    assert torch.get_num_threads() == 2
