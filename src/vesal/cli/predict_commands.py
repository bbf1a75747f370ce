"""Verbs that use what was trained: predict, evaluate, report, export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vesal.cli.output import print_result, progress, report_failures
from vesal.cpus import cpu_count
from vesal.errors import UsageError
from vesal.memory_limit import limited
from vesal.run_files import SCORES_TEXT
from vesal.workflow.requests.engine_options import CohortOptions
from vesal.workflow.requests.fields import Argument, Backend, Device, Json, MaxRam, Option, Precision
from vesal.workflow.requests.kernel_options import KernelOptions
from vesal.workflow.requests.predict_options import PredictOptions
from vesal.workflow.requests.slurm_options import SlurmOptions

if TYPE_CHECKING:
    from vesal.workflow.predict import PredictResult
    from vesal.workflow.prediction.worker_prediction import ModelSource


def predict(
    model: Annotated[Path, Argument("A .vesal file, or a run folder whose folds vote.")],
    inputs: Annotated[
        list[str],
        Argument("Scans, or folders of scans, also as addresses (s3://...); DICOM studies also as zip."),
    ],
    out: Annotated[
        str, Option("Folder for the results, or its address; for one scan also a file.", ("-o", "--out"))
    ],
    options: PredictOptions,
    engine_options: CohortOptions,
    series: Annotated[
        tuple[str, ...],
        Option(
            "Of a DICOM study: the series, by number, UID or a part of its description; once a channel.",
            many=True,
        ),
    ] = (),
    fill_slices: Annotated[
        bool, Option("Of a DICOM series: fill in missing slices from their neighbours.")
    ] = False,
    no_postprocess: Annotated[bool, Option("Leave out the model's steps that clean up label maps.")] = False,
    device: Device = "auto",
    backend: Backend = "auto",
    precision: Precision = "auto",
    json_output: Json = False,
) -> None:
    """Segment scans; each result lies on its scan's own grid."""
    from vesal.infer.channels.missing_channels import channel_numbers, may_miss
    from vesal.layouts.dicom.chosen_series import WantedScan
    from vesal.layouts.input_scans import ChannelFiles, cases_to_predict
    from vesal.workflow.predict import predict_cases
    from vesal.workflow.prediction.stored_files import any_address
    from vesal.workflow.prediction.unpacked_inputs import unpacked
    from vesal.workflow.prediction.worker_prediction import Cohort, ModelSource

    source = ModelSource(model, device, backend, precision, postprocess=not no_postprocess)
    if any_address(inputs, out):
        if series or fill_slices:
            raise UsageError("--series and --fill-slices are of DICOM, which has to be copied here first.")
        _predict_stored(source, inputs, out, options, engine_options, json_output)
        return
    loaded = source.load()
    engine = engine_options.make(loaded.device.type)
    options = replace(options, max_ram=engine_options.share(options.max_ram, loaded.device.type))
    cohort = None if engine is None else Cohort(engine, source, engine_options.shard)
    remarks: list[str] = []
    missing = channel_numbers(loaded.plan, options.missing)
    optional = all(may_miss(package.recipe) for package in loaded.packages)
    files = ChannelFiles(len(loaded.plan.channels), missing, optional)
    there = tuple(name for place, name in enumerate(loaded.plan.channels) if place not in missing)
    wanted = WantedScan(there, loaded.plan.spacing_mm, series, fill_slices)
    named = [Path(text) for text in inputs]
    with unpacked(named) as paths, progress(json_output) as stage:
        cases = cases_to_predict(paths, files, loaded.labels, dicom=wanted, remark=remarks.append)
        result = predict_cases(loaded, cases, Path(out), options, cohort=cohort, progress=stage("Predicting"))
    result.remarks[:0] = remarks
    _name_archives(result, named, paths)
    print_result(json_output, result.to_dict(), result.text(len(cases), Path(out)))
    report_failures(result.failures, json_output)


def _name_archives(result: PredictResult, named: Sequence[Path], paths: Sequence[Path]) -> None:
    from vesal.workflow.prediction.unpacked_inputs import as_named

    result.remarks = [as_named(one, named, paths) for one in result.remarks]
    result.failures = [
        one.model_copy(update={"message": as_named(one.message, named, paths)}) for one in result.failures
    ]


