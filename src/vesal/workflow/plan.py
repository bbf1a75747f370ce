"""Plan: what would be trained, and why."""

from __future__ import annotations

from pathlib import Path

from vesal.augment.policy import mirrored_axes
from vesal.data.fingerprint import Fingerprint, fingerprint
from vesal.data.labels import LabelSet
from vesal.data.layouts import load_dataset
from vesal.data.plan import Plan
from vesal.data.planner import make_plan
from vesal.nn.zoo import count_trainable
from vesal.parallel import Progress
from vesal.train.recipe import TrainConfig


def plan_run(
    data: Path,
    config: TrainConfig,
    *,
    layout: str = "auto",
    device: str = "cpu",
    progress: Progress | None = None,
) -> Plan:
    """Read a data set and plan a training on the device."""
    dataset = load_dataset(data, layout)
    record = fingerprint(dataset, progress=progress)
    return plan_for(record, dataset.labels, config, device)


def plan_for(record: Fingerprint, labels: LabelSet, config: TrainConfig, device: str) -> Plan:
    """The plan of a training; its mirror axes are those that the training mirrors.

    Prediction averages over mirrored copies along these axes and no others.
    """
    plan = make_plan(record, labels, config.plan, budget_s=config.budget_s, device=device)
    axes = mirrored_axes(plan, config.augment)
    if axes == plan.mirror_axes:
        return plan
    reasons = plan.reasons
    if not axes or config.augment.mirror_only_axes is not None:
        told = f"Axes {', '.join(map(str, axes))} alone are mirrored" if axes else "No axis is mirrored"
        reasons = (*reasons[:-1], f"{told}: the recipe's augmentation says so.")
    return plan.model_copy(update={"mirror_axes": axes, "reasons": reasons})


def plan_text(plan: Plan, network: str = "unet") -> str:
    """The plan in a dozen lines, the reasons last."""

    def times(sizes: tuple[int, ...]) -> str:
        return "x".join(map(str, sizes))

    parameters = count_trainable(network, plan)
    lines = [
        f"Network    {network}, {plan.dimension}D, {len(plan.stages)} stages, {parameters:,} parameters",
        f"Features   {' '.join(str(stage.features) for stage in plan.stages)}",
        f"Patch      {times(plan.patch)} voxels, batch {plan.batch}",
        f"Spacing    {' x '.join(f'{value:.3g}' for value in plan.spacing_mm)} mm",
        f"Intensity  {', '.join(f'{c}: {n.scheme}' for c, n in zip(plan.channels, plan.normalisation, strict=True))}",
        f"Classes    {', '.join(plan.labels.classes)}",
        *(f"  {reason}" for reason in plan.reasons),
    ]
    return "\n".join(lines)
