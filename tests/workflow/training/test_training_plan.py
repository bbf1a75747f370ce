"""Planning with a few timed steps: when they are timed, and what becomes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from fingerprints import HEART, HIPPOCAMPUS, LABELS, PHOTOS, SHORT_AXIS

from vesal.augment.config import AugmentConfig
from vesal.data.fingerprint import Fingerprint
from vesal.data.labels import LabelSet
from vesal.planning import patch_size
from vesal.planning.cost import count_operations
from vesal.planning.plan import Plan
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings
from vesal.train.recipe import TrainConfig
from vesal.workflow.training import training_plan
from vesal.workflow.training.speed import IN_STEPS
from vesal.workflow.training.training_plan import plan_for, plan_text


@dataclass
class Device:
    """Stands in for the clock: passes take the time of a rate, which may depend on the plan."""

    rate: float
    rate_of_plan: float | None = None
    memory_bytes: float = math.inf
    asked: list[Plan] = field(default_factory=list)

    def time_pass(self, plan: Plan, config: TrainConfig, device: torch.device, limit_s: float) -> float:
        self.asked.append(plan)
        if plan.batch * math.prod(plan.patch) > self.memory_bytes:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        rate = self.rate if len(self.asked) == 1 else self.rate_of_plan or self.rate
        return IN_STEPS * count_operations(plan) / rate


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_size, "cpu_count", lambda: 2)
    monkeypatch.setattr(training_plan, "usable_memory_gb", lambda device: None)


def put(monkeypatch: pytest.MonkeyPatch, device: Device) -> Device:
    monkeypatch.setattr(training_plan, "time_pass", device.time_pass)
    return device


def reason(plan: Plan, words: str) -> str:
    return next(sentence for sentence in plan.reasons if words in sentence)


def test_a_budget_is_planned_with_what_the_device_sustains(monkeypatch: pytest.MonkeyPatch) -> None:
    device = put(monkeypatch, Device(200e9))
    plan = plan_for(HEART, LABELS, TrainConfig(budget_s=1200), "cpu")
    expected = make_plan(HEART, LABELS, budget_s=1200, rate=200e9)
    assert plan.model_copy(update={"reasons": expected.reasons}) == expected
    assert plan.patch != make_plan(HEART, LABELS, budget_s=1200).patch
    assert "at 200 GFLOP/s (cpu, measured)" in reason(plan, "A step may cost")
    assert len(device.asked) == 2
    assert count_operations(device.asked[0]) < count_operations(device.asked[1])
    assert plan.reasons[-1] == reason(plan, "A step takes")


def test_the_told_rate_gives_the_same_plan_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, Device(123.456e9))
    plan = plan_for(HEART, LABELS, TrainConfig(budget_s=1200), "cpu")
    assert "at 120 GFLOP/s" in reason(plan, "A step may cost")
    put(monkeypatch, Device(math.nan))
    asked = plan_for(HEART, LABELS, TrainConfig(budget_s=1200, plan=PlanSettings(rate=120e9)), "cpu")
    assert plan.model_copy(update={"reasons": asked.reasons}) == asked


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(steps=100),
        TrainConfig(epochs=3),
        TrainConfig(steps=100, deterministic=True),
        TrainConfig(steps=100, plan=PlanSettings(budget_s=1200)),
        TrainConfig(budget_s=10),
        TrainConfig(budget_s=165),
        TrainConfig(budget_s=1200, plan=PlanSettings(rate=40e9)),
        TrainConfig(budget_s=1200, plan=PlanSettings(measure=False)),
    ],
)
def test_short_and_reproducible_runs_are_not_measured(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = put(monkeypatch, Device(math.nan))
    plan = plan_for(HEART, LABELS, config, "cpu")
    constant = make_plan(HEART, LABELS, config.plan, budget_s=config.budget_s)
    assert plan.model_copy(update={"reasons": plan.reasons[:-1]}) == constant
    assert "should take about" in plan.reasons[-1]
    assert not device.asked


def test_a_recipe_of_epochs_says_what_its_own_step_costs_and_when_the_machine_cannot_keep_up() -> None:
    asked = PlanSettings(patch=(64, 64, 64), batch=1, features=(8, 16, 32))
    for epochs, fits in ((2, True), (30_000_000, False)):
        config = TrainConfig(epochs=epochs, accumulation=2, plan=asked)
        plan = plan_for(HEART, LABELS, config, "cpu")
        gflop = 2 * count_operations(plan) / 1e9
        assert f"A step costs {gflop:.3g} GFLOP" in plan.reasons[-1]
        assert f"take about {0.9 * gflop / 40:.2g} s here, at 40 GFLOP/s" in plan.reasons[-1]
        assert ("cannot keep up" in plan.reasons[-1]) is not fits
    assert plan.reasons[-1].count("GFLOP/s") == 1
    # Each number once: no other patch, no other cost, no limits that decided nothing.
    text = plan_text(plan)
    assert text.count("64 x 64 x 64") == 1
    assert text.count("8 16 32") == 1
    assert "none was given" not in text
    slow = plan_for(HEART, LABELS, TrainConfig(budget_s=10, plan=PlanSettings(patch=(128, 128, 128))), "cpu")
    assert "cannot keep up" in slow.reasons[-1]


@pytest.mark.parametrize(("cases", "fold", "told"), [(12, None, "12 training cases"), (12, 0, "10 training")])
def test_the_plan_tells_how_many_steps_the_budget_buys(
    cases: int, fold: int | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, Device(40e9))
    plan = plan_for(HEART, LABELS, TrainConfig(budget_s=1200, fold=fold), "cpu")
    step_s = 0.9 * count_operations(plan) / 40e9
    steps = 0.9 * 1200 / step_s
    sentence = reason(plan, "A step takes")
    assert f"A step takes {step_s:.2g} s here" in sentence
    assert f"about {float(f'{steps:.2g}'):,.0f} steps in 20 min" in sentence
    assert told in sentence


def test_passes_of_a_2d_plan_are_over_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, Device(80e9))
    plan = plan_for(SHORT_AXIS, LABELS, TrainConfig(budget_s=1200, accumulation=2), "cpu")
    assert "passes over 800 training slices" in reason(plan, "A step takes")


@pytest.mark.parametrize(("own", "patch"), [(20e9, "smaller"), (160e9, "larger")])
def test_a_plan_whose_own_step_is_far_off_is_made_once_more(
    own: float, patch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = put(monkeypatch, Device(60e9, rate_of_plan=own))
    plan = plan_for(HEART, LABELS, TrainConfig(budget_s=1200), "cpu")
    first, second = device.asked[1:]
    assert (math.prod(second.patch) < math.prod(first.patch)) == (patch == "smaller")
    assert plan.patch == make_plan(HEART, LABELS, budget_s=1200, rate=own).patch
    assert f"{60e9 / own:.2g} times as long" in reason(plan, "Planned anew")


def test_a_step_that_is_a_little_off_is_told_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    device = put(monkeypatch, Device(60e9, rate_of_plan=45e9))
    plan = plan_for(HEART, LABELS, TrainConfig(budget_s=1200), "cpu")
    assert plan.patch == make_plan(HEART, LABELS, budget_s=1200, rate=60e9).patch
    assert len(device.asked) == 2
    assert not any("anew" in sentence for sentence in plan.reasons)
    assert f"takes {0.9 * count_operations(plan) / 45e9:.2g} s" in reason(plan, "A step takes")


def test_a_plan_that_no_rate_changes_is_not_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    device = put(monkeypatch, Device(60e9, rate_of_plan=35e9))
    plan = plan_for(HIPPOCAMPUS, LABELS, TrainConfig(budget_s=1200), "cpu")
    assert len(device.asked) == 2
    assert not any("anew" in sentence for sentence in plan.reasons)
    assert "at 35 GFLOP/s" in reason(plan, "A step may cost")


def test_a_step_that_would_take_too_long_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    device = put(monkeypatch, Device(40e9))
    plan = plan_for(HEART, LABELS, TrainConfig(budget_s=86400), "cpu")
    assert 0.9 * count_operations(plan) / 40e9 > 5
    assert len(device.asked) == 1
    assert reason(plan, "A step should take about") == plan.reasons[-1]


def test_a_step_that_does_not_fit_the_memory_is_planned_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    too_large = make_plan(HEART, LABELS, device="cuda").patch
    put(monkeypatch, Device(20e12, memory_bytes=2 * math.prod(too_large) - 1))
    plan = plan_for(HEART, LABELS, TrainConfig(budget_s=1200), "cuda")
    assert plan.patch == make_plan(HEART, LABELS, device="cuda", memory_gb=patch_size.MEMORY_GB * 2 / 3).patch
    assert "for 5.3 GB" in reason(plan, "Planned anew")
    asked = TrainConfig(budget_s=1200, plan=PlanSettings(memory_gb=8))
    assert plan_for(HEART, LABELS, asked, "cuda").patch == too_large


def test_a_moment_when_other_work_holds_the_device_does_not_spoil_the_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(monkeypatch, Device(0.2e9))
    plan = plan_for(HEART, LABELS, TrainConfig(budget_s=1200), "cpu")
    assert plan.patch == make_plan(HEART, LABELS, budget_s=1200, rate=40e9 / 4).patch
    assert "--set plan.rate=2e+08" in reason(plan, "Only 0.2 GFLOP/s")


@pytest.mark.parametrize(
    ("length", "planned_gb"), [({"budget_s": 600}, 8), ({"budget_s": 7200}, 24), ({"steps": 1000}, 24)]
)
def test_the_memory_of_a_large_gpu_is_used_where_there_is_time(
    length: dict, planned_gb: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, Device(100e12))
    monkeypatch.setattr(training_plan, "usable_memory_gb", lambda device: 24.0)
    plan = plan_for(HEART, LABELS, TrainConfig(**length), "cuda")
    assert f"{planned_gb} GB of memory" in reason(plan, "of memory")
    assert ("of what is free" in reason(plan, "of memory")) == (planned_gb == 24)
    asked = TrainConfig(plan=PlanSettings(memory_gb=6), **length)
    assert "6 GB of memory" in reason(plan_for(HEART, LABELS, asked, "cuda"), "of memory")


@pytest.mark.parametrize("length", [{"budget_s": 600}, {"steps": 1000}])
def test_a_small_gpu_is_not_planned_beyond_its_memory(length: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, Device(5e12))
    monkeypatch.setattr(training_plan, "usable_memory_gb", lambda device: 4.5)
    plan = plan_for(HEART, LABELS, TrainConfig(**length), "cuda")
    assert "4.5 GB of memory (of what is free)" in reason(plan, "of memory")
    constant = plan_for(HEART, LABELS, TrainConfig(steps=9, deterministic=True), "cuda")
    assert "8 GB of memory" in reason(constant, "of memory")


def test_what_cannot_be_timed_is_planned_by_constants_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> float:
        raise ValueError("Expected more than 1 value per channel when training")

    monkeypatch.setattr(training_plan, "time_pass", fails)
    plan = plan_for(HEART, LABELS, TrainConfig(budget_s=1200), "cpu")
    assert plan.patch == make_plan(HEART, LABELS, budget_s=1200).patch
    assert "No step could be timed" in plan.reasons[-1]


# --- mirroring -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "length", "mirrored"),
    [
        # 200 cases, 2 a step: 100 steps are a pass.
        (HIPPOCAMPUS, {"steps": 900}, False),
        (HIPPOCAMPUS, {"steps": 1000}, True),
        (HIPPOCAMPUS, {"steps": 500, "accumulation": 2}, True),
        (HIPPOCAMPUS, {"epochs": 9}, False),
        (HIPPOCAMPUS, {"epochs": 10}, True),
        (HIPPOCAMPUS, {"budget_s": 60.0}, False),
        (HIPPOCAMPUS, {"budget_s": 6e5, "plan": PlanSettings(rate=4e10)}, True),
    ],
)
def test_short_runs_do_not_mirror_where_the_recipe_says_so(
    record: Fingerprint, length: dict, mirrored: bool
) -> None:
    config = TrainConfig(augment=AugmentConfig(mirror_from_passes=10), **length)
    settings = PlanSettings(batch=2) if "plan" not in length else PlanSettings(batch=2, rate=4e10)
    plan = plan_for(record, LABELS, config.model_copy(update={"plan": settings}), "cpu")
    assert plan.mirror_axes == ((0, 1, 2) if mirrored else ())
    assert any("shows each case about" in reason for reason in plan.reasons) is not mirrored


def test_pictures_with_left_and_right_are_not_mirrored_and_the_reason_is_told() -> None:
    labels = LabelSet.from_values({"lung_left": 1, "lung_right": 2})
    for augment in (AugmentConfig(), AugmentConfig(mirror_only_axes=(0,))):
        plan = plan_for(PHOTOS, labels, TrainConfig(augment=augment, steps=100), "cpu")
        assert plan.mirror_axes == ()
        told = [reason for reason in plan.reasons if "mirror" in reason]
        assert len(told) == 1
        assert "labels name left or right" in told[0]
    plain = plan_for(PHOTOS, LABELS, TrainConfig(augment=AugmentConfig(mirror_probability=0), steps=9), "cpu")
    assert "No axis is mirrored: the recipe's augmentation says so." in plain.reasons


def test_a_measured_rate_and_the_same_one_asked_for_mirror_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, Device(400e9))
    augment = AugmentConfig(mirror_from_passes=100)
    measured = plan_for(HEART, LABELS, TrainConfig(budget_s=1200, augment=augment), "cpu")
    settings = PlanSettings(rate=400e9)
    asked = plan_for(HEART, LABELS, TrainConfig(budget_s=1200, augment=augment, plan=settings), "cpu")
    assert measured.mirror_axes == asked.mirror_axes == (0, 1, 2)


def test_passes_over_slices_are_counted_by_slices() -> None:
    config = TrainConfig(augment=AugmentConfig(mirror_from_passes=10), plan=PlanSettings(batch=8), steps=900)
    assert plan_for(SHORT_AXIS, LABELS, config, "cpu").mirror_axes == ()
    longer = config.model_copy(update={"steps": 1000})
    assert plan_for(SHORT_AXIS, LABELS, longer, "cpu").mirror_axes == (0, 1)


@pytest.mark.parametrize(
    ("budget_s", "networks"), [(60.0, 1), (1200.0, 1), (2399.0, 1), (2400.0, 2), (3600.0, 3), (6e5, 4)]
)
def test_a_longer_run_is_shared_by_more_networks_as_the_recipe_says(budget_s: float, networks: int) -> None:
    settings = PlanSettings(rate=4e10)
    config = TrainConfig(budget_s=budget_s, network_s=1200.0, plan=settings)
    plan = plan_for(HIPPOCAMPUS, LABELS, config, "cpu")
    assert plan.networks == networks
    assert any("networks share the run" in of for of in plan.reasons) is (networks > 1)
    asked = config.model_copy(update={"plan": settings.model_copy(update={"networks": 2})})
    assert plan_for(HIPPOCAMPUS, LABELS, asked, "cpu").networks == 2
    assert plan_for(HIPPOCAMPUS, LABELS, config.model_copy(update={"network_s": None}), "cpu").networks == 1
    assert plan_for(HIPPOCAMPUS, LABELS, config, "mps").networks == 1


def test_each_of_several_networks_is_planned_for_its_part_of_the_time() -> None:
    config = TrainConfig(budget_s=1200.0, network_s=1200.0, plan=PlanSettings(rate=4e10))
    one = plan_for(HIPPOCAMPUS, LABELS, config, "cpu")
    three = plan_for(HIPPOCAMPUS, LABELS, config.model_copy(update={"budget_s": 3600.0}), "cpu")
    assert three.networks == 3
    assert (three.stages, three.patch, three.batch) == (one.stages, one.patch, one.batch)
