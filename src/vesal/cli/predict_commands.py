"""Verbs that use what was trained: predict, evaluate, report, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vesal.cli.options import Backend, Device, Json, Out, Recipe, Settings, Tta
from vesal.cli.output import finish, report_failures, stages


def predict(
    model: Annotated[Path, typer.Argument(help="A .vesal file, or a run folder whose folds vote.")],
    inputs: Annotated[list[Path], typer.Argument(help="Scans, or folders of scans.")],
    out: Out,
    to: Annotated[
        str | None,
        typer.Option("--to", help="nifti, nrrd, mha, png or tiff; as the scan came when not given."),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold",
            help="Probability from which foreground holds: each region's own; of several classes that of the "
            "likeliest against the background (0.5 takes the likeliest of all).",
        ),
    ] = 0.5,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also draw the contours on each scan: OUT/overlays.")
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Also write a map for each class: OUT/probabilities/CLASS."),
    ] = False,
    overlap: Annotated[
        float, typer.Option("--overlap", help="Share of a window that the next one covers.")
    ] = 0.5,
    resume: Annotated[bool, typer.Option("--resume", help="Leave results that are already there.")] = False,
    no_postprocess: Annotated[
        bool,
        typer.Option("--no-postprocess", help="Leave out the model's steps that clean up label maps."),
    ] = False,
    no_quality: Annotated[
        bool,
        typer.Option("--no-quality", help="Do not say how far to trust each result (quality.json): faster."),
    ] = False,
    doubt: Annotated[
        bool, typer.Option("--doubt", help="Also write a map of the doubt at each voxel: OUT/doubt.")
    ] = False,
    tta: Tta = False,
    device: Device = "auto",
    backend: Backend = "auto",
    json_output: Json = False,
) -> None:
    """Segment scans; each result lies on its scan's own grid."""
    from vesal.infer.predictor import load_model
    from vesal.workflow.predict import PredictOptions, predict_cases
    from vesal.workflow.predict_inputs import cases_to_predict

    loaded = load_model(model, device=device, backend=backend, postprocess=not no_postprocess)
    cases = cases_to_predict(inputs, len(loaded.plan.channels), loaded.labels)
    options = PredictOptions(
        mirror=tta,
        overlap=overlap,
        threshold=threshold,
        to=to,
        skip_existing=resume,
        overlay=overlay,
        probabilities=probabilities,
        quality=not no_quality,
        doubt=doubt,
    )
    with stages(json_output) as stage:
        result = predict_cases(loaded, cases, out, options, progress=stage("Predicting"))
    told = f"{len(result.files)} of {len(cases)} scans segmented in {out}"
    computed = f"; network by {result.backend}" if result.seconds else ""
    quality = "" if result.quality is None else f"\n{result.quality.text()}"
    finish(json_output, result.to_dict(), told + computed + quality)
    report_failures(result.failures, json_output)


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
    lesions: Annotated[
        list[str] | None,
        typer.Option(
            "--lesions", metavar="CLASS", help="Count lesions of this class; those named so when not given."
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """Score a run or a folder: Dice, HD95, NSD, volumes ..."""
    from vesal.workflow.evaluate import evaluate_run

    with stages(json_output) as stage:
        scores = evaluate_run(
            first,
            truth,
            out=out,
            labels=labels,
            tolerance_mm=tolerance_mm,
            lesions=lesions,
            progress=stage("Scoring"),
        )
    finish(json_output, scores.to_dict(), scores.to_markdown())
    report_failures(scores.failures, json_output)


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    json_output: Json = False,
) -> None:
    """One page of a run; curves, surfaces, summaries beside it."""
    from vesal.report.pages.run_page import write_run_report
    from vesal.run.folder import Run

    Run(run).dataset()
    page = write_run_report(run)
    finish(json_output, {"report": str(page)}, f"Report: {page}")


def export(
    to: Annotated[str, typer.Option("--to", help="For whom: kaggle.")],
    out: Out,
    source: Annotated[
        Path | None, typer.Argument(help="A run folder, whose settings are trained with; or give --recipe.")
    ] = None,
    recipe: Recipe = "auto",
    budget: Annotated[
        str | None, typer.Option("--budget", help="Time to train there; the recipe's own when not given.")
    ] = None,
    fold: Annotated[str, typer.Option("--fold", help="The fold that is held out and scored, or all.")] = "0",
    user: Annotated[str | None, typer.Option("--user", help="Your name on Kaggle.")] = None,
    title: Annotated[str | None, typer.Option("--title", help="Title of the kernel.")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", help="Attach this data set: OWNER/NAME.")
    ] = None,
    competition: Annotated[
        list[str] | None, typer.Option("--competition", help="Attach a competition's data.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Which folder is meant, where several are attached.")
    ] = None,
    fetch: Annotated[str | None, typer.Option("--fetch", help="Download there, such as msd-heart.")] = None,
    continue_from: Annotated[
        str | None, typer.Option("--continue-from", help="Go on with the run of this kernel: OWNER/NAME.")
    ] = None,
    install: Annotated[
        str | None, typer.Option("--install", help="What pip installs there; else the script carries Vesal.")
    ] = None,
    accelerator: Annotated[
        str, typer.Option("--accelerator", help="Kaggle's name of the GPU, or none.")
    ] = "NvidiaTeslaT4",
    short: Annotated[
        bool, typer.Option("--short", help="Train a minute only, to see that all works.")
    ] = False,
    settings: Settings = None,
    json_output: Json = False,
) -> None:
    """Write what another platform takes, such as a kernel for Kaggle."""
    from vesal.workflow.export import ExportRequest
    from vesal.workflow.export import export as export_to
    from vesal.workflow.kaggle.kernel import KernelOptions

    kernel = KernelOptions(
        user=user,
        recipe=recipe,
        settings=settings or (),
        budget=budget,
        fold=fold,
        datasets=dataset or (),
        competitions=competition or (),
        earlier=continue_from,
        data=data,
        fetch=fetch,
        title=title,
        install=install,
        accelerator=accelerator,
        short=short,
    )
    exported = export_to(to, ExportRequest(out, source, kernel))
    finish(json_output, exported.to_dict(), exported.text())
