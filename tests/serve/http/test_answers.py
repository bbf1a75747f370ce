"""What the server answers about jobs and limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

from vesal.serve.http.answers import JobAnswer, LimitsAnswer
from vesal.serve.jobs.job import Job, Outcome
from vesal.serve.jobs.job_service import JobService, Progress
from vesal.serve.serve_settings import Limits


class Service:
    def progress(self, _: Job) -> Progress:
        return Progress(0.25, "Segmenting", 2)


def test_a_job_is_answered_with_its_progress_and_times_in_utc() -> None:
    job = Job(
        id="a", model="heart", created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC), outcome=Outcome(notes=("one",))
    )
    found = JobAnswer.of(job, cast(JobService, Service())).to_dict()
    assert (found["progress"], found["stage"], found["ahead"]) == (0.25, "Segmenting", 2)
    assert found["created"] == "2026-01-02T03:04:00Z"
    assert (found["status"], found["notes"], found["expires"]) == ("queued", ["one"], None)
    # Not how often it was tried, nor its options.
    assert found.keys().isdisjoint({"tries", "options"})


def test_limits_are_plain_numbers() -> None:
    found = LimitsAnswer.of(Limits(upload_bytes=5, queue=6, job_s=7, kept=timedelta(hours=2)))
    assert found.to_dict() == {"upload_bytes": 5, "queue": 6, "seconds": 7.0, "keep_seconds": 7200.0}
