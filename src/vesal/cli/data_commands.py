"""Verbs about data: fetch, phantom, inspect, convert, plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vesal.cli.output import logger, print_result, progress, report_failures
from vesal.errors import UsageError
from vesal.memory_limit import limited
from vesal.run_files import PLAN
from vesal.workflow.requests.convert_request import ConvertRequest
from vesal.workflow.requests.engine_options import EngineOptions
from vesal.workflow.requests.fields import (
    Argument,
    Data,
    Device,
    Json,
    Layout,
    MaxRam,
    Option,
    PhantomKind,
    Recipe,
    Settings,
)

if TYPE_CHECKING:
    from vesal.engine.outcome import Engine


def fetch(
    name: Annotated[str | None, Argument("msd-heart, msd-lung, ...; without a name, all are listed.")] = None,
    out: Annotated[Path, Option("Where the data set's folder shall lie.", ("-o", "--out"))] = Path("."),
    source: Annotated[
        Path | None, Option("Unpack this downloaded .tar or .zip instead.", ("--from",))
    ] = None,
    keep: Annotated[bool, Option("Keep the downloaded archive.")] = False,
    listed: Annotated[bool, Option("List names, sizes and licences.", ("--list",))] = False,
    json_output: Json = False,
) -> None:
    """Get an official data set: checksum, resume, safe unpacking."""
    from vesal.workflow.fetch import fetch as fetch_dataset
    from vesal.workflow.fetch import listing, listing_text

    if name is None or listed:
        print_result(json_output, {"datasets": listing()}, listing_text())
        return
    with progress(json_output) as stage:
        fetched = fetch_dataset(name, out, source=source, keep=keep, stage=stage, tell=logger(json_output))
    print_result(json_output, fetched.to_dict(), fetched.text())


def phantom(
    out: Annotated[Path, Argument("Folder for the data set (MSD layout).")],
    kind: PhantomKind = "heart",
    cases: Annotated[int, Option("How many labelled scans.", min=1)] = 24,
    seed: Annotated[int, Option("Of what is drawn.", min=0)] = 0,
    json_output: Json = False,
) -> None:
    """Write synthetic scans with exact truth."""
    from vesal.phantoms.registry import write_phantoms

    with progress(json_output) as stage:
        write_phantoms(out, kind, cases, seed=seed, progress=stage("Drawing"))
    print_result(json_output, {"folder": str(out), "cases": cases}, f"{cases} scans in {out}")


def inspect(
    data: Data,
    out: Annotated[Path | None, Option("Folder for inspect.html and .json.", ("-o", "--out"))] = None,
    fix: Annotated[
        bool,
        Option(
            "Write a fixed copy of the data to OUT/fixed, with every change in changes.json and changes.md; "
            "the originals stay as they are."
        ),
    ] = False,
    resume: Annotated[bool, Option("Go on where --fix was stopped.")] = False,
    layout: Layout = "auto",
    max_ram: MaxRam = None,
    *,
    engine_options: EngineOptions,
    json_output: Json = False,
) -> None:
    """Tell what is in a data set and what is wrong; --fix a copy."""
    from vesal.report.pages.data_tables import inspection_text
    from vesal.report.pages.inspect_page import inspection_summary

    engine = engine_options.make()
    if fix:
        with limited(engine_options.share(max_ram)):
            _fix(data, out, layout, resume, engine, json_output)
        return
    if resume:
        raise UsageError("--resume goes on with a fixing; add --fix.")
    from vesal.workflow.inspect import inspect_run

    with limited(engine_options.share(max_ram)), progress(json_output) as stage:
        found = inspect_run(data, out, layout=layout, engine=engine, progress=stage("Reading"))
    summary = inspection_summary(found.dataset, found.fingerprint, found.findings)
    text = inspection_text(summary) + (f"\nReport: {found.page}" if found.page else "")
    print_result(json_output, summary, text)
    if any(finding.severity == "error" for finding in found.findings):
        raise typer.Exit(1)


def _fix(
    data: Path, out: Path | None, layout: str, resume: bool, engine: Engine | None, json_output: bool
) -> None:
    """Ends with 1 where the fixed copy still has errors."""
    from vesal.report.pages.fixes_section import changes_text
    from vesal.workflow.inspect import fix_run

    if out is None:
        raise UsageError("--fix writes a fixed copy: say with -o in which folder.")
    with progress(json_output) as stage:
        fixed = fix_run(data, out, layout=layout, resume=resume, engine=engine, stage=stage)
    print_result(json_output, fixed.to_dict(), f"{changes_text(fixed.to_dict())}\nReport: {fixed.page}")
    if any(finding.severity == "error" for finding in fixed.remaining):
        raise typer.Exit(1)


def convert(request: ConvertRequest, json_output: Json = False) -> None:
    """Write a data set in another layout, or as slices and back."""
    from vesal.workflow.convert import convert_run

    with progress(json_output) as stage:
        result = convert_run(request, stage=stage)
    print_result(json_output, result.to_dict(), result.text())
    report_failures(result.failures, json_output)


def plan(
    data: Data,
    recipe: Recipe = "auto",
    budget: Annotated[str | None, Option("Time to train, such as 20m.")] = None,
    device: Device = "auto",
    layout: Layout = "auto",
    dimension: Annotated[int | None, Option("2 or 3.")] = None,
    out: Annotated[Path | None, Option("Write the plan to this JSON file.", ("-o", "--out"))] = None,
    settings: Settings = (),
    json_output: Json = False,
) -> None:
    """Tell what would be trained, and why."""
    from vesal.nn.zoo import resolve_device
    from vesal.outputs import results
    from vesal.train.recipe import load_recipe, recipe_overrides
    from vesal.workflow.training.training_plan import plan_run, plan_text

    if out is not None and out.is_dir():
        raise UsageError(f"{out} is a folder; name the file of the plan, such as {out / PLAN}.")
    name = "" if out is None else out.name
    output = None if out is None else results(out.parent, name)
    config = load_recipe(recipe, recipe_overrides(settings, budget=budget, dimension=dimension))
    with progress(json_output) as stage:
        made = plan_run(
            data,
            config,
            layout=layout,
            device=str(resolve_device(device)),
            progress=stage("Reading"),
            measuring=stage("Measuring"),
        )
    if output is not None:
        with output:
            made.save(output.folder / name)
    print_result(json_output, made.model_dump(mode="json"), plan_text(made, config.network))
