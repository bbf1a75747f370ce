"""Plan: what would be trained, and why."""

from __future__ import annotations

from pathlib import Path

from vesal.data.fingerprint import fingerprint
from vesal.data.layouts import load_dataset
from vesal.data.plan import Plan
from vesal.data.planner import count_parameters, make_plan
from vesal.parallel import Progress


def plan_run(
    data: Path,
    *,
    layout: str = "auto",
    budget_s: float | None = None,
    device: str = "cpu",
    dimension: int | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Read a data set and plan for budget (seconds) and device."""
    dataset = load_dataset(data, layout)
    record = fingerprint(dataset, progress=progress)
    return make_plan(record, dataset.labels, budget_s=budget_s, device=device, dimension=dimension)


def plan_text(plan: Plan) -> str:
    """The plan in a dozen lines, the reasons last."""

    def times(sizes: tuple[int, ...]) -> str:
        return "x".join(map(str, sizes))

    lines = [
        f"Network    {plan.dimension}D, {len(plan.stages)} stages, {count_parameters(plan):,} parameters",
        f"Features   {' '.join(str(stage.features) for stage in plan.stages)}",
        f"Patch      {times(plan.patch)} voxels, batch {plan.batch}",
        f"Spacing    {' x '.join(f'{value:.3g}' for value in plan.spacing_mm)} mm",
        f"Intensity  {', '.join(f'{c}: {n.scheme}' for c, n in zip(plan.channels, plan.normalisation, strict=True))}",
        f"Classes    {', '.join(plan.labels.classes)}",
        *(f"  {reason}" for reason in plan.reasons),
    ]
    return "\n".join(lines)
