"""The verb plan: what would be trained, and why; with a budget, a few steps are timed on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from vesal.augment.policy import mirrored_axes
from vesal.data.fingerprint import Fingerprint, fingerprint
from vesal.data.labels import LabelSet
from vesal.errors import out_of_memory
from vesal.layouts.registry import load_dataset
from vesal.nn.zoo import count_trainable
from vesal.parallel import Progress
from vesal.planning.axes import mirror_axes
from vesal.planning.cost import count_operations
from vesal.planning.patch_size import MEMORY_GB, Limits
from vesal.planning.plan import Plan
from vesal.planning.stages import make_staged_plan
from vesal.planning.two_stages import locator_budget_s
from vesal.text import budget_text, duration, one_line, plural, significant
from vesal.train.precision import Precision
from vesal.train.recipe import TrainConfig
from vesal.workflow.training.speed import IN_STEPS, cut_to, time_pass, usable_memory_gb

#: Budgets from this on are planned by measuring; of shorter ones it would take too much.
MEASURED_FROM_S = 240.0

#: Each of at most three measurements begins no pass that would end after this share of the budget, or so many seconds.
_SHARE = 0.006
_MOST_S = {"cpu": 5.0, "cuda": 2.0, "mps": 2.0}

#: A pass of the first measurement would take so many seconds at the rate that is assumed without one.
_SHORT_S = 0.2

#: A plan is made anew if its pass takes so many times as long as planned, or as short.
_FAR_OFF = 1.5

#: A rate under this share of the assumed one is that of a moment when other work holds the device: it is not taken.
_SLOWEST = 1 / 4

#: More memory than the planner's constant counts in budgets from this on: it buys larger patches, which cost steps.
_LARGE_FROM_S = 7200.0

#: A run that should take longer, in seconds, or buys fewer steps, is more than the machine can do.
_LONGEST_S, _FEWEST_STEPS = 86400.0, 100

#: More networks than this gain little, and each makes predictions take longer.
_MOST_NETWORKS = 4

#: Where a pass does not fit the memory, the plan is made anew for this share of it; passes that are tried.
_LESS = 2 / 3
_TRIES = 3


def plan_run(
    data: Path,
    config: TrainConfig,
    *,
    layout: str = "auto",
    device: str = "cpu",
    progress: Progress | None = None,
    measuring: Progress | None = None,
) -> Plan:
    """Read a data set and plan a training on the device."""
    dataset = load_dataset(data, layout).decided(config.labels, config.label_threshold)
    record = fingerprint(dataset, progress=progress)
    return plan_for(record, dataset.labels, config, device, progress=measuring)


def plan_for(
    record: Fingerprint,
    labels: LabelSet,
    config: TrainConfig,
    device: str | torch.device,
    *,
    progress: Progress | None = None,
) -> Plan:
    """The plan of a training; its mirror axes are those that the training mirrors.

    Prediction averages over mirrored copies along these axes and no others.

    A budget from `MEASURED_FROM_S` on is planned with the operations a second that the device turns out to
    sustain, and the plan states how many steps it buys. Runs of steps or epochs, deterministic ones, and those whose
    settings give a rate or say not to measure are planned by constants.
    """
    wanted = _Wanted(record, labels, config, torch.device(device))
    if not config.plan.measure or config.deterministic:
        return _with_length(wanted, wanted.plan())
    budget_s = config.budget_s or 0.0
    if config.plan.rate is None and budget_s >= MEASURED_FROM_S:
        return _measured(wanted, budget_s, progress)
    # No clock is asked, but a GPU's memory must hold the network however long the run.
    memory_gb = wanted.free_memory_gb() if wanted.device.type == "cuda" else None
    return _with_length(wanted, wanted.plan(memory_gb=memory_gb))


@dataclass(frozen=True)
class _Wanted:
    """What is to be planned, and on what device."""

    record: Fingerprint
    labels: LabelSet
    config: TrainConfig
    device: torch.device

    def plan(self, rate: float | None = None, memory_gb: float | None = None) -> Plan:
        config = self.config
        plan = make_staged_plan(
            self.record,
            self.labels,
            config.plan.model_copy(update={"networks": self.networks}),
            budget_s=config.budget_s,
            device=self.device.type,
            rate=rate,
            memory_gb=memory_gb,
        )
        axes = mirrored_axes(plan, config.augment)
        why = "the recipe's augmentation says so"
        passes, least = self._passes(plan, rate) / self.networks, config.augment.mirror_from_passes
        if axes and passes < least:
            axes = ()
            why = f"the run shows each case about {plural(round(passes), 'time')} (from {least:g} on mirroring pays)"
        if axes == plan.mirror_axes:
            return plan
        reasons = plan.reasons
        # Where the plan's own rules forbid all axes, its reason says so.
        if mirror_axes(plan) and (not axes or config.augment.mirror_only_axes is not None):
            what = f"Axes {', '.join(map(str, axes))} alone are mirrored" if axes else "No axis is mirrored"
            reasons = (*reasons[:-1], f"{what}: {why}.")
        return plan.model_copy(update={"mirror_axes": axes, "reasons": reasons})

    def _passes(self, plan: Plan, rate: float | None) -> float:
        """How often the run shows each case, or in a 2D plan each slice; infinite where nothing ends it."""
        config = self.config
        if config.epochs is not None:
            return config.epochs
        if config.steps is not None:
            return self.passes(plan, config.steps)
        rate = rate or config.plan.rate or self.assumed_rate(plan)
        return self.passes(plan, self.steps(plan, _planned_s(plan, rate)))

    def steps(self, plan: Plan, pass_s: float) -> float:
        """That the budget buys where a forward and backward pass takes so long; infinite without a budget."""
        config = self.config
        if config.budget_s is None:
            return math.inf
        coarse_s = locator_budget_s(config.budget_s) if plan.locator is not None else 0.0
        return max(1.0, IN_STEPS * (config.budget_s - coarse_s) / (pass_s * config.accumulation))

    def passes(self, plan: Plan, steps: float) -> float:
        """Over the training cases, or in a 2D plan of volumes over as many slices as they have."""
        return steps * self.config.accumulation * plan.batch / self.items(plan)

    @property
    def networks(self) -> int:
        """How many are trained one after the other."""
        config = self.config
        if config.plan.networks is not None:
            return config.plan.networks
        # On a GPU it was not measured what votes bring beside a longer training.
        if config.network_s is None or config.budget_s is None or self.device.type != "cpu":
            return 1
        return int(min(_MOST_NETWORKS, max(1.0, config.budget_s // config.network_s)))

    def items(self, plan: Plan) -> int:
        """Training cases, or in a 2D plan of volumes their slices: what folds hold out is not among them."""
        cases, config = self.record.cases, self.config
        items = len(cases)
        if plan.slice_axis is not None:
            items = sum(case.crop_shape[plan.slice_axis] for case in cases)
        return items if config.fold is None else max(1, round(items * (1 - 1 / config.folds)))

    def free_memory_gb(self) -> float | None:
        """For network and activations; None for the planner's constant."""
        if self.config.plan.memory_gb is not None:
            return None
        free = usable_memory_gb(self.device)
        budget_s = self.config.budget_s
        short = budget_s is not None and budget_s / self.networks < _LARGE_FROM_S
        return None if short and free is not None and free > MEMORY_GB else free

    def assumed_rate(self, plan: Plan) -> float:
        """Operations a second where nothing is measured."""
        return Limits.of(self.device.type, plan.dimension, None, None).rate

    def time(self, plan: Plan, limit_s: float) -> float | None:
        """Seconds of a pass; None where the network cannot be trained on such patches.

        Raises:
            MemoryError: the device's is not enough.
        """
        try:
            return time_pass(plan, self.config, self.device, limit_s)
        except (RuntimeError, ValueError, MemoryError) as error:
            if out_of_memory(error):
                raise MemoryError from error
            return None


