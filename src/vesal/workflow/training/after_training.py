"""What follows a training: held-out cases predicted and scored, post-processing chosen, quality estimate calibrated.

None of it may cost the training that it follows: each step is an attempt (`Session.attempt`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vesal.data.dataset import Case
from vesal.errors import VesalError
from vesal.evaluate.scores import Scores
from vesal.files import read_json, write_json
from vesal.infer.predictor import load_model
from vesal.nn.model_file import load_package, save_package
from vesal.outputs import OutputFolder
from vesal.parallel import StageProgress
from vesal.report.pages.run_page import write_run_report
from vesal.run.lock import locked
from vesal.run_files import PREDICTED_BY, PREDICTIONS, RAW_PREDICTIONS
from vesal.train.state import TrainJob
from vesal.workflow.choose_postprocess import choose_postprocess
from vesal.workflow.evaluate import score_run
from vesal.workflow.predict import predict_cases
from vesal.workflow.prediction.channel_costs import measure_channel_costs
from vesal.workflow.quality import CalibrationOptions, calibrate_run, time_limit_s
from vesal.workflow.requests.predict_options import PredictOptions
from vesal.workflow.training.training_session import Session


def predict_validation(job: TrainJob, cases: Sequence[Case], stage: StageProgress) -> None:
    """Predict the fold's held-out scans from their files, exactly as a user would.

    Raises:
        VesalError: one could not be predicted; the others are.
    """
    if not job.validation:
        return
    held_out = {case.id for case in job.validation}
    # Without post-processing: it is chosen on these predictions.
    model = load_model(job.model_file, device=str(job.device), postprocess=False)
    folder = job.folder / PREDICTIONS
    made_by = job.folder / PREDICTED_BY
    digest = model.packages[0].weights_digest
    if not (made_by.exists() and read_json(made_by) == digest):
        # Of an earlier state of a run that was since prolonged; the predictions themselves are made anew below.
        shutil.rmtree(job.folder / RAW_PREDICTIONS, ignore_errors=True)
    write_json(made_by, digest)
    result = predict_cases(
        model,
        [case for case in cases if case.id in held_out],
        folder,
        PredictOptions(mirror=job.config.tta, overlap=job.config.overlap, resume=True),
        progress=stage("Predicting"),
    )
    if result.failures:
        raise VesalError(f"{result.failures[0].id}: {result.failures[0].message}")


def finish_run(session: Session, models: Sequence[Path]) -> tuple[Scores | None, Path | None]:
    """Choose the post-processing, score, calibrate the quality estimate, and write the report.

    Returns:
        The scores, None where nothing was held out or they could not be computed; and the report.
    """
    run = session.run
    # Folds that end at the same time write the same files one after the other.
    with locked(run.folder, "results", f"The results of {run.folder}", waiting=session.tell):
        with OutputFolder(run.folder, below=False):
            scores = _score(session, models) if run.trained_folds() else None
        report = session.attempt("The report could not be written", lambda: write_run_report(run.folder))
    return scores, report


def _score(session: Session, models: Sequence[Path]) -> Scores | None:
    run, config, stage = session.run, session.config, session.stage
    choice = session.attempt(
        "Post-processing could not be chosen",
        lambda: choose_postprocess(run, progress=stage("Post-processing")),
    )
    if choice is not None:
        session.tell(choice.sentence)
    scores = session.attempt(
        "The scores could not be computed", lambda: score_run(run, progress=stage("Scoring"))
    )
    if scores is None:
        return None

    def keep_scores() -> None:
        for file in models:
            # The measured quality travels in the model file.
            save_package(file, replace(load_package(file), scores=scores.to_dict()))

    def calibrate() -> None:
        # Time differs from run to run, and what is learned in it.
        allowed_s = None if config.deterministic else time_limit_s(run)
        options = CalibrationOptions(config.tta, config.overlap, str(session.device), allowed_s)
        calibrate_run(run, options, progress=stage("Calibrating its quality model"), tell=session.tell)

    session.attempt("The scores could not be written into the model files", keep_scores)
    session.attempt("The quality model could not be fitted", calibrate)
    if config.augment.drop_channels > 0:
        session.attempt(
            "What missing channels cost could not be measured",
            lambda: measure_channel_costs(
                run, scores, config, str(session.device), progress=stage("Without a channel")
            ),
        )
    return scores
