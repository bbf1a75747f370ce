"""Overfit: can this data, this plan and this recipe be learned at all? A few cases, trained and validated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pydantic import computed_field

from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import CaseRecord, Fingerprint, fingerprint
from vesal.errors import DataError
from vesal.files import read_json_lines
from vesal.layouts.registry import load_dataset
from vesal.nn.zoo import resolve_device
from vesal.parallel import StageProgress, no_progress
from vesal.planning.plan import Plan
from vesal.preprocessing.prepare import prepare_dataset
from vesal.record import Record
from vesal.report.figures.validation_grid import draw_example
from vesal.run.folder import Run
from vesal.run_files import METRICS, PREPARED
from vesal.text import number, times
from vesal.train.recipe import LENGTHS, load_recipe, recipe_overrides
from vesal.train.state import TrainJob
from vesal.train.trainer import check_names, check_plan, train
from vesal.workflow.requests.train_request import OverfitRequest
from vesal.workflow.training.training_plan import network_line, plan_for
from vesal.workflow.training.training_session import Interrupted, tell_left_out

#: Dice that an overfitted case reaches.
TARGET = 0.95

#: Length for which nothing was chosen.
BUDGET_S = 5 * 60.0

#: To overfit, every patch stays as it is, with much foreground, and no rule ends the training early.
_SETTINGS: dict[str, Any] = {
    "augment.enabled": False,
    "foreground_share": 0.67,
    "early_stopping": None,
    "validate_epochs": None,
    "validation_time": 0.25,
    "monitor": "val_dice",
}

#: So many times the wanted cases are looked at in a round, to choose those that show all classes.
_LOOKED_AT = 4

#: A loss that has lost less than this share of its first value has not been learned from.
_FALLEN = 0.05
_FEW_STEPS = 200


class OverfitResult(Record):
    """What came of it.

    Attributes:
        dice: mean of the best validation, None where nothing could be measured.
        per_class: Dice of each class there.
        target: the Dice that was wanted.
        advice: what is probably wrong, one sentence each; empty where the target was reached.
    """

    cases: tuple[str, ...]
    steps: int
    dice: float | None
    per_class: dict[str, float | None]
    target: float
    advice: tuple[str, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reached(self) -> bool:
        """Whether the cases were learned."""
        return self.dice is not None and self.dice >= self.target

    def text(self) -> str:
        """The verdict in a few lines."""
        classes = ", ".join(f"{name} {number(value)}" for name, value in self.per_class.items())
        verdict = "Learned" if self.reached else "Not learned"
        first = (
            f"{verdict}: Dice {number(self.dice)} (wanted {self.target:g}) on {', '.join(self.cases)} "
            f"after {self.steps} steps; {classes}."
        )
        return "\n".join([first, *(f"  {sentence}" for sentence in self.advice)])


def overfit_run(
    request: OverfitRequest, stage: StageProgress = no_progress, tell: Callable[[str], None] = print
) -> OverfitResult:
    """Train on a few cases without augmentation and validate on the same, until Dice 0.95 or the time is up.

    Raises:
        UsageError: contradictory options, or a folder that is in use.
        DataError: no case can be trained on.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    overrides = recipe_overrides(request.settings, budget=request.budget, steps=request.steps)
    overrides |= request.overrides
    if not any(name in overrides for name in LENGTHS):
        overrides["budget_s"] = BUDGET_S
    run = Run(request.out)
    run.begin(resume=False, resumable=False)
    device = resolve_device(request.device)
    config = load_recipe(request.recipe, _SETTINGS | {"target": TARGET} | overrides)
    # What is learned by heart is one network's to show, in one stage.
    config = config.model_copy(
        update={"plan": config.plan.model_copy(update={"locate": False, "networks": 1})}
    )
    check_names(config)
    dataset = load_dataset(request.data, request.layout).decided(config.labels, config.label_threshold)
    record, cases, held = _choose(dataset, request.cases, stage)
    plan = plan_for(record, dataset.labels, config, device, progress=stage("Measuring"))
    check_plan(config, plan)
    config.save(run.config_file)
    plan.save(run.plan_file)
    tell(network_line(plan, config.network))
    for reason in plan.reasons:
        tell(f"  {reason}")
    prepared, failed = prepare_dataset(cases, plan, run.folder / PREPARED, progress=stage("Preparing"))
    tell_left_out(request.data, prepared, failed, tell)
    job = TrainJob(plan, config, prepared, prepared, run.fold("overfit"), device, "overfit", {}, draw_example)
    position = train(job, quiet=request.quiet)
    if not position.finished:
        raise Interrupted(f"Stopped after step {position.step}; begin again with another folder.")
    rows = read_json_lines(job.folder / METRICS)
    measured = [row for row in rows if row.get("val_dice") is not None]
    best = max(measured, key=lambda row: float(row["val_dice"]), default={})
    result = OverfitResult(
        cases=tuple(case.id for case in prepared),
        steps=position.step,
        dice=best.get("val_dice"),
        per_class=best.get("val_dice_per_class", {}),
        target=config.target or TARGET,
    )
    if result.reached:
        return result
    return result.model_copy(update={"advice": tuple(_advice(rows, result.per_class, record, plan, held))})


