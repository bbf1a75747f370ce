"""What `vesal finetune` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from vesal.workflow.requests.fields import (
    Argument,
    Data,
    Device,
    Layout,
    MaxRam,
    Mirror,
    Option,
    Out,
    Request,
    Settings,
    parse_fold,
)


@dataclass(frozen=True)
class FinetuneRequest(Request):
    """Which model to fine-tune on what, and how.

    Attributes:
        model: a model file, or a run folder that holds one model.
        out: the run folder.
        recipe: auto with a lower learning rate where it is None; a resumed run keeps its own.
        go_on: the data are the model's own task with added cases.
        freeze_encoder: do not train what the model's encoder has learned.
        compare_scratch: train from the start, too, in the same time, and compare.
        cache: the run folder's prepared/ by default; with `go_on` it gets what the model's run has prepared.
        fold, budget, steps, epochs, seed, max_ram, overrides, quiet: as of `TrainRequest`.
    """

    model: Annotated[Path, Argument("A .vesal file, or a run folder with one model.")]
    data: Data
    out: Out
    go_on: Annotated[
        bool, Option("The same task with added cases: prepare those alone, keep the split.", ("--continue",))
    ] = False
    freeze_encoder: Annotated[
        bool, Option("Keep what the encoder learned; train the rest and what is new.")
    ] = False
    compare_scratch: Annotated[
        bool, Option("Also train from the start, as long, and compare on the held-out cases.")
    ] = False
    recipe: Annotated[
        str | None, Option("Recipe by name, or a YAML file; auto with a lower rate if not given.")
    ] = None
    fold: Annotated[
        int | str | None,
        Option("A fold's number, all, or none to hold no case out.", parse=parse_fold),
    ] = None
    budget: Annotated[str | None, Option("Time to train, such as 20m.")] = None
    steps: Annotated[int | None, Option("Optimizer steps instead of a budget.", min=1)] = None
    epochs: Annotated[int | None, Option("Epochs instead of a budget.", min=1)] = None
    resume: Annotated[bool, Option("Go on with the run in OUT.")] = False
    seed: Annotated[int | None, Option("Of split, new weights and augmentation.", min=0)] = None
    folds_file: Annotated[Path | None, Option("A split of your own, in JSON.", ("--folds",))] = None
    cache: Annotated[Path | None, Option("Where prepared scans are kept.")] = None
    device: Device = "auto"
    layout: Layout = "auto"
    mirror: Mirror = False
    max_ram: MaxRam = None
    settings: Settings = ()
    overrides: dict[str, Any] = field(default_factory=dict)
    quiet: bool = False
