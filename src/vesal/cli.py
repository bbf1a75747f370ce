"""The command line: verbs only, no logic.

Nothing heavy is imported before a verb runs, so `vesal --help` is quick and loads no torch.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from vesal import __version__
from vesal.errors import UsageError, VesalError, out_of_memory

app = typer.Typer(
    name="vesal",
    help="From a folder of labelled medical scans to a segmenter that can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Data = Annotated[Path, typer.Argument(help="Folder of scans; its layout is recognised.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines instead of text.")]
Layout = Annotated[
    str, typer.Option("--layout", help="Layout of the data: auto, msd, nnunet, acdc, brats, png, ...")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Tta = Annotated[bool, typer.Option("--tta", help="Average over mirrored copies: slower, a little better.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Replace a field of the recipe: key=value.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
) -> None:
    """Options before the verb."""


@app.command()
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

    with _stages(json_output) as stage:
        result = demo_run(
            out, kind, parse_duration(budget), stage=stage, tell=_teller(json_output), resume=resume
        )
    _finish(json_output, result.to_dict(), f"Report: {result.report}")


@app.command()
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
    from vesal.data.phantom import write_phantoms

    with _stages(json_output) as stage:
        write_phantoms(out, kind, cases, seed=seed, progress=stage("Drawing"))
    _finish(json_output, {"folder": str(out), "cases": cases}, f"{cases} scans in {out}")


@app.command()
def inspect(
    data: Data,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for inspect.html and .json.")
    ] = None,
    layout: Layout = "auto",
    json_output: Json = False,
) -> None:
    """Tell what is in a data set and what is wrong with it."""
    from vesal.report.inspect import inspection_summary
    from vesal.report.tables import inspection_text
    from vesal.workflow.inspect import inspect_run

    with _stages(json_output) as stage:
        found = inspect_run(data, out, layout=layout, progress=stage("Reading"))
    summary = inspection_summary(found.dataset, found.fingerprint, found.findings)
    text = inspection_text(summary) + (f"\nReport: {found.page}" if found.page else "")
    _finish(json_output, summary, text)
    if any(finding.severity == "error" for finding in found.findings):
        raise typer.Exit(1)


@app.command()
def plan(
    data: Data,
    budget: Annotated[str | None, typer.Option("--budget", help="Time to train, such as 20m.")] = None,
    device: Device = "auto",
    layout: Layout = "auto",
    dimension: Annotated[int | None, typer.Option("--dimension", help="2 or 3.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the plan to this JSON file.")] = None,
    json_output: Json = False,
) -> None:
    """Tell what would be trained, and why."""
    from vesal.nn.device import resolve_device
    from vesal.train.recipe import parse_duration
    from vesal.workflow.plan import plan_run, plan_text

    with _stages(json_output) as stage:
        made = plan_run(
            data,
            layout=layout,
            budget_s=None if budget is None else parse_duration(budget),
            device=resolve_device(device).type,
            dimension=dimension,
            progress=stage("Reading"),
        )
    if out is not None:
        made.save(out)
    _finish(json_output, made.model_dump(mode="json"), plan_text(made))


@app.command()
def train(
    data: Data,
    out: Out,
    recipe: Annotated[str, typer.Option("--recipe", help="Name of a recipe, or a YAML file.")] = "auto",
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
    }
    overrides |= {name: value for name, value in chosen.items() if value is not None}
    request = TrainRequest(
        data=data,
        out=out,
        layout=layout,
        recipe=recipe,
        overrides=overrides,
        plan={} if dimension is None else {"dimension": dimension},
        plan_file=plan,
        folds_file=folds,
        device=device,
        cache=cache,
        resume=resume,
        quiet=json_output,
    )
    with _stages(json_output) as stage:
        result = train_run(request, stage, _teller(json_output))
    _finish(json_output, result.to_dict(), result.text())


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A .vesal file, or a run folder whose folds vote.")],
    inputs: Annotated[list[Path], typer.Argument(help="Scans, or folders of scans.")],
    out: Out,
    to: Annotated[
        str | None, typer.Option("--to", help="nifti or png; as the scan came when not given.")
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Probability from which foreground holds.")
    ] = 0.5,
    overlap: Annotated[
        float, typer.Option("--overlap", help="Share of a window that the next one covers.")
    ] = 0.5,
    resume: Annotated[bool, typer.Option("--resume", help="Leave results that are already there.")] = False,
    tta: Tta = False,
    device: Device = "auto",
    json_output: Json = False,
) -> None:
    """Segment scans; each result lies on its scan's own grid."""
    from vesal.infer.predictor import load_model
    from vesal.workflow.inputs import cases_to_predict
    from vesal.workflow.predict import PredictOptions, predict_cases

    loaded = load_model(model, device=device)
    cases = cases_to_predict(inputs, len(loaded.plan.channels))
    options = PredictOptions(mirror=tta, overlap=overlap, threshold=threshold, to=to, skip_existing=resume)
    with _stages(json_output) as stage:
        result = predict_cases(loaded, cases, out, options, progress=stage("Predicting"))
    _finish(json_output, result.to_dict(), f"{len(result.files)} of {len(cases)} scans segmented in {out}")
    _report_failures(result.failures, json_output)


