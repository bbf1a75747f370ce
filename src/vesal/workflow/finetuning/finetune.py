"""Fine-tune: a training that begins with a model, and beside it one that begins with nothing, where that is wanted.

There is one trainer: a fine-tuning is a run of `vesal train` whose plan and first weights are the model's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vesal.errors import UsageError, VesalError
from vesal.evaluate.compare_text import sentence
from vesal.evaluate.paired_comparison import Comparison
from vesal.layouts.registry import load_dataset
from vesal.memory_limit import limited
from vesal.nn.adaptation import Adaptation
from vesal.parallel import StageProgress, no_progress
from vesal.record import Record
from vesal.report.pages.run_page import write_run_report
from vesal.run.folder import Run
from vesal.run_files import ALL, BESIDE_SCRATCH, FINETUNING, FOLDS, SCRATCH
from vesal.train.recipe import LENGTHS, TrainConfig, parse_overrides
from vesal.workflow.compare import compare_runs
from vesal.workflow.finetuning.continued_split import Continued, continued_split, one_scan
from vesal.workflow.finetuning.source_model import SourceModel, source_model
from vesal.workflow.requests.finetune_request import FinetuneRequest
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.train import TrainResult, train_run
from vesal.workflow.training.training_config import NO_FOLD, run_config
from vesal.workflow.training.training_data import changed_description

#: Names of the two in the comparison.
NAMES = ("from scratch", "fine-tuned")

#: A third of auto's learning rate and a longer warm-up: the first steps shall not undo what the model knows.
_GENTLE = {"lr": 1e-3, "warmup": 0.1}

#: Settings of a fine-tuning that a training from the start does not take over: they are about what it begins with.
_OF_THE_START = ("lr", "lr_min", "warmup", "network", "initial_weights", "adapt", "freeze_encoder", "recipe")


class FinetuneResult(Record):
    """What a fine-tuning left.

    Attributes:
        trained: its run, as of `vesal train`.
        scratch: the run that began with nothing; None where none was wanted.
        comparison: of both on the held-out cases, B the fine-tuned one.
    """

    trained: TrainResult
    scratch: Path | None = None
    comparison: Comparison | None = None

    def text(self) -> str:
        """The scores, what they are beside a training from the start, and where to look."""
        if self.comparison is None:
            return self.trained.text()
        return f"{self.trained.text()}\n{sentence(self.comparison)}"


def finetune_run(
    request: FinetuneRequest, stage: StageProgress = no_progress, tell: Callable[[str], None] = print
) -> FinetuneResult:
    """Do it all; `stage` shows progress, `tell` takes one-line messages.

    Raises:
        UsageError: contradictory options, a model that does not suit the data, or as `train_run`.
        VesalError: the model cannot be read, or as `train_run`.
        DataError, Interrupted: as `train_run`.
    """
    with limited(request.max_ram, request.out):
        return _finetune(request, Run(request.out), stage, tell)


def _finetune(
    request: FinetuneRequest, run: Run, stage: StageProgress, tell: Callable[[str], None]
) -> FinetuneResult:
    with _train_request(request, run, stage, tell) as wanted:
        config = run_config(wanted, run, going_on=_goes_on(request, run), tell=lambda _text: None)
        if request.compare_scratch and config.fold is None:
            raise UsageError(
                "--compare-scratch compares on held-out cases, and none is held out; add --fold 0."
            )
        trained = train_run(wanted, stage, tell)
    if not request.compare_scratch:
        return FinetuneResult(trained=trained)
    scratch = run.folder / SCRATCH
    tell(f"The same from the start, as long, in {scratch}:")
    train_run(_scratch_request(request, run, TrainConfig.load(run.config_file)), stage, tell)
    found = compare_runs([scratch], [run.folder], names=NAMES, out=run.folder / BESIDE_SCRATCH)
    # Once more, with the comparison.
    write_run_report(run.folder)
    return FinetuneResult(trained=trained, scratch=scratch, comparison=found)


def _goes_on(request: FinetuneRequest, run: Run) -> bool:
    return request.resume and run.config_file.exists()


@contextmanager
def _train_request(
    request: FinetuneRequest, run: Run, stage: StageProgress, tell: Callable[[str], None]
) -> Iterator[TrainRequest]:
    """The training that a fine-tuning is; within the block its split, if it goes on from a run's, is a file."""
    common: dict[str, Any] = {
        name: getattr(request, name)
        for name in ("data", "out", "budget", "steps", "epochs", "resume", "seed", "device", "layout", "mirror",
                     "settings", "quiet", "fold", "folds_file", "cache", "recipe", "max_ram")
    }  # fmt: skip
    overrides = dict(request.overrides)
    frozen = {"freeze_encoder": True} if request.freeze_encoder else {}
    if _goes_on(request, run):
        _refuse_other_model(request, run)
        yield TrainRequest(**common, overrides=overrides | frozen)
        return
    source = source_model(request.model)
    own: dict[str, Any] = {"network": source.package.network}
    if request.recipe is None:
        own |= _GENTLE
    chosen = parse_overrides(request.settings)
    overrides = {name: value for name, value in own.items() if name not in chosen} | overrides
    overrides |= {"adapt": True} | frozen
    common |= {"from_file": source.file, "prepared": source.prepared if request.go_on else None}
    wanted = TrainRequest(**common, overrides=overrides)
    if not request.go_on:
        yield wanted
        return
    split = _continued(request, wanted, source, run, stage)
    if split is None:
        yield wanted
        return
    folds, number, text = split
    tell(text)
    with tempfile.TemporaryDirectory(prefix="vesal-split-") as folder:
        folds.save(Path(folder) / FOLDS)
        yield replace(wanted, fold=number, folds_file=Path(folder) / FOLDS)