def _measured(wanted: _Wanted, budget_s: float, progress: Progress | None) -> Plan:
    """Time a small piece of the plan that the constants give, plan with its rate, then time the plan itself."""
    tell = progress or (lambda _done, _total: None)
    tell(0, 2)
    limit_s = min(_MOST_S.get(wanted.device.type, 2.0), _SHARE * budget_s)
    memory_gb = wanted.free_memory_gb()
    rough = wanted.plan(memory_gb=memory_gb)
    assumed = wanted.assumed_rate(rough)
    piece = cut_to(rough, _SHORT_S * assumed)
    try:
        piece_s = wanted.time(piece, limit_s)
    except MemoryError:
        piece_s = None
    tell(1, 2)
    if piece_s is None:
        tell(2, 2)
        return _with_reason(rough, "No step could be timed on this device, so it is planned by constants.")
    reasons = []
    found = _sustained(piece, piece_s)
    rate = _believed(found, assumed)
    if found < _SLOWEST * assumed:
        reasons.append(
            f"Only {found / 1e9:.2g} GFLOP/s were measured, as if other work held this device; planned for "
            f"{rate / 1e9:.2g}. If it is always so slow, ask for --set plan.rate={found:.2g}."
        )
    plan = _fitted(wanted, rate, memory_gb, limit_s, reasons)
    tell(2, 2)
    return plan


