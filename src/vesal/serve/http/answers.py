"""What the server answers, as its OpenAPI page describes it."""

from __future__ import annotations

from datetime import datetime

from vesal.record import Record
from vesal.serve.jobs.job import CaseResult, Job, ResultFile, Status
from vesal.serve.jobs.job_service import JobService
from vesal.serve.serve_settings import Limits


class ErrorAnswer(Record):
    """Why a request was refused, in one sentence."""

    error: str


class LimitsAnswer(Record):
    """What the server takes: bytes of an upload, jobs that wait, seconds of a job, seconds that results are kept."""

    upload_bytes: int
    queue: int
    seconds: float
    keep_seconds: float

    @classmethod
    def of(cls, limits: Limits) -> LimitsAnswer:
        """The limits that a client should know."""
        return cls(
            upload_bytes=limits.upload_bytes,
            queue=limits.queue,
            seconds=limits.job_s,
            keep_seconds=limits.kept.total_seconds(),
        )


class JobAnswer(Record):
    """A job.

    Attributes:
        progress: 0 to 1.
        stage: what is being done.
        ahead: jobs before it.
        created, started, finished, expires: UTC.
        error: why it failed.
        notes: what else is to be known, such as files that were left out.
    """

    id: str
    model: str
    status: Status
    progress: float
    stage: str
    ahead: int
    created: datetime
    started: datetime | None
    finished: datetime | None
    expires: datetime | None
    error: str | None
    cases: tuple[CaseResult, ...]
    results: tuple[ResultFile, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, job: Job, service: JobService) -> JobAnswer:
        """A job as it is now."""
        now = service.progress(job)
        return cls(
            **job.model_dump(
                include={"id", "model", "status", "created", "started", "finished", "expires", "error"}
            ),
            progress=now.share,
            stage=now.stage,
            ahead=now.ahead,
            cases=job.outcome.cases,
            results=job.outcome.results,
            notes=job.outcome.notes,
        )
