"""The names of the files and folders in a run folder, once.

They stand on the ground floor because training, evaluation and prediction write and look for them, below `vesal.run`.
"""

from __future__ import annotations

from pathlib import Path

#: Of the run.
DATASET = "dataset.json"
FINGERPRINT = "fingerprint.json"
FINDINGS = "findings.json"
PLAN = "plan.json"
#: The digest of the data set's files when the fingerprint was taken.
SOURCES = "sources.json"
CONFIG = "config.yaml"
FOLDS = "folds.json"
#: The cases that training uses -> the digest of their files.
CASES = "cases.json"
ENVIRONMENT = "environment.json"
SCORES, SCORES_CSV, SCORES_TEXT = "scores.json", "scores.csv", "scores.md"
#: Of the volumes that slices belong to.
VOLUME_SCORES_CSV = "scores_volumes.csv"
SUMMARY, SUMMARY_TEXT = "summary.json", "summary.md"
POSTPROCESS, POSTPROCESS_TEXT = "postprocess.json", "postprocess.md"
#: What the quality model was fitted to, scan by scan.
CALIBRATION = "quality_calibration.json"
#: Beside predictions: their quality estimates.
QUALITY, QUALITY_CSV = "quality.json", "quality.csv"
#: Beside predictions by an engine: how each case ended.
COHORT, COHORT_CSV, COHORT_PARQUET = "cohort.jsonl", "cohort.csv", "cohort.parquet"
#: The first line of COHORT.
COHORT_HEAD = {"version": 1}
#: Of results at an address: the folder of what the record grows by.
COHORT_PARTS = "cohort.parts"
REPORT = "report.html"
#: What went wrong after the training, with tracebacks.
PROBLEMS = "problems.txt"
#: In every folder that a verb writes results into: which files are Vesal's (`vesal.outputs`).
OUTPUTS = "vesal-outputs.jsonl"
#: Folders.
PREPARED, SURFACES, LOCKS = "prepared", "surfaces", ".locks"
#: The run that a fine-tuning is compared with, trained from the start as long, and the comparison.
SCRATCH, BESIDE_SCRATCH = "from_scratch", "beside_scratch"
#: In that folder.
COMPARISON = "comparison.json"
#: What it costs that a channel is missing, by the held-out cases.
MISSING_CHANNELS = "missing_channels.json"

#: Of the folder of a fold.
MODEL = "model.vesal"
CHECKPOINT = "last.ckpt"
METRICS = "metrics.jsonl"
TRAIN_LOG = "train.log"
HISTORY, HISTORY_ARRAY = "history.csv", "history.npy"
CURVES, VALIDATION_GRID = "training_curves.png", "val_predictions.png"
#: The training came to its end, and what the fold held out is predicted.
FINISHED = "finished.json"
#: What was taken from the model that a fine-tuning began with, and what is new.
FINETUNING = "finetuning.json"
#: The digest of the model that made the predictions.
PREDICTED_BY = "predictions.json"
#: What bfloat16 changes in the masks of a few scans.
BFLOAT16 = "bfloat16.json"
#: The folder of the coarse stage, and in it: the share of the truth that its boxes miss, by held-out case.
LOCATOR, LOCATED = "locator", "located.json"
#: The folder of each network after the first, where several vote: its number follows, from 2.
FURTHER_NETWORK = "network_"
#: The Dice of the held-out cases by the networks that vote, as one after the other was tried.
VOTES = "votes.json"
#: Folders.
PREDICTIONS, TENSORBOARD = "predictions", "tensorboard"
#: The network's own predictions of the cases that post-processing changed.
RAW_PREDICTIONS = "predictions_raw"

#: The name of a training on all cases, in place of a fold's number.
ALL = "all"
_FOLD = "fold_"
#: The models of all folds, as a pattern in the run folder.
MODELS = f"{_FOLD}*/{MODEL}"

#: What evaluation writes into a folder, of a run or another; and all that is written anew with what a run has reached.
SCORE_FILES = (SCORES, SCORES_CSV, SCORES_TEXT, VOLUME_SCORES_CSV)
RESULTS = (
    *SCORE_FILES,
    POSTPROCESS,
    POSTPROCESS_TEXT,
    CALIBRATION,
    MISSING_CHANNELS,
    REPORT,
    SUMMARY,
    SUMMARY_TEXT,
)
FOLD_RESULTS = (HISTORY, HISTORY_ARRAY, CURVES, VALIDATION_GRID)

#: What lies in a run, in the order in which a summary lists it; '*' stands for the fold.
DESCRIPTIONS = {
    REPORT: "everything on one page, with pictures",
    SUMMARY: "this summary for programs",
    SUMMARY_TEXT: "this summary",
    MODELS: "the best model, all that prediction needs",
    f"{_FOLD}*/{CHECKPOINT}": "the last state, from which --resume goes on",
    f"{_FOLD}*/{METRICS}": "every number that was logged",
    f"{_FOLD}*/{TRAIN_LOG}": "the same to read, with what happened when",
    f"{_FOLD}*/{HISTORY}": "losses, metrics and learning rate as a table",
    f"{_FOLD}*/{HISTORY_ARRAY}": "the same as an array of named columns",
    f"{_FOLD}*/{CURVES}": "the same as curves",
    f"{_FOLD}*/{VALIDATION_GRID}": "held-out cases beside their predictions",
    f"{_FOLD}*/{PREDICTIONS}": "segmentations of the held-out cases",
    f"{_FOLD}*/{FINETUNING}": "what was taken from the model that it began with, and what is new",
    f"{_FOLD}*/{BFLOAT16}": "whether the masks of a few scans are the same in bfloat16",
    f"{_FOLD}*/{TENSORBOARD}": "for tensorboard --logdir",
    SURFACES: "surfaces of the cases on the page, for 3D viewers",
    SCORES: "scores of every case and class",
    SCORES_CSV: "the same as a table",
    SCORES_TEXT: "the same to read",
    VOLUME_SCORES_CSV: "scores of the volumes that the slices belong to",
    MISSING_CHANNELS: "Dice where a channel is missing",
    PLAN: "spacing, patch, network",
    CONFIG: "every setting",
    FOLDS: "which case was held out when",
    CASES: "the cases that were used, with a digest of their files",
    DATASET: "files, labels and channels of the data set",
    FINGERPRINT: "what was measured in the data",
    FINDINGS: "what was found in the data",
    ENVIRONMENT: "machine and versions",
}


def fold_folder(run: Path, name: int | str) -> Path:
    """The folder of one fold, or of ALL."""
    return run / f"{_FOLD}{name}"


def fold_name(folder: Path) -> str | None:
    """The name of the fold whose folder this is, or None.

    >>> fold_name(Path("heart/fold_0")), fold_name(Path("heart"))
    ('0', None)
    """
    return folder.name.removeprefix(_FOLD) if folder.name.startswith(_FOLD) else None


def fold_folders(run: Path) -> list[Path]:
    """The folders of all folds of a run, by number."""

    def order(path: Path) -> tuple[int, str]:
        name = fold_name(path) or ""
        return (int(name), "") if name.isdigit() else (10**9, name)

    return sorted((path for path in run.glob(f"{_FOLD}*") if path.is_dir()), key=order)
