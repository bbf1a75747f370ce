"""Verbs that make models: demo, train, finetune, overfit, import, and the list of choices for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from vesal.cli.output import logger, print_result, progress, report_failures
from vesal.workflow.requests.engine_options import EngineOptions
from vesal.workflow.requests.fields import Argument, Json, Option, Out, PhantomKind
from vesal.workflow.requests.finetune_request import FinetuneRequest
from vesal.workflow.requests.import_request import ImportRequest
from vesal.workflow.requests.train_request import OverfitRequest, TrainRequest


def demo(
    out: Out = Path("demo"),
    kind: PhantomKind = "heart",
    budget: Annotated[str, Option("Time to train.")] = "2m45s",
    resume: Annotated[bool, Option("Go on with the demo in OUT.")] = False,
    json_output: Json = False,
) -> None:
    """Run everything on synthetic scans."""
    from vesal.train.recipe import parse_duration
    from vesal.workflow.demo import demo_run

    with progress(json_output) as stage:
        result = demo_run(
            out, kind, parse_duration(budget), stage=stage, tell=logger(json_output), resume=resume
        )
    print_result(json_output, result.to_dict(), result.text())


def train(request: TrainRequest, engine_options: EngineOptions, json_output: Json = False) -> None:
    """Plan, train, predict what was held out, score, report."""
    from vesal.nn.zoo import resolve_device
    from vesal.workflow.training.train import train_run

    engine, max_ram = None, request.max_ram
    if engine_options.engine is not None:
        device = resolve_device(request.device).type
        engine, max_ram = engine_options.make(device), engine_options.share(max_ram, device)
    with progress(json_output) as stage:
        wanted = replace(request, quiet=json_output, max_ram=max_ram)
        result = train_run(wanted, stage, logger(json_output), engine=engine)
    print_result(json_output, result.to_dict(), result.text())
    report_failures(result.failed, json_output)
    if result.problems:
        raise typer.Exit(1)


def finetune(request: FinetuneRequest, json_output: Json = False) -> None:
    """Train on, from a model, for other data or more of the same."""
    from vesal.workflow.finetuning.finetune import finetune_run

    with progress(json_output) as stage:
        result = finetune_run(replace(request, quiet=json_output), stage, logger(json_output))
    print_result(json_output, result.to_dict(), result.text())
    report_failures(result.trained.failed, json_output)
    if result.trained.problems:
        raise typer.Exit(1)


def overfit(request: OverfitRequest, json_output: Json = False) -> None:
    """Overfit a few cases to Dice 0.95, or tell what is wrong."""
    from vesal.workflow.overfit import overfit_run

    with progress(json_output) as stage:
        result = overfit_run(replace(request, quiet=json_output), stage, logger(json_output))
    print_result(json_output, result.to_dict(), result.text())
    if not result.reached:
        raise typer.Exit(1)


def import_model(request: ImportRequest, json_output: Json = False) -> None:
    """Make a model file of a model that nnU-Net v2 trained, or of a MONAI bundle."""
    from vesal.workflow.model_exchange.import_model import import_model as import_from

    with progress(json_output) as stage:
        result = import_from(request, stage("Reading"))
    print_result(json_output, result.to_dict(), result.text())


def list_choices(
    what: Annotated[
        str | None,
        Argument(
            "networks, losses, schedules, optimizers, artifacts, recipes, metrics, layouts or checks.",
            metavar="WHAT",
        ),
    ] = None,
    data: Annotated[Path | None, Option("Count the recipes' networks for these scans.")] = None,
    json_output: Json = False,
) -> None:
    """List what there is to choose from, a line each."""
    from vesal.workflow.listing import KINDS, entries, entries_text, kinds_text

    if what is None:
        print_result(json_output, {"lists": list(KINDS)}, kinds_text())
        return
    with progress(json_output) as stage:
        found = entries(what, data, stage("Reading"))
    print_result(json_output, {what: [entry.to_dict() for entry in found]}, entries_text(found))
