"""Verbs that train: demo, train, overfit, networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vesal.cli.options import Data, Device, Json, Layout, Out, Recipe, Settings, Tta
from vesal.cli.output import finish, stages, teller
from vesal.errors import UsageError


def demo(
    out: Out = Path("demo"),
    kind: Annotated[
        str, typer.Option("--kind", help="heart, short-axis, brain-tumour or lung-tumour.")
    ] = "heart",
    budget: Annotated[str, typer.Option("--budget", help="Time to train.")] = "2m45s",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the demo in OUT.")] = False,
    json_output: Json = False,
) -> None:
    """Run everything on synthetic scans."""
    from vesal.train.recipe import parse_duration
    from vesal.workflow.demo import demo_run

    with stages(json_output) as stage:
        result = demo_run(
            out, kind, parse_duration(budget), stage=stage, tell=teller(json_output), resume=resume
        )
    finish(json_output, result.to_dict(), result.text())


def train(
    data: Data,
    out: Out,
    recipe: Recipe = "auto",
    fold: Annotated[
        str | None,
        typer.Option("--fold", help="A fold's number, or all; without it, no case is held out."),
    ] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Time to train, such as 20m.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Optimizer steps instead of a budget.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Epochs instead of a budget.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", min=0)] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Bitwise repeatable; needs steps or epochs.")
    ] = False,
    folds: Annotated[Path | None, typer.Option("--folds", help="A split of your own (JSON).")] = None,
    dimension: Annotated[
        int | None, typer.Option("--dimension", help="2 or 3; planned when not given.")
    ] = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="A plan that vesal plan -o wrote.")] = None,
    cache: Annotated[Path | None, typer.Option("--cache", help="Where prepared scans are kept.")] = None,
    device: Device = "auto",
    layout: Layout = "auto",
    tta: Tta = False,
    settings: Settings = None,
    json_output: Json = False,
) -> None:
    """Plan, train, predict what was held out, score, report."""
    from vesal.train.recipe import parse_duration, parse_overrides
    from vesal.workflow.train import TrainRequest, train_run

    overrides: dict[str, Any] = parse_overrides(settings or [])
    chosen = {
        "budget_s": None if budget is None else parse_duration(budget),
        "steps": steps,
        "epochs": epochs,
        "seed": seed,
        "deterministic": deterministic or None,
        "fold": _fold(fold),
        "tta": tta or None,
        "plan.dimension": dimension,
    }
    overrides |= {name: value for name, value in chosen.items() if value is not None}
    request = TrainRequest(
        data=data,
        out=out,
        layout=layout,
        recipe=recipe,
        overrides=overrides,
        plan_file=plan,
        folds_file=folds,
        device=device,
        cache=cache,
        resume=resume,
        quiet=json_output,
    )
    with stages(json_output) as stage:
        result = train_run(request, stage, teller(json_output))
    finish(json_output, result.to_dict(), result.text())


def overfit(
    data: Data,
    out: Out = Path("overfit"),
    cases: Annotated[int, typer.Option("--cases", min=1, help="How many cases to learn by heart.")] = 4,
    recipe: Recipe = "auto",
    budget: Annotated[str | None, typer.Option("--budget", help="Time to try.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps instead of a budget.")] = None,
    device: Device = "auto",
    layout: Layout = "auto",
    settings: Settings = None,
    json_output: Json = False,
) -> None:
    """Learn a few cases by heart to Dice 0.95, or tell what is wrong."""
    from vesal.train.recipe import parse_duration, parse_overrides
    from vesal.workflow.overfit import OverfitRequest, overfit_run

    overrides: dict[str, Any] = parse_overrides(settings or [])
    if steps is None:
        overrides["budget_s"] = parse_duration(budget or "5m")
    elif budget is None:
        overrides["steps"] = steps
    else:
        raise UsageError("--budget and --steps both set the length; choose one.")
    request = OverfitRequest(data, out, cases, layout, recipe, overrides, device, json_output)
    with stages(json_output) as stage:
        result = overfit_run(request, stage, teller(json_output))
    finish(json_output, result.to_dict(), result.text())
    if not result.reached:
        raise typer.Exit(1)


def networks(
    data: Annotated[
        Path | None, typer.Option("--data", help="Count for these scans, not for each recipe's own.")
    ] = None,
    json_output: Json = False,
) -> None:
    """List recipes: network, dimension, parameters."""
    from vesal.workflow.networks import list_networks, networks_json, networks_text

    with stages(json_output) as stage:
        rows = list_networks(data, progress=stage("Reading"))
    finish(json_output, networks_json(rows), networks_text(rows))


def _fold(text: str | None) -> Any:
    if text is None or text == "all":
        return text
    if not text.isdigit():
        raise UsageError(f"--fold takes a number or all, not '{text}'.")
    return int(text)