def _fitted(
    wanted: _Wanted, rate: float, memory_gb: float | None, limit_s: float, reasons: list[str]
) -> Plan:
    """The plan for this rate, made anew where its own pass turns out to take far longer, or shorter."""
    plan, pass_s = _timed(wanted, rate, memory_gb, limit_s, reasons)
    if pass_s is not None and not 1 / _FAR_OFF <= (found := _sustained(plan, pass_s)) / rate <= _FAR_OFF:
        slower = rate / found
        rate = _believed(found, wanted.assumed_rate(plan))
        anew = wanted.plan(rate, memory_gb)
        if (anew.patch, anew.batch, anew.stages) == (plan.patch, plan.batch, plan.stages):
            plan = anew  # for its reasons
        else:
            reasons.append(
                f"Planned anew: a step of the plan before took {slower:.2g} times as long as a small one had promised."
            )
            plan, pass_s = _timed(wanted, rate, memory_gb, limit_s, reasons)
    measured = pass_s is not None
    pass_s = _planned_s(plan, rate) if pass_s is None else pass_s
    return _with_networks(
        wanted, _with_reason(plan, *reasons, _steps_reason(wanted, plan, pass_s, measured=measured))
    )


def _timed(
    wanted: _Wanted, rate: float, memory_gb: float | None, limit_s: float, reasons: list[str]
) -> tuple[Plan, float | None]:
    """The plan, for less memory where a pass does not fit it; seconds of a pass, None if it would take too long."""
    plan = wanted.plan(rate, memory_gb)
    for _ in range(_TRIES):
        # One pass warms up, and one counts.
        if 2 * _planned_s(plan, rate) > limit_s:
            return plan, None
        try:
            return plan, wanted.time(plan, limit_s)
        except MemoryError:
            if wanted.config.plan.memory_gb is not None:
                break
            memory_gb = _LESS * (memory_gb or MEMORY_GB)
            reasons.append(
                f"Planned anew for {memory_gb:.2g} GB: a step of the plan before needed more than there is."
            )
            plan = wanted.plan(rate, memory_gb)
    return plan, None


def _planned_s(plan: Plan, rate: float) -> float:
    """Seconds that a pass takes at the rate that the plan was made for."""
    return IN_STEPS * count_operations(plan) / rate


def _sustained(plan: Plan, pass_s: float) -> float:
    """Operations a second that training sustains: the steps' less the time that goes into no step."""
    return IN_STEPS * count_operations(plan) / pass_s


