"""What `vesal train` and `vesal overfit` take."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from vesal.errors import UsageError
from vesal.workflow.requests.fields import (
    Data,
    Device,
    Layout,
    MaxRam,
    Mirror,
    Option,
    Out,
    Recipe,
    Request,
    Settings,
    parse_fold,
)


@dataclass(frozen=True)
class TrainRequest(Request):
    """What to train on, and how.

    Attributes:
        out: the run folder.
        recipe: auto where it is None; a resumed run keeps its own.
        fold: None for what the recipe says, 'none' where no case is held out.
        budget: time to train, such as '20m'.
        seed, deterministic, mirror, dimension: None and False leave what the recipe says.
        devices: processes of this machine that train together, each on a device of its own; None for one, or for what
            torchrun or srun has started.
        cache: the run folder's prepared/ by default.
        prepared: the folder of another run's prepared scans, which need not be prepared again.
        max_ram: bytes that all processes of this machine together may take; None for no limit.
        overrides: fields of the recipe to replace, by their dotted names; they count more than the options above.
        quiet: no live display.
    """

    data: Data
    out: Out
    recipe: Annotated[
        str | None,
        Option("Recipe by name (vesal list recipes lists them), or a YAML file; auto if not given."),
    ] = None
    fold: Annotated[
        int | str | None,
        Option(
            "A fold's number, all, or none to hold no case out; as the recipe says if not given.",
            parse=parse_fold,
        ),
    ] = None
    budget: Annotated[str | None, Option("Time to train, such as 20m.")] = None
    steps: Annotated[int | None, Option("Optimizer steps instead of a budget.", min=1)] = None
    epochs: Annotated[int | None, Option("Epochs instead of a budget.", min=1)] = None
    resume: Annotated[bool, Option("Go on with the run in OUT.")] = False
    from_file: Annotated[
        Path | None, Option("Weights to begin with: a model file or a state dict.", ("--from",))
    ] = None
    seed: Annotated[int | None, Option("Of split, weights and augmentation.", min=0)] = None
    deterministic: Annotated[bool, Option("Bitwise repeatable; needs steps or epochs.")] = False
    folds_file: Annotated[Path | None, Option("A split of your own, in JSON.", ("--folds",))] = None
    dimension: Annotated[int | None, Option("2 or 3; planned when not given.")] = None
    plan_file: Annotated[Path | None, Option("A plan that vesal plan -o wrote.", ("--plan",))] = None
    cache: Annotated[Path | None, Option("Where prepared scans are kept.")] = None
    device: Device = "auto"
    devices: Annotated[
        int | None,
        Option("Train on so many GPUs of this machine (or processes of its CPU) together.", min=1),
    ] = None
    layout: Layout = "auto"
    mirror: Mirror = False
    max_ram: MaxRam = None
    settings: Settings = ()
    overrides: dict[str, Any] = field(default_factory=dict)
    prepared: Path | None = None
    quiet: bool = False


@dataclass(frozen=True)
class OverfitRequest(Request):
    """Which cases to overfit, and how.

    Attributes:
        out: takes plan, configuration, curves and the overfitted model.
        budget: '5m' where no steps are given either.
        settings, overrides, quiet: as in `TrainRequest`; augmentation is off and the target 0.95 unless they are
            named here.
    """

    data: Data
    out: Out = Path("overfit")
    cases: Annotated[int, Option("How many cases to overfit.", min=1)] = 4
    recipe: Recipe = "auto"
    budget: Annotated[str | None, Option("Time to try.")] = None
    steps: Annotated[int | None, Option("Steps instead of a budget.", min=1)] = None
    device: Device = "auto"
    layout: Layout = "auto"
    settings: Settings = ()
    overrides: dict[str, Any] = field(default_factory=dict)
    quiet: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget is not None and self.steps is not None:
            raise UsageError("--budget and --steps both set the length; choose one.")
