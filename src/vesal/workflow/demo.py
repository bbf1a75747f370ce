"""The demo: synthetic scans through the whole pipeline, with held-out scans that no step has seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vesal.errors import UsageError
from vesal.evaluate.robustness.result import Robustness
from vesal.evaluate.robustness.result_text import robustness_text
from vesal.evaluate.scores import Scores
from vesal.evaluate.tables import scores_text
from vesal.files import write_bytes, write_json
from vesal.infer.model import Model
from vesal.infer.predictor import load_model
from vesal.layouts.input_scans import cases_to_predict
from vesal.layouts.registry import load_dataset
from vesal.parallel import StageProgress
from vesal.phantoms.registry import write_phantoms
from vesal.record import Record
from vesal.run.folder import Run
from vesal.run_files import REPORT, fold_folder
from vesal.volume.io import read_label, read_volume
from vesal.workflow.evaluate import evaluate_run
from vesal.workflow.inspect import inspect_run
from vesal.workflow.predict import predict_cases
from vesal.workflow.requests.robustness_request import RobustnessRequest
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.robustness.benchmark_run import robustness_run
from vesal.workflow.training.train import train_run

CASES = 20

#: Enough to see how a benchmark reads, in some twenty seconds; vesal robustness has them all.
_ARTEFACTS = {"MR": ("noise", "motion", "bias"), "CT": ("noise", "streaks", "hu_shift")}


class DemoResult(Record):
    """Scores on the held-out phantoms, clean and under artefacts, and the pages to look at."""

    held_out: Scores
    report: Path
    robustness: Robustness
    robustness_report: Path

    def text(self) -> str:
        """Where to look."""
        return f"Report: {self.report}\nRobustness: {self.robustness_report}"


def demo_run(
    out: Path,
    kind: str,
    budget_s: float,
    *,
    stage: StageProgress,
    tell: Callable[[str], None],
    resume: bool = False,
) -> DemoResult:
    """Phantoms -> inspect -> train one fold -> predict the test scans -> evaluate them, also corrupted -> reports."""
    data, run = out / "data", out / "run"
    if out.exists() and any(out.iterdir()) and not resume:
        raise UsageError(
            f"{out} is not empty; add --resume to go on with the demo in it, or choose another folder."
        )
    tell(f"Drawing {CASES} synthetic {kind} scans into {data}")
    write_phantoms(data, kind, CASES, progress=stage("Drawing"))
    inspect_run(data, out / "inspect", progress=stage("Inspecting"))
    begun = Run(run).config_file.exists()
    overrides = {} if begun else {"budget_s": budget_s, "fold": 0}
    request = TrainRequest(data=data, out=run, overrides=overrides, resume=resume, device="cpu")
    train_run(request, stage, tell)
    model = load_model(fold_folder(run, 0), device="cpu")
    scans = cases_to_predict([data / "imagesTs"], len(model.plan.channels))
    predict_cases(model, scans, out / "predictions", progress=stage("Predicting"))
    scores = evaluate_run(
        out / "predictions",
        data / "labelsTs",
        out=out,
        labels=data / "dataset.json",
        progress=stage("Scoring"),
    )
    tell("\nHeld-out phantoms that no step of the training has seen:\n")
    tell(scores_text(scores))
    _picture(out, data, scores)
    tell("\nThe same phantoms under a few artefacts:\n")
    robustness = _robustness(out, model, stage, resume)
    tell(robustness_text(robustness))
    page = out / "robustness" / "robustness.html"
    return DemoResult(held_out=scores, report=run / REPORT, robustness=robustness, robustness_report=page)


def _robustness(out: Path, model: Model, stage: StageProgress, resume: bool) -> Robustness:
    data, listed = out / "data", out / "held-out.json"
    names = sorted(path.name for path in (data / "labelsTs").glob("*.nii.gz"))
    cases = [{"image": f"data/imagesTs/{name}", "label": f"data/labelsTs/{name}"} for name in names]
    labels = {label.name: label.value for label in model.labels.labels}
    regions = {region.name: list(region.members) for region in model.labels.regions}
    write_json(listed, {"name": "held-out phantoms", "labels": labels, "regions": regions, "cases": cases})
    request = RobustnessRequest(
        model=fold_folder(out / "run", 0),
        data=listed,
        out=out / "robustness",
        artifacts=_ARTEFACTS[model.plan.modality],
        quick=True,
        device="cpu",
        resume=resume,
    )
    return robustness_run(request, stage, lambda _text: None)


def _picture(out: Path, data: Path, scores: Scores) -> None:
    """picture.png: the held-out scan of median Dice, as the README shows it."""
    # Imported here: drawing libraries are not needed before.
    from vesal.report.figures.scan_figures import showcase

    labels = load_dataset(data).labels
    case, dice = _median_case(scores)
    truth, prediction = (
        read_label(folder / f"{case}.nii.gz") for folder in (data / "labelsTs", out / "predictions")
    )
    scan = read_volume(data / "imagesTs" / f"{case}.nii.gz")
    write_bytes(out / "picture.png", showcase(scan, truth, prediction, labels, caption=f"Dice {dice:.3f}"))


def _median_case(scores: Scores) -> tuple[str, float]:
    """The case whose mean Dice over the classes is the median (the upper of two)."""
    ranked = sorted((dice, case) for case, dice in scores.mean_dice().items() if dice is not None)
    dice, case = ranked[len(ranked) // 2]
    return case, dice