def _refuse_other_model(request: FinetuneRequest, run: Run) -> None:
    """Raise where a run is to go on that began with another model than the one that is named.

    Raises:
        UsageError: it did.
    """
    known = TrainConfig.load(run.config_file).initial_weights
    try:
        source = source_model(request.model)
        began = {Adaptation.load(file).weights_digest for file in run.folder.glob(f"*/{FINETUNING}")}
    except VesalError:
        return  # It need not be there any more.
    if str(source.file) != known and source.package.weights_digest not in began:
        raise UsageError(
            f"{run.folder} began with {known or 'no model'}, not with {source.file}; name that one, or begin another "
            "run."
        )


def _continued(
    request: FinetuneRequest, wanted: TrainRequest, source: SourceModel, run: Run, stage: StageProgress
) -> Continued | None:
    """The split that goes on from the model's; None where it is drawn as ever.

    Raises:
        UsageError: the data are of another task.
    """
    config = run_config(wanted, run, going_on=False, tell=lambda _text: None)
    dataset = load_dataset(request.data, request.layout).decided(config.labels, config.label_threshold)
    if other := changed_description(source.planned, dataset):
        raise UsageError(
            f"--continue is for the model's own task, but {'; '.join(other)}; leave it out to fine-tune to these data."
        )
    if request.folds_file is not None or request.fold == NO_FOLD:
        return None
    if request.fold == "all":
        raise UsageError(
            "--continue goes on with the fold of one model, so --fold all cannot be; leave --fold out."
        )
    fold = None if request.fold is None else int(request.fold)
    known = source.run
    if known is None or (source.fold == ALL and fold is None):
        return None
    together = one_scan(known, dataset, stage("Reading new scans"))
    return continued_split(source, dataset, fold, folds=config.folds, seed=config.seed, together=together)


def _scratch_request(request: FinetuneRequest, run: Run, config: TrainConfig) -> TrainRequest:
    """A training from the start of the same length on the same cases, by the recipe auto, with a plan of its own."""
    chosen = parse_overrides(request.settings) | request.overrides
    settings = {name: value for name, value in chosen.items() if name not in (*_OF_THE_START, *LENGTHS)}
    length = {name: getattr(config, name) for name in LENGTHS if getattr(config, name) is not None}
    own = {
        "fold": config.fold,
        "folds": config.folds,
        "seed": config.seed,
        "deterministic": config.deterministic,
    }
    out = run.folder / SCRATCH
    return TrainRequest(
        data=request.data,
        out=out,
        overrides={**settings, **own, **length},
        folds_file=None if (out / FOLDS).exists() else run.folds_file,
        resume=(out / FOLDS).exists() and request.resume,
        device=request.device,
        layout=request.layout,
        mirror=request.mirror,
        max_ram=request.max_ram,
        quiet=request.quiet,
    )
