"""Numbers for Prometheus, as its own parser reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast

from prometheus_client.parser import text_string_to_metric_families

from vesal.serve.http.serve_metrics import ServeMetrics
from vesal.serve.jobs.job import Job, Status
from vesal.serve.jobs.job_service import JobService


class Service:
    restarts = 2

    def __init__(self) -> None:
        self.on_end: list[Callable[[Job], None]] = []

    def counts(self) -> Counter[str]:
        return Counter({"queued": 3})

    def free(self) -> int:
        return 1 << 30


def test_what_happened_is_counted() -> None:
    service = Service()
    metrics = ServeMetrics(cast(JobService, service))
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for status, seconds in ((Status.FINISHED, 7), (Status.FAILED, 9)):
        ended = began + timedelta(seconds=seconds)
        job = Job(id="a", model="heart", status=status, created=began, started=began, finished=ended)
        for listener in service.on_end:
            listener(job)
    metrics.received(1000)
    metrics.refused(413)
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }
    assert found["vesal_jobs_ended_total", "finished", "heart"] == 1
    assert found["vesal_jobs_ended_total", "failed", "heart"] == 1
    assert found["vesal_job_seconds_sum", "heart"] == 7
    assert found["vesal_upload_bytes_total",] == 1000
    assert found["vesal_refused_total", "413"] == 1
    assert found["vesal_jobs", "queued"] == 3
    assert found["vesal_jobs", "running"] == 0
    assert found["vesal_worker_starts_total",] == 2
    assert found["vesal_disk_free_bytes",] == 1 << 30
