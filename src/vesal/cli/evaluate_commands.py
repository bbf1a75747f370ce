"""Verbs that ask how far a model can be trusted: robustness, compare, card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from vesal.cli.output import logger, print_result, progress, report_failures
from vesal.workflow.requests.card_request import CardRequest
from vesal.workflow.requests.engine_options import EngineOptions
from vesal.workflow.requests.fields import Argument, Json, Option
from vesal.workflow.requests.robustness_request import RobustnessRequest


def robustness(request: RobustnessRequest, engine_options: EngineOptions, json_output: Json = False) -> None:
    """Measure what artefacts cost: Dice by artefact and severity."""
    from vesal.evaluate.robustness.result_text import limits_sentence, robustness_text
    from vesal.workflow.robustness.benchmark_run import robustness_run

    engine = None
    if engine_options.engine is not None:
        from vesal.nn.zoo import resolve_device

        device = resolve_device(request.device).type
        engine = engine_options.make(device)
        request = replace(request, max_ram=engine_options.share(request.max_ram, device))
    with progress(json_output) as stage:
        found = robustness_run(request, stage, logger(json_output), engine=engine)
    page = request.folder / "robustness.html"
    print_result(json_output, found.to_dict(), f"{robustness_text(found)}\nReport: {page}")
    if not found.passed and not json_output:
        typer.echo(f"vesal: {limits_sentence(found)}", err=True)
    report_failures(found.failures, json_output)
    if not found.passed:
        raise typer.Exit(1)


def card(request: CardRequest, json_output: Json = False) -> None:
    """Write a model's card: training, scores, robustness, limits, licence."""
    from vesal.workflow.cards.write_card import write_card

    found = write_card(request)
    print_result(json_output, found.to_dict(), found.text())


def compare(
    first: Annotated[
        str | None,
        Argument("Run folder or scores.json; several (seeds) with commas between.", metavar="A"),
    ] = None,
    second: Annotated[
        str | None, Argument("The same of the model that A is compared with.", metavar="B")
    ] = None,
    a: Annotated[tuple[str, ...], Option("One more run of A; may be repeated.", many=True)] = (),
    b: Annotated[tuple[str, ...], Option("One more run of B; may be repeated.", many=True)] = (),
    out: Annotated[Path | None, Option("Folder for comparison.json, .md and .html.", ("-o", "--out"))] = None,
    metric: Annotated[str, Option("dice, nsd, hd95_mm, assd_mm, ...")] = "dice",
    names: Annotated[str, Option("What the two are called: NAME,NAME.")] = "A,B",
    json_output: Json = False,
) -> None:
    """Say whether two models differ: paired, with an interval."""
    from vesal.evaluate.compare_text import comparison_markdown
    from vesal.workflow.compare import compare_runs, separate

    sides = separate([first, *a]), separate([second, *b])
    found = compare_runs(*sides, metric=metric, names=names.split(","), out=out)
    where = f"\nReport: {out / 'comparison.html'}" if out is not None else ""
    print_result(json_output, found.to_dict(), comparison_markdown(found) + where)
