"""What time, memory and cores make of a plan's patch, spacing and batch."""

from __future__ import annotations

import math

import pytest
from fingerprints import ABDOMEN, HEART, HIPPOCAMPUS, KINDS, LABELS, prints

from vesal.planning import patch_size
from vesal.planning.cost import Network, count_operations
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings

MINUTES = 60.0


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_size, "cpu_count", lambda: 2)


@pytest.mark.parametrize("cores", [1, 4, 8])
def test_other_numbers_of_cores_keep_small_volumes_whole(cores: int, monkeypatch) -> None:
    monkeypatch.setattr(patch_size, "cpu_count", lambda: cores)
    plan = make_plan(HIPPOCAMPUS, LABELS, budget_s=20 * MINUTES)
    assert (plan.patch, plan.batch, plan.spacing_mm) == ((40, 56, 40), 2, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("budget", [None, 60.0, 1200.0, 86400.0])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_data_set_gets_a_plan(kind: str, budget: float | None, device: str) -> None:
    data = KINDS[kind]
    plan = make_plan(data, LABELS, budget_s=budget, device=device)
    assert plan.channels == data.channels
    assert len(plan.mirror_axes) == plan.dimension
    assert plan.batch >= 2
    assert len(plan.reasons) >= 6
    assert all(reason.endswith(".") for reason in plan.reasons)
    assert plan == make_plan(data, LABELS, budget_s=budget, device=device)
    floor = {2: 64, 3: 32}[plan.dimension]  # A patch may not shrink further, whatever the time.
    limits = patch_size.Limits.of(device, plan.dimension, budget, None)
    if min(plan.patch) > floor:
        assert count_operations(plan) <= 2 * limits.operations
    network = Network(plan.stages, len(plan.channels), LABELS.outputs, plan.heads, plan.patch)
    assert network.step_bytes(plan.batch, limits.bytes_per_number) <= 8e9


def test_what_cannot_be_trained_finely_in_time_is_coarsened_until_patches_hold_a_quarter() -> None:
    plan = make_plan(HEART, LABELS, budget_s=20 * MINUTES)
    assert all(new > 2 * old for new, old in zip(plan.spacing_mm, (1.25, 1.25, 1.37), strict=True))
    assert math.prod(plan.patch) / math.prod(plan.median_shape) >= 0.25
    assert plan.image_order == 1
    assert any("coarsened" in reason for reason in plan.reasons)
    longer = make_plan(HEART, LABELS, budget_s=600 * MINUTES)
    assert longer.spacing_mm < plan.spacing_mm
    assert math.prod(longer.patch) > math.prod(plan.patch)


def test_coarsening_ends_before_the_smallest_class_is_lost() -> None:
    small = prints((320, 320, 120), (1.0, 1.0, 1.0), voxels={"organ": 10**6, "tumour": 200})
    plan = make_plan(small, LABELS, budget_s=20 * MINUTES)
    assert 1.0 < plan.spacing_mm[0] < 1.5
    assert 200 / math.prod(plan.spacing_mm) >= 64
    assert any("smallest class" in reason for reason in plan.reasons)


def test_more_memory_gives_larger_patches() -> None:
    small = make_plan(ABDOMEN, LABELS, PlanSettings(memory_gb=4), device="cuda")
    large = make_plan(ABDOMEN, LABELS, PlanSettings(memory_gb=24), device="cuda")
    assert math.prod(small.patch) < math.prod(large.patch)


def test_a_cpu_without_a_budget_is_planned_for_an_hour() -> None:
    assert make_plan(HEART, LABELS).spacing_mm == make_plan(HEART, LABELS, budget_s=3600).spacing_mm
    assert any("none was given" in reason for reason in make_plan(HEART, LABELS).reasons)


def test_a_measured_rate_takes_the_place_of_the_constant_and_an_asked_one_of_both() -> None:
    constant = make_plan(HEART, LABELS, budget_s=20 * MINUTES)
    assert make_plan(HEART, LABELS, budget_s=20 * MINUTES, rate=2 * 20e9) == constant.model_copy(
        update={"reasons": tuple(reason.replace("not measured", "measured") for reason in constant.reasons)}
    )
    faster = make_plan(HEART, LABELS, budget_s=20 * MINUTES, rate=400e9)
    assert math.prod(faster.patch) > math.prod(constant.patch)
    assert any("at 400 GFLOP/s (cpu, measured)" in reason for reason in faster.reasons)
    asked = make_plan(HEART, LABELS, PlanSettings(rate=40e9), budget_s=20 * MINUTES, rate=400e9)
    assert asked.patch == constant.patch
    assert any("at 40 GFLOP/s (cpu, as asked)" in reason for reason in asked.reasons)


def test_memory_that_was_found_free_is_used_unless_a_person_says_otherwise() -> None:
    small = make_plan(ABDOMEN, LABELS, device="cuda", memory_gb=4)
    assert small.patch == make_plan(ABDOMEN, LABELS, PlanSettings(memory_gb=4), device="cuda").patch
    assert any("4 GB of memory" in reason for reason in small.reasons)
    asked = make_plan(ABDOMEN, LABELS, PlanSettings(memory_gb=8), device="cuda", memory_gb=4)
    assert asked == make_plan(ABDOMEN, LABELS, device="cuda")
