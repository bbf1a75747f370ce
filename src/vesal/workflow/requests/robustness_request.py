"""What `vesal robustness` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vesal.errors import UsageError
from vesal.workflow.requests.fields import (
    Argument,
    Backend,
    Device,
    Layout,
    MaxRam,
    Mirror,
    Option,
    Precision,
    Request,
)


def parse_severities(text: str) -> tuple[int, ...]:
    """What --severity says, each number once.

    >>> parse_severities("1,3..5")
    (1, 3, 4, 5)

    Raises:
        UsageError: it is something else.
    """
    chosen: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("..")
        ends = (first, last or first)
        if not all(map(str.isdecimal, ends)) or not 1 <= int(ends[0]) <= int(ends[1]) <= 5:
            raise UsageError(
                f"--severity is whole numbers from 1 to 5, such as 3, 1,3,5 or 1..5, not '{text}'."
            )
        chosen += range(int(ends[0]), int(ends[1]) + 1)
    return tuple(dict.fromkeys(chosen))


@dataclass(frozen=True)
class RobustnessRequest(Request):
    """Which model to measure on which scans, under which artefacts.

    Attributes:
        artifacts: as `vesal.augment.artifacts.benchmark.parse_artifact` reads them.
        severities: None for all of them, or for those of `quick`.
        limits: as `Limit.parse` reads them.
        baseline: a robustness.json, or the folder of one.
        max_ram: bytes that all processes of this machine together may take; None for no limit.
        pictures: whether the worst cases are drawn.
    """

    model: Annotated[Path, Argument("A .vesal file, a run folder, or one of its folds.")]
    data: Annotated[
        Path | None, Argument("Folder of labelled scans; the run's held-out cases when not given.")
    ] = None
    out: Annotated[
        Path | None, Option("Folder for the results: RUN/robustness, or ./robustness.", ("-o", "--out"))
    ] = None
    artifacts: Annotated[
        tuple[str, ...],
        Option(
            "motion, motion:3, noise=0.03, motion=10deg,5px ...; all when not given.",
            ("--artifact",),
            many=True,
        ),
    ] = ()
    severities: Annotated[
        tuple[int, ...] | None,
        Option("Such as 3, 1,3,5 or 1..5 (the default).", ("--severity",), parse=parse_severities),
    ] = None
    quick: Annotated[bool, Option("Severities 1, 3 and 5 only.")] = False
    limits: Annotated[
        tuple[str, ...],
        Option(
            "Fail above it: dice-drop=30 (percent, all), motion=30, motion:5=40.", ("--limit",), many=True
        ),
    ] = ()
    baseline: Annotated[Path | None, Option("Another benchmark's robustness.json, to compare with.")] = None
    cases: Annotated[int | None, Option("At most so many, evenly spread.", min=1)] = None
    fold: Annotated[int | None, Option("Of a run; all when not given.", min=0)] = None
    seed: Annotated[int, Option("Of what is drawn.", min=0)] = 0
    resume: Annotated[bool, Option("Resume the benchmark in OUT.")] = False
    mirror: Mirror = False
    device: Device = "auto"
    backend: Backend = "auto"
    precision: Precision = "auto"
    layout: Layout = "auto"
    max_ram: MaxRam = None
    pictures: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quick and self.severities is not None:
            raise UsageError("--quick chooses severities 1, 3 and 5; leave it or --severity out.")

    @property
    def chosen_severities(self) -> tuple[int, ...]:
        """From 1 to 5, as they were asked for."""
        if self.severities is not None:
            return self.severities
        return (1, 3, 5) if self.quick else (1, 2, 3, 4, 5)

    @property
    def folder(self) -> Path:
        """Where the results go: `out`, else 'robustness' in the run, or here where the model lies in none."""
        if self.out is not None:
            return self.out
        # Imported here: the rest of this module is read for every --help.
        from vesal.run.folder import Run

        return self.model / "robustness" if Run(self.model).dataset_file.exists() else Path("robustness")
