"""Verbs that ask how far a model can be trusted: robustness, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vesal.cli.options import Backend, Device, Json, Layout, Tta
from vesal.cli.output import finish, report_failures, stages, teller
from vesal.errors import UsageError


def robustness(
    model: Annotated[Path, typer.Argument(help="A .vesal file, a run folder, or one of its folds.")],
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder of labelled scans; the run's held-out cases when not given."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder for the results: RUN/robustness, or ./robustness."),
    ] = None,
    artifact: Annotated[
        list[str] | None,
        typer.Option(
            "--artifact", help="motion, motion:3, noise=0.03, motion=10deg,5px ...; all when not given."
        ),
    ] = None,
    severity: Annotated[
        str | None, typer.Option("--severity", help="Such as 3, 1,3,5 or 1..5 (the default).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Severities 1, 3 and 5 only.")] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", help="Fail above it: dice-drop=30 (percent, all), motion=30, motion:5=40."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="Another benchmark's robustness.json, to compare with.")
    ] = None,
    cases: Annotated[
        int | None, typer.Option("--cases", min=1, help="At most so many, evenly spread.")
    ] = None,
    fold: Annotated[int | None, typer.Option("--fold", min=0, help="Of a run; all when not given.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the benchmark in OUT.")] = False,
    tta: Tta = False,
    device: Device = "auto",
    backend: Backend = "auto",
    layout: Layout = "auto",
    json_output: Json = False,
) -> None:
    """Measure what artefacts cost: Dice by artefact and severity."""
    from vesal.workflow.robustness.benchmark_run import QUICK, RobustnessRequest, robustness_run

    if quick and severity is not None:
        raise UsageError("--quick chooses severities 1, 3 and 5; leave it or --severity out.")
    request = RobustnessRequest(
        model=model,
        data=data,
        out=out,
        artifacts=artifact or (),
        severities=QUICK if quick else _severities(severity or "1..5"),
        limits=limit or (),
        baseline=baseline,
        cases=cases,
        fold=fold,
        mirror=tta,
        seed=seed,
        resume=resume,
        layout=layout,
        device=device,
        backend=backend,
    )
    with stages(json_output) as stage:
        found = robustness_run(request, stage, teller(json_output))
    page = request.folder / "robustness.html"
    finish(json_output, found.to_dict(), f"{found.to_text()}\nReport: {page}")
    if not found.passed and not json_output:
        typer.echo(f"vesal: {found.verdict()}", err=True)
    report_failures(found.failures, json_output)
    if not found.passed:
        raise typer.Exit(1)


def compare(
    first: Annotated[
        str | None,
        typer.Argument(metavar="A", help="Run folder or scores.json; several (seeds) with commas between."),
    ] = None,
    second: Annotated[
        str | None, typer.Argument(metavar="B", help="The same of the model that A is compared with.")
    ] = None,
    a: Annotated[list[str] | None, typer.Option("--a", help="One more run of A; may be repeated.")] = None,
    b: Annotated[list[str] | None, typer.Option("--b", help="One more run of B; may be repeated.")] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for comparison.json, .md and .html.")
    ] = None,
    metric: Annotated[str, typer.Option("--metric", help="dice, nsd, hd95_mm, assd_mm, ...")] = "dice",
    names: Annotated[str, typer.Option("--names", help="What the two are called: NAME,NAME.")] = "A,B",
    json_output: Json = False,
) -> None:
    """Say whether two models differ: paired, with an interval."""
    from vesal.evaluate.compare_text import comparison_markdown
    from vesal.workflow.compare import compare_runs, separate

    sides = separate([first, *(a or ())]), separate([second, *(b or ())])
    found = compare_runs(*sides, metric=metric, names=names.split(","), out=out)
    where = f"\nReport: {out / 'comparison.html'}" if out is not None else ""
    finish(json_output, found.to_dict(), comparison_markdown(found) + where)


def _severities(text: str) -> tuple[int, ...]:
    """What --severity says, each number once.

    >>> _severities("1,3..5")
    (1, 3, 4, 5)
    """
    chosen: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("..")
        if not first.isdigit() or not (last or first).isdigit():
            raise UsageError(
                f"--severity is whole numbers from 1 to 5, such as 3, 1,3,5 or 1..5, not '{text}'."
            )
        chosen += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(chosen))
