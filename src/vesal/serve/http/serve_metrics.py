"""Numbers for Prometheus; none of them names a patient, a study or a file."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vesal.serve.jobs.job import Job, Status
from vesal.serve.jobs.job_service import JobService

#: Seconds of a job.
_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class ServeMetrics:
    """Counts what the server does from its start.

    Args:
        service: whose jobs are counted.
    """

    def __init__(self, service: JobService) -> None:
        self._registry = CollectorRegistry()
        self._ended = Counter(
            "vesal_jobs_ended",
            "Jobs that ended, by model and how.",
            ["model", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "vesal_job_seconds", "Seconds that finished jobs took.", ["model"], buckets=_BUCKETS,
            registry=self._registry,
        )  # fmt: skip
        self._received = Counter("vesal_upload_bytes", "Bytes of uploads.", registry=self._registry)
        self._refused = Counter(
            "vesal_refused", "Refused requests, by status.", ["status"], registry=self._registry
        )
        self._registry.register(_State(service))
        service.on_end.append(self._end)

    def received(self, count: int) -> None:
        """So many bytes were uploaded."""
        self._received.inc(count)

    def refused(self, status: int) -> None:
        """A request was answered with an error."""
        self._refused.labels(status=str(status)).inc()

    def text(self) -> bytes:
        """All numbers, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _end(self, job: Job) -> None:
        self._ended.labels(model=job.model, status=str(job.status)).inc()
        if job.status is Status.FINISHED and job.started is not None and job.finished is not None:
            self._seconds.labels(model=job.model).observe((job.finished - job.started).total_seconds())


class _State(Collector):
    """What holds now."""

    def __init__(self, service: JobService) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Jobs that are kept, processes begun, and room on the disk."""
        jobs = GaugeMetricFamily("vesal_jobs", "Jobs that are kept, by status.", labels=["status"])
        counts = self._service.counts()
        for status in Status:
            jobs.add_metric([str(status)], counts[status])
        yield jobs
        yield CounterMetricFamily(
            "vesal_worker_starts", "Processes of jobs that were begun.", value=self._service.restarts
        )
        yield GaugeMetricFamily(
            "vesal_disk_free_bytes", "Room on the server's disk.", value=self._service.free()
        )