def _choose(
    dataset: Dataset, count: int, stage: StageProgress
) -> tuple[Fingerprint, list[Case], frozenset[str]]:
    """The cases that hold most of the smallest class, of those that show most classes; and all classes that were seen.

    Cases are read in rounds that are spread over the data set, until so many show every class: of slices most are
    empty, and the first ones nearly always.
    """
    rounds = _rounds(dataset.cases, count * _LOOKED_AT)
    progress = stage("Reading")
    found: list[CaseRecord] = []
    for done, cases in enumerate(rounds, start=1):
        record = fingerprint(dataset.model_copy(update={"cases": tuple(cases)}))
        found += record.cases
        if progress is not None:
            progress(done, len(rounds))
        if sum(all(case.voxels.get(name) for name in dataset.labels.names) for case in found) >= count:
            break
    if progress is not None:
        progress(len(rounds), len(rounds))
    if not found:
        raise DataError(
            f"No annotated case of {dataset.root} can be read; vesal inspect {dataset.root} says why."
        )
    names = {case.id for case in sorted(found, key=_rank(found))[:count]}
    by_id = {case.id: case for case in found}
    chosen = [case for case in dataset.cases if case.id in names]
    kept = tuple(by_id[case.id] for case in chosen)
    held = frozenset(name for case in found for name, voxels in case.voxels.items() if voxels)
    return record.model_copy(update={"cases": kept, "failures": ()}), chosen, held


def _rounds(cases: Sequence[Case], size: int) -> list[Sequence[Case]]:
    """All cases in rounds of about this size, each spread evenly over the data set."""
    count = max(1, -(-len(cases) // size))
    return [cases[start::count] for start in range(count)]


def _rank(found: Sequence[CaseRecord]) -> Callable[[CaseRecord], tuple[int, int, int]]:
    """The order in which cases are taken: those with most classes, then with most of the smallest, then of all."""
    usual: dict[str, float] = {}
    for name in {name for case in found for name in case.voxels}:
        if sizes := [case.voxels[name] for case in found if case.voxels.get(name)]:
            usual[name] = float(np.median(sizes))
    smallest = min(usual, key=lambda name: usual[name], default="")

    def rank(case: CaseRecord) -> tuple[int, int, int]:
        classes = sum(voxels > 0 for voxels in case.voxels.values())
        return -classes, -case.voxels.get(smallest, 0), -sum(case.voxels.values())

    return rank


def _advice(
    rows: Sequence[dict[str, Any]],
    per_class: dict[str, float | None],
    record: Fingerprint,
    plan: Plan,
    held: frozenset[str],
) -> list[str]:
    """What is probably wrong, the likeliest first; where a class was not seen (`held`), all cases were looked at."""
    found = []
    losses = [row["train_loss"] for row in rows if row.get("train_loss") is not None]
    steps = max((row["step"] for row in rows), default=0)
    few = max(1, len(losses) // 10)
    if losses and np.mean(losses[-few:]) > (1 - _FALLEN) * np.mean(losses[:few]):
        found.append(
            f"The loss hardly fell ({np.mean(losses[:few]):.3g} to {np.mean(losses[-few:]):.3g}): raise the learning "
            "rate (--set lr=...), and look whether labels lie on the scans (vesal inspect)."
        )
    if steps < _FEW_STEPS:
        found.append(
            f"It took {steps} steps only: give more (--steps, or a longer --budget), a narrower network "
            "(--set plan.width=0.5) or a smaller patch (--set plan.patch=[...])."
        )
    found.extend(
        f"No chosen case holds '{name}': name more with --cases."
        if name in held
        else f"No case that can be read holds '{name}': correct its value, or take it out of the labels."
        for name in plan.labels.names
        if not any(case.voxels.get(name) for case in record.cases)
    )
    spacing = times(plan.spacing_mm, 3)
    weak = [name for name, value in per_class.items() if value is not None and value < 0.5]
    if weak and len(weak) < len(per_class):
        found.append(
            f"{', '.join(weak)} stayed behind the rest: voxels of {spacing} mm may be too coarse for it "
            "(--set plan.spacing_mm=[...]), or its labels disagree."
        )
    if not found:
        found.append("It was still learning: give more --steps, or a longer --budget.")
    return found