@app.command()
def evaluate(
    first: Annotated[
        Path, typer.Argument(metavar="RUN|PREDICTIONS", help="A run folder, or a folder of predictions.")
    ],
    truth: Annotated[Path | None, typer.Argument(help="Folder of true labels.")] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for scores.json, .csv and .md.")
    ] = None,
    tolerance_mm: Annotated[float, typer.Option("--tolerance-mm", help="Tolerance of the NSD.")] = 1.0,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="A dataset.json that names the labels.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Score a run or a folder: Dice, HD95, NSD, volumes ..."""
    from vesal.workflow.evaluate import evaluate_run

    with _stages(json_output) as stage:
        scores = evaluate_run(
            first, truth, out=out, labels=labels, tolerance_mm=tolerance_mm, progress=stage("Scoring")
        )
    _finish(json_output, scores.to_dict(), scores.to_markdown())
    _report_failures(scores.failures, json_output)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    json_output: Json = False,
) -> None:
    """One self-contained HTML page of a run."""
    from vesal.report.page import write_run_report
    from vesal.workflow.run import Run

    Run(run).dataset()
    page = write_run_report(run)
    _finish(json_output, {"report": str(page)}, f"Report: {page}")


def main() -> None:
    """Run the command line; a failure is one sentence and an exit code, a traceback only with --debug."""
    debug = "--debug" in sys.argv[1:]
    if debug:
        # Accepted anywhere on the line, not only before the verb.
        sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if word != "--debug")]
    try:
        app()
    except VesalError as error:
        if debug:
            traceback.print_exc()
        typer.echo(f"vesal: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (| head); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OSError, MemoryError, RuntimeError) as error:
        if not isinstance(error, OSError) and not out_of_memory(error):
            raise
        if debug:
            traceback.print_exc()
        typer.echo(f"vesal: {_system_failure(error)}", err=True)
        sys.exit(1)


def _system_failure(error: Exception) -> str:
    if not isinstance(error, OSError):
        return "The memory of this machine is used up; close other programs or choose a smaller batch."
    where = f" {error.filename}" if error.filename else ""
    return f"The system refused{where}: {error.strerror or error}; run again with --debug for the place."


def _fold(text: str | None) -> Any:
    if text is None or text == "all":
        return text
    if not text.isdigit():
        raise UsageError(f"--fold takes a number or all, not '{text}'.")
    return int(text)


def _finish(as_json: bool, value: dict[str, Any], text: str) -> None:
    typer.echo(json.dumps(value, indent=2) if as_json else text)


def _report_failures(failures: Any, as_json: bool) -> None:
    """Name every case that failed and end with 1; the others are done."""
    for failure in failures:
        if not as_json:
            typer.echo(f"vesal: {failure.id}: {failure.message}", err=True)
    if failures:
        raise typer.Exit(1)


def _teller(as_json: bool) -> Callable[[str], None]:
    return lambda text: typer.echo(text, err=True) if not as_json else None


@contextmanager
def _stages(quiet: bool) -> Iterator[Callable[[str], Callable[[int, int], None] | None]]:
    """Progress bars on standard error, one a stage; none where nobody looks or JSON is wanted."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    open_bars: list[Progress] = []

    def close() -> None:
        while open_bars:
            open_bars.pop().stop()

    def stage(title: str) -> Callable[[int, int], None] | None:
        if quiet or not console.is_terminal:
            return None
        # One live display at a time: the one before ends, also where it never came to its total.
        close()
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        task = bar.add_task(title, total=None)

        def update(done: int, total: int) -> None:
            if not bar.live.is_started and done < total:
                bar.start()
                open_bars.append(bar)
            bar.update(task, completed=done, total=total)
            if done >= total:
                bar.stop()

        return update

    try:
        yield stage
    finally:
        close()


if __name__ == "__main__":
    main()