def _predict_stored(
    source: ModelSource,
    inputs: list[str],
    out: str,
    options: PredictOptions,
    engine_options: CohortOptions,
    json_output: bool,
) -> None:
    """Scans at addresses, or results to be put there."""
    from vesal.engine.in_process import InProcess
    from vesal.nn.zoo import resolve_device
    from vesal.workflow.prediction.stored_prediction import predict_stored

    device = resolve_device(source.device).type
    engine = engine_options.make(device) or InProcess(cpu_count())
    options = replace(options, max_ram=engine_options.share(options.max_ram, device))
    with progress(json_output) as stage:
        result = predict_stored(
            source, inputs, out, options, engine, shard=engine_options.shard, progress=stage("Predicting")
        )
    print_result(json_output, result.to_dict(), result.text())
    report_failures(result.failures, json_output)


def evaluate(
    first: Annotated[
        Path, Argument("A run folder, or a folder of predictions, or one.", metavar="RUN|PREDICTIONS")
    ],
    truth: Annotated[Path | None, Argument("Folder of true labels, or one.")] = None,
    out: Annotated[Path | None, Option("Folder for scores.json, .csv and .md.", ("-o", "--out"))] = None,
    tolerance_mm: Annotated[float, Option("Tolerance of the NSD.")] = 1.0,
    labels: Annotated[
        Path | None,
        Option("A dataset.json, or a JSON file like it, that names the labels; else that beside TRUTH."),
    ] = None,
    lesions: Annotated[
        tuple[str, ...],
        Option("Count lesions of this class; those named so when not given.", metavar="CLASS", many=True),
    ] = (),
    slice_mm: Annotated[
        float | None, Option("Distance of neighbouring slices (mm), to score volumes of 2D slices in 3D.")
    ] = None,
    max_ram: MaxRam = None,
    json_output: Json = False,
) -> None:
    """Score a run or a folder: Dice, HD95, NSD, volumes ..."""
    from vesal.evaluate.tables import scores_text
    from vesal.workflow.evaluate import evaluate_run

    with limited(max_ram), progress(json_output) as stage:
        scores = evaluate_run(
            first,
            truth,
            out=out,
            labels=labels,
            tolerance_mm=tolerance_mm,
            lesions=lesions or None,
            slice_mm=slice_mm,
            progress=stage("Scoring"),
        )
    where = out if out is not None else first if truth is None else None
    more = "Each case and all metrics: " + (
        "add -o FOLDER, or --json." if where is None else f"{where / SCORES_TEXT}"
    )
    print_result(json_output, scores.to_dict(), f"{scores_text(scores)}\n{more}")
    report_failures(scores.failures, json_output)


def report(
    run: Annotated[Path, Argument("A run folder.")],
    npy: Annotated[bool, Option("Write the histories as history.npy, too.")] = False,
    json_output: Json = False,
) -> None:
    """One page of a run; curves, surfaces, summaries beside it."""
    from vesal.report.pages.run_page import write_run_report
    from vesal.run.folder import Run

    folder = Run(run)
    folder.dataset()
    page = write_run_report(run, arrays=npy)
    unfinished = folder.unfinished()
    text = f"Report: {page}" if unfinished is None else f"{unfinished}\nReport: {page}"
    print_result(json_output, {"report": str(page), "unfinished": unfinished}, text)


def export(
    to: Annotated[
        str,
        Option("For what: onnx, openvino (to predict without torch), web (a page), nnunet, kaggle, slurm."),
    ],
    out: Annotated[
        Path,
        Option("Folder for what is written; of a model the file, NAME.vesal or NAME.xml.", ("-o", "--out")),
    ],
    options: KernelOptions,
    slurm: SlurmOptions,
    source: Annotated[
        Path | None,
        Argument(
            "The model: a .vesal file, or a run folder whose folds vote. Kaggle: a run folder, whose settings are "
            "trained with (or give --recipe)."
        ),
    ] = None,
    precision: Annotated[
        str,
        Option(
            "float32, or for openvino int8: faster, and refused where held-out cases lose more than 0.005 of the Dice."
        ),
    ] = "float32",
    json_output: Json = False,
) -> None:
    """Write what another place takes: a model without torch, as a page, for nnU-Net; jobs for Kaggle or SLURM."""
    from vesal.workflow.export import export as export_to

    exported = export_to(to, out, source, options, slurm, precision=precision)
    print_result(json_output, exported.to_dict(), exported.text())
