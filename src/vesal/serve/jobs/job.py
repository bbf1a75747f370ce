"""What a job is: what was asked, how far it is, and what came out."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import Field, FiniteFloat, model_validator

from vesal.record import Record
from vesal.workflow.requests.predict_options import DICOM_FORMATS

#: What a job may make beside the label map as NIfTI, which it always makes.
KINDS = ("nifti", "nrrd", *DICOM_FORMATS, "uncertainty", "glb", "stl")

#: Below a job's folder: what is unpacked, which goes with the upload, however the process ends.
TEMPORARY = "temporary"


class Status(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self not in (Status.QUEUED, Status.RUNNING)


class JobOptions(Record):
    """How a job's scans are segmented.

    Attributes:
        to: of KINDS.
        threshold: as of `vesal.workflow.requests.predict_options.PredictOptions`.
        series: of a DICOM study, once a channel.
        fill_slices: of a DICOM series that lacks some.
    """

    to: tuple[str, ...] = ("nifti",)
    threshold: float = Field(default=0.5, gt=0.0, lt=1.0)
    series: tuple[str, ...] = ()
    fill_slices: bool = False

    @model_validator(mode="after")
    def _known(self) -> Self:
        for kind in self.to:
            if kind not in KINDS:
                raise ValueError(f"'to' takes {', '.join(KINDS)}, not '{kind}'")
        return self


class ExpectedDice(Record):
    """The quality estimate of a class: its value and an interval."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class VolumeInterval(Record):
    """What holds the true volume of a class (ml), for the share `level` of scans."""

    low: FiniteFloat
    high: FiniteFloat
    level: FiniteFloat


class CaseResult(Record):
    """What was found in a scan.

    Attributes:
        volumes_ml: class -> millilitres.
        volume_intervals: class -> the interval around it, of the classes that have one.
        verdict: pass, review, or None where the model estimates no quality and nothing was noted.
        reason: to review it.
    """

    name: str
    volumes_ml: dict[str, FiniteFloat]
    verdict: str | None = None
    reason: str = ""
    expected_dice: dict[str, ExpectedDice] | None = None
    volume_intervals: dict[str, VolumeInterval] = Field(default_factory=dict)


class ResultFile(Record):
    """A file that a job made.

    Attributes:
        name: below the folder of its results.
        kind: of KINDS, or scan: the scan itself as NIfTI, on the grid of the label map.
        case: of which scan.
        bytes: its size.
        sha256: of its content.
    """

    name: str
    kind: str
    case: str
    bytes: int
    sha256: str


class Outcome(Record):
    """What a job made.

    Attributes:
        notes: what else is to be known, such as files that were left out.
    """

    cases: tuple[CaseResult, ...] = ()
    results: tuple[ResultFile, ...] = ()
    notes: tuple[str, ...] = ()


class Job(Record):
    """A job.

    Attributes:
        id: 32 hexadecimal digits, not to be guessed.
        model: its name on this server.
        tries: how often it was begun.
        created, started, finished, expires: UTC.
        error: why it failed, one sentence.
        refused: it failed for what the scan or the options are, and would again.
    """

    id: str
    model: str
    options: JobOptions = JobOptions()
    status: Status = Status.QUEUED
    tries: int = 0
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    expires: datetime | None = None
    error: str | None = None
    refused: bool = False
    outcome: Outcome = Outcome()
