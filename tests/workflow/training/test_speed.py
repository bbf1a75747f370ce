"""A few timed steps: what counts of them, and which plans and memory they are made for."""

from __future__ import annotations

import pytest
import torch
from fingerprints import HEART, HIPPOCAMPUS, LABELS, SHORT_AXIS

from vesal.data.fingerprint import Fingerprint
from vesal.planning.cost import count_operations
from vesal.planning.plan import Plan
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings
from vesal.train.recipe import TrainConfig
from vesal.workflow.training import speed
from vesal.workflow.training.speed import cut_to, time_pass, usable_memory_gb

CPU = torch.device("cpu")


def small(**changes: object) -> Plan:
    asked = PlanSettings(features=(4, 8), patch=(16, 16, 16), batch=2)
    return make_plan(HIPPOCAMPUS, LABELS, asked).model_copy(update=changes)


def test_a_timed_pass_leaves_the_random_state_as_it_was() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    pass_s = time_pass(small(), TrainConfig(), CPU, 1.0)
    assert torch.equal(torch.get_rng_state(), before)
    assert 0 < pass_s < 10


def test_only_the_warm_passes_count_and_their_median(monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([9.0, 1.0, 5.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(speed, "_trial", lambda *_: lambda number: next(took))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert time_pass(small(), TrainConfig(), CPU, 100.0) == 3.0


@pytest.mark.parametrize(("slowest", "pass_s"), [(1.2, 1.0), (6.0, 0.5)])
def test_where_threads_hold_each_other_up_fewer_are_tried(
    slowest: float, pass_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    shared = iter([9.0, 1.0, 1.0, slowest, 1.0, 1.0])
    monkeypatch.setattr(
        speed, "_trial", lambda *_: lambda number: 0.5 if torch.get_num_threads() == 1 else next(shared)
    )
    torch.set_num_threads(2)
    try:
        assert time_pass(small(), TrainConfig(), CPU, 100.0) == pass_s
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("each_s", "runs"), [(9.0, 1), (0.9, 2), (0.3, 3), (0.1, 6)])
def test_no_pass_is_begun_that_would_end_too_late(
    each_s: float, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def run(number: int) -> float:
        now.append(now[-1] + each_s)
        return each_s

    monkeypatch.setattr(speed, "_trial", lambda *_: run)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[-1])
    assert time_pass(small(), TrainConfig(), CPU, 1.0) == each_s
    assert len(now) - 1 == runs


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "ema": None, "clip": None},
        {"optimizer": "muon"},
        {"network": "residual-unet", "gradient_checkpointing": True},
        {"loss": "boundary"},
    ],
)
def test_every_kind_of_training_can_be_timed(changes: dict) -> None:
    assert time_pass(small(), TrainConfig(**changes), CPU, 0.01) > 0


def test_regions_and_slices_can_be_timed() -> None:
    regions = make_plan(SHORT_AXIS, LABELS, PlanSettings(sigmoid=True, features=(4, 8), patch=(32, 32)))
    assert time_pass(regions, TrainConfig(), CPU, 0.01) > 0


@pytest.mark.parametrize("data", [HEART, HIPPOCAMPUS, SHORT_AXIS])
@pytest.mark.parametrize("operations", [1e9, 8e9, 1e15])
def test_a_plan_is_cut_to_what_a_short_pass_may_cost(data: Fingerprint, operations: float) -> None:
    plan = make_plan(data, LABELS, budget_s=3600)
    cut = cut_to(plan, operations)
    assert (count_operations(cut) <= operations) or cut.patch == tuple(2 * step for step in plan.total_stride)
    Plan.model_validate(cut.model_dump())
    assert (cut == plan) == (count_operations(plan) <= operations)


@pytest.mark.parametrize(
    ("free_gb", "kind", "usable"),
    [
        (79.0, "cuda", 24.0),
        (15.3, "cuda", 11.0),
        (6.0, "cuda", 4.5),
        (0.1, "cuda", 0.5),
        (64.0, "cpu", None),
        (4.0, "cpu", 3.0),
        (64.0, "mps", None),
    ],
)
def test_three_quarters_of_the_free_memory_are_planned_for(
    free_gb: float, kind: str, usable: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free_gb * 1e9), 1 << 40))
    monkeypatch.setattr(speed, "available_memory", lambda: int(free_gb * 1e9))
    assert usable_memory_gb(torch.device(kind)) == usable
