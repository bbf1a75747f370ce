"""Verbs that train: demo, train, overfit, networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from vesal.cli.output import logger, print_result, progress
from vesal.workflow.requests.fields import Json, Option, Out, PhantomKind
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


def train(request: TrainRequest, json_output: Json = False) -> None:
    """Plan, train, predict what was held out, score, report."""
    from vesal.workflow.training.train import train_run

    with progress(json_output) as stage:
        result = train_run(replace(request, quiet=json_output), stage, logger(json_output))
    print_result(json_output, result.to_dict(), result.text())


def overfit(request: OverfitRequest, json_output: Json = False) -> None:
    """Overfit a few cases to Dice 0.95, or tell what is wrong."""
    from vesal.workflow.overfit import overfit_run

    with progress(json_output) as stage:
        result = overfit_run(replace(request, quiet=json_output), stage, logger(json_output))
    print_result(json_output, result.to_dict(), result.text())
    if not result.reached:
        raise typer.Exit(1)


def networks(
    data: Annotated[Path | None, Option("Count for these scans, not for each recipe's own.")] = None,
    json_output: Json = False,
) -> None:
    """List recipes: network, dimension, parameters."""
    from vesal.workflow.networks import list_networks, networks_text

    with progress(json_output) as stage:
        rows = list_networks(data, progress=stage("Reading"))
    print_result(json_output, {"networks": [row.to_dict() for row in rows]}, networks_text(rows))