def _believed(rate: float, assumed: float) -> float:
    """The rate to plan for, as the reasons tell it: the same number, when asked for, gives the same plan."""
    return float(f"{max(rate, _SLOWEST * assumed):.2g}")


def _with_length(wanted: _Wanted, plan: Plan) -> Plan:
    """The plan with what a step and the run should cost where nothing is measured, as far as a length is known."""
    config = wanted.config
    rate = config.plan.rate or wanted.assumed_rate(plan)
    pass_s = _planned_s(plan, rate)
    step_s = pass_s * config.accumulation
    steps = config.steps
    if config.epochs is not None:
        steps = math.ceil(config.epochs * wanted.items(plan) / (plan.batch * config.accumulation))
    if steps is None:
        if config.budget_s is not None:
            plan = _with_reason(plan, _steps_reason(wanted, plan, pass_s, measured=False))
        return _with_networks(wanted, plan)
    gflop = count_operations(plan) * config.accumulation / 1e9
    reason = (
        f"A step costs {significant(gflop)} GFLOP and should take about {step_s:.2g} s here, at "
        f"{rate / 1e9:.3g} GFLOP/s: {duration(max(1.0, steps * step_s))} for {plural(steps, 'step')}."
    )
    if steps * step_s > _LONGEST_S:
        reason += (
            " This machine cannot keep up with that: train on a GPU, give the time that there is (--budget 2h), or "
            "make the network smaller (--set plan.width=0.5, --set plan.patch=[...])."
        )
    return _with_networks(wanted, _with_reason(plan, reason))


def _with_networks(wanted: _Wanted, plan: Plan) -> Plan:
    """The plan with the number of networks that vote."""
    count = wanted.networks
    if count == 1:
        return plan
    why = ""
    if wanted.config.plan.networks is None:
        why = " More time for one alone brought no more where it was measured; --set plan.networks=1 trains one."
    what = f"{count} networks share the run, one after the other, and vote; predictions take {count} times as long."
    return _with_reason(plan.model_copy(update={"networks": count}), what + why)


def _steps_reason(wanted: _Wanted, plan: Plan, pass_s: float, *, measured: bool) -> str:
    budget_s, step_s = wanted.config.budget_s, pass_s * wanted.config.accumulation
    assert budget_s is not None
    steps = wanted.steps(plan, pass_s)
    what = "cases" if plan.slice_axis is None else "slices"
    takes = "takes" if measured else "should take about"
    few = ""
    if steps / wanted.networks < _FEWEST_STEPS:
        few = (
            " So few teach little, and this machine cannot keep up: give more time, train on a GPU, or make the "
            "network smaller (--set plan.width=0.5, --set plan.patch=[...])."
        )
    narrow = Precision.of(wanted.config, wanted.device).dtype
    how = "" if narrow is torch.float32 else f" in {str(narrow).removeprefix('torch.')}"
    return (
        f"A step {takes} {step_s:.2g} s here{how}: about {_about(steps)} steps in {budget_text(budget_s)}, "
        f"{_about(wanted.passes(plan, steps))} passes over {wanted.items(plan):,} training {what}.{few}"
    )


def _about(number: float) -> str:
    """Two digits of it: 2345.6 is 2,300."""
    return f"{float(f'{number:.2g}'):,.{0 if number >= 1 else 2}f}"


def _with_reason(plan: Plan, *reasons: str) -> Plan:
    return plan.model_copy(update={"reasons": (*plan.reasons, *reasons)})


def plan_text(plan: Plan, network: str = "unet") -> str:
    """The network, then the plan's reasons, which hold its numbers, then its classes."""
    return "\n".join(
        [
            network_line(plan, network),
            *(f"  {reason}" for reason in plan.reasons),
            f"Classes: {', '.join(map(one_line, plan.labels.classes))}",
        ]
    )


def network_line(plan: Plan, network: str) -> str:
    """Name, dimension and trainable parameters."""
    return f"Network: {network}, {plan.dimension}D, {count_trainable(network, plan):,} parameters"
