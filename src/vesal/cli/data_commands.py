"""Verbs about data: fetch, phantom, inspect, convert, plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vesal.cli.options import Data, Device, Json, Layout, Out, Recipe, Settings
from vesal.cli.output import finish, report_failures, stages, teller
from vesal.errors import UsageError


def fetch(
    name: Annotated[
        str | None, typer.Argument(help="msd-heart, msd-lung, ...; without a name, all are listed.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the data set's folder shall lie.")] = Path(
        "."
    ),
    source: Annotated[
        Path | None, typer.Option("--from", help="Unpack this downloaded .tar or .zip instead.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the downloaded archive.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List names, sizes and licences.")] = False,
    json_output: Json = False,
) -> None:
    """Get an official data set: checksum, resume, safe unpacking."""
    from vesal.workflow.fetch import fetch as fetch_dataset
    from vesal.workflow.fetch import listing, listing_text

    if name is None or listed:
        finish(json_output, {"datasets": listing()}, listing_text())
        return
    with stages(json_output) as stage:
        fetched = fetch_dataset(name, out, source=source, keep=keep, stage=stage, tell=teller(json_output))
    finish(json_output, fetched.to_dict(), fetched.text())


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder for the data set (MSD layout).")],
    kind: Annotated[
        str, typer.Option("--kind", help="heart, short-axis, brain-tumour or lung-tumour.")
    ] = "heart",
    cases: Annotated[int, typer.Option("--cases", min=1, help="How many labelled scans.")] = 24,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    json_output: Json = False,
) -> None:
    """Write synthetic scans with exact truth."""
    from vesal.phantoms.registry import write_phantoms

    with stages(json_output) as stage:
        write_phantoms(out, kind, cases, seed=seed, progress=stage("Drawing"))
    finish(json_output, {"folder": str(out), "cases": cases}, f"{cases} scans in {out}")


def inspect(
    data: Data,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for inspect.html and .json.")
    ] = None,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Write a fixed copy of the data to OUT/fixed, with every change in changes.json and changes.md; "
            "the originals stay as they are.",
        ),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where --fix was stopped.")] = False,
    layout: Layout = "auto",
    json_output: Json = False,
) -> None:
    """Tell what is in a data set and what is wrong with it; with --fix, fix a copy of it."""
    from vesal.report.pages.data_tables import inspection_text
    from vesal.report.pages.inspect_page import inspection_summary

    if fix:
        _fix(data, out, layout, resume, json_output)
        return
    if resume:
        raise UsageError("--resume goes on with a fixing; add --fix.")
    from vesal.workflow.inspect import inspect_run

    with stages(json_output) as stage:
        found = inspect_run(data, out, layout=layout, progress=stage("Reading"))
    summary = inspection_summary(found.dataset, found.fingerprint, found.findings)
    text = inspection_text(summary) + (f"\nReport: {found.page}" if found.page else "")
    finish(json_output, summary, text)
    if any(finding.severity == "error" for finding in found.findings):
        raise typer.Exit(1)


def _fix(data: Path, out: Path | None, layout: str, resume: bool, json_output: bool) -> None:
    """Ends with 1 where the fixed copy still has errors."""
    from vesal.report.pages.fixes_section import changes_text
    from vesal.workflow.fix import fix_run

    if out is None:
        raise UsageError("--fix writes a fixed copy: say with -o in which folder.")
    with stages(json_output) as stage:
        fixed = fix_run(data, out, layout=layout, resume=resume, stage=stage)
    finish(json_output, fixed.to_dict(), f"{changes_text(fixed.to_dict())}\nReport: {fixed.page}")
    if any(finding.severity == "error" for finding in fixed.remaining):
        raise typer.Exit(1)


def convert(
    data: Data,
    to: Annotated[str, typer.Option("--to", help="msd, nnunet, nifti or png.")],
    out: Out,
    layout: Layout = "auto",
    window: Annotated[
        str, typer.Option("--window", help="Intensities of PNG: LOW,HIGH in the scan's units, auto or full.")
    ] = "auto",
    bits: Annotated[int, typer.Option("--bits", help="Of a PNG's pixel: 8 or 16.")] = 8,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty/--skip-empty", help="Also write slices without foreground.")
    ] = True,
    axis: Annotated[
        str, typer.Option("--axis", help="Cut along x, y, z, or thick: the axis of the coarsest spacing.")
    ] = "z",
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="Change a label value: OLD=NEW; may be repeated.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Let --map join labels into one.")] = False,
    cases: Annotated[
        list[str] | None, typer.Option("--cases", help="Convert these alone: A,B; may be repeated.")
    ] = None,
    split: Annotated[
        float | None,
        typer.Option("--split", help="Share of the cases to hold out as test scans, by patient."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the split.")] = 0,
    spacing: Annotated[
        str | None,
        typer.Option("--spacing", help="Put PNG slices together without slices.json: X,Y,Z in mm."),
    ] = None,
    stack: Annotated[
        bool,
        typer.Option(
            "--stack/--no-stack", help="Put slices together to volumes, or keep each as a 2D image."
        ),
    ] = True,
    slices: Annotated[
        Path | None,
        typer.Option("--slices", help="The slices.json of the conversion that DATA are masks for."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a conversion was stopped.")] = False,
    json_output: Json = False,
) -> None:
    """Write a data set in another layout, or as slices and back."""
    from vesal.convert.records import Pictures
    from vesal.convert.slices import parse_window
    from vesal.workflow.convert import ConvertRequest, convert_run, parse_spacing

    request = ConvertRequest(
        data=data,
        out=out,
        to=to,
        layout=layout,
        pictures=Pictures(parse_window(window), bits, keep_empty, axis),
        mapping=tuple(mapping or ()),
        merge=merge,
        cases=tuple(name for entry in cases or () for name in entry.split(",") if name),
        split=split,
        seed=seed,
        spacing_mm=None if spacing is None else parse_spacing(spacing),
        stack=stack,
        slices=slices,
        resume=resume,
    )
    with stages(json_output) as stage:
        result = convert_run(request, stage=stage)
    finish(json_output, result.to_dict(), result.text())
    report_failures(result.failures, json_output)


def plan(
    data: Data,
    recipe: Recipe = "auto",
    budget: Annotated[str | None, typer.Option("--budget", help="Time to train, such as 20m.")] = None,
    device: Device = "auto",
    layout: Layout = "auto",
    dimension: Annotated[int | None, typer.Option("--dimension", help="2 or 3.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the plan to this JSON file.")] = None,
    settings: Settings = None,
    json_output: Json = False,
) -> None:
    """Tell what would be trained, and why."""
    from vesal.nn.zoo import resolve_device
    from vesal.train.recipe import load_recipe, parse_duration, parse_overrides
    from vesal.workflow.plan import plan_run, plan_text

    overrides = parse_overrides(settings or [])
    chosen = {
        "budget_s": None if budget is None else parse_duration(budget),
        "plan.dimension": dimension,
    }
    config = load_recipe(
        recipe, overrides | {name: value for name, value in chosen.items() if value is not None}
    )
    with stages(json_output) as stage:
        made = plan_run(
            data,
            config,
            layout=layout,
            device=str(resolve_device(device)),
            progress=stage("Reading"),
            measuring=stage("Measuring"),
        )
    if out is not None:
        made.save(out)
    finish(json_output, made.model_dump(mode="json"), plan_text(made, config.network))
