"""Folders, list and thread of a server's jobs, with a supervisor that ends jobs as it is told."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from serve_client import settings

from vesal.errors import UsageError, VesalError
from vesal.serve.jobs import job_service as module
from vesal.serve.jobs.job import Job, JobOptions, Outcome, Status
from vesal.serve.jobs.job_service import JobService
from vesal.serve.jobs.job_store import MOST_TRIES, JobStore
from vesal.serve.jobs.supervisor import Ended, JobOrder
from vesal.serve.jobs.uploads import UploadError

DICOM = bytes(128) + b"DICM" + bytes(40)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Services:
    """Servers on one folder, whose supervisors call `compute`."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, patch
        self.orders: list[JobOrder] = []
        self.ends: Ended = Ended(outcome=Outcome())
        self.go = threading.Event()
        self.go.set()

    def start(self, **limits: object) -> JobService:
        service = JobService(settings(self.folder, Path("tiny.vesal"), limits=limits))
        self._patch.setattr(service._supervisor, "compute", self._compute)
        service.start()
        return service

    def _compute(self, order: JobOrder) -> Ended:
        self.orders.append(order)
        assert all(path.exists() for path in order.inputs)
        order.folder.mkdir()
        (order.folder / "mask.nii.gz").write_bytes(b"mask")
        self.go.wait(30)
        return self.ends


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    made = Services(tmp_path / "state", monkeypatch)
    yield made
    made.go.set()


def send(service: JobService) -> Job:
    upload = service.begin_upload()
    upload.begin_file("slice.dcm")
    upload.file_data(DICOM)
    upload.end_file()
    try:
        return service.accept(upload, "tiny", JobOptions(), 1)
    finally:
        service.discard(upload)


def status(service: JobService, job: Job) -> Status | None:
    found = service.get(job.id)
    return None if found is None else found.status


def test_a_finished_job_keeps_its_results_and_loses_its_upload(services: Services) -> None:
    service = services.start()
    seen: list[Job] = []
    service.on_end.append(seen.append)
    job = send(service)
    until(lambda: seen)
    assert [(one.id, one.status) for one in seen] == [(job.id, Status.FINISHED)]
    assert sorted(path.name for path in (services.folder / "jobs" / job.id).iterdir()) == ["results"]
    service.stop()


def test_a_failed_job_keeps_nothing_but_its_reason(services: Services) -> None:
    services.ends = Ended(error="It is no scan.")
    service = services.start()
    job = send(service)
    until(lambda: status(service, job) is Status.FAILED)
    until(lambda: not list((services.folder / "jobs" / job.id).iterdir()))
    service.stop()


def test_a_job_that_is_cancelled_while_it_is_computed_keeps_nothing(services: Services) -> None:
    services.go.clear()
    service = services.start()
    job = send(service)
    until(lambda: services.orders)
    assert service.cancel(job.id) is not None
    assert service.cancel(job.id) is None
    services.go.set()
    until(lambda: not list((services.folder / "jobs" / job.id).iterdir()))
    assert status(service, job) is Status.CANCELLED
    service.stop()


def test_jobs_wait_in_line_and_a_full_line_takes_no_more(services: Services) -> None:
    services.go.clear()
    service = services.start(queue=2)
    send(service)
    until(lambda: services.orders)
    waiting = [send(service) for _ in range(2)]
    assert [service.progress(job).ahead for job in waiting] == [1, 2]
    with pytest.raises(UploadError, match="2 jobs wait already") as refused:
        service.begin_upload()
    assert refused.value.status == 503
    services.go.set()
    until(lambda: status(service, waiting[1]) is Status.FINISHED)
    service.stop()


def test_only_so_many_uploads_come_at_once(services: Services) -> None:
    service = services.start(uploads=2)
    held = [service.begin_upload() for _ in range(2)]
    with pytest.raises(UploadError, match="Too many uploads"):
        service.begin_upload()
    service.discard(held[0])
    service.discard(service.begin_upload())
    service.stop()


def test_a_server_that_ends_leaves_its_job_to_the_next(services: Services) -> None:
    services.go.clear()
    service = services.start()
    job = send(service)
    until(lambda: services.orders)
    services.ends = Ended()
    threading.Timer(0.05, services.go.set).start()
    service.stop()
    services.ends = Ended(outcome=Outcome())
    again = services.start()
    until(lambda: status(again, job) is Status.FINISHED)
    found = again.get(job.id)
    assert found is not None
    assert found.tries == 1
    again.stop()


def test_a_job_that_was_cancelled_before_the_server_ended_stays_cancelled(services: Services) -> None:
    services.go.clear()
    services.ends = Ended()
    service = services.start()
    job = send(service)
    until(lambda: services.orders)
    assert service.cancel(job.id) is not None
    left = services.folder / "jobs" / job.id / "results" / "late.nii.gz"
    left.parent.mkdir()
    left.write_bytes(b"made before the process was ended")
    threading.Timer(0.05, services.go.set).start()
    service.stop()
    assert not left.exists()
    again = services.start()
    assert status(again, job) is Status.CANCELLED
    again.stop()


def test_no_job_is_begun_while_the_disk_is_nearly_full(
    services: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_SWEEP_S", 0.01)
    room = [0]
    monkeypatch.setattr(JobService, "free", lambda _: room[0])
    service = services.start(room_bytes=1)
    job = send(service)
    until(lambda: "jobs wait" in caplog.text)
    assert service.ready() == "the disk is nearly full"
    assert status(service, job) is Status.QUEUED
    room[0] = 1
    until(lambda: status(service, job) is Status.FINISHED)
    service.stop()


def test_an_error_of_our_own_stops_no_other_job_and_is_not_met_for_ever(
    services: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_SWEEP_S", 0.01)
    service = services.start()
    met: list[str] = []

    def compute(order: JobOrder) -> Ended:
        if not met or order.job.id == met[0]:
            met.append(order.job.id)
            raise KeyError("Doe^Jane")
        return Ended(outcome=Outcome())

    monkeypatch.setattr(service._supervisor, "compute", compute)
    broken, good = send(service), send(service)
    until(lambda: status(service, broken) is Status.FAILED and status(service, good) is Status.FINISHED)
    assert len(met) == MOST_TRIES
    assert "KeyError" in caplog.text
    assert "Doe" not in caplog.text
    service.stop()


def test_what_a_dead_server_left_half_done_is_cleared_away(services: Services) -> None:
    services.start().stop()
    for name in ("incoming/half", "jobs/without-a-line-in-the-list"):
        (services.folder / name).mkdir(parents=True)
    service = services.start()
    assert [list((services.folder / name).iterdir()) for name in ("incoming", "jobs")] == [[], []]
    service.stop()


def test_results_expire(services: Services) -> None:
    service = services.start(kept=timedelta(seconds=0))
    first = send(service)
    until(lambda: status(service, first) is not Status.QUEUED)
    # The next one wakes the thread that looks for expired jobs.
    second = send(service)
    until(lambda: status(service, first) is None and status(service, second) is None)
    assert list((services.folder / "jobs").iterdir()) == []
    service.stop()


def test_results_expire_while_other_jobs_wait(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    services.go.clear()
    service = services.start(kept=timedelta(seconds=0))
    first, second, third = (send(service) for _ in range(3))

    gone = threading.Event()

    def compute(order: JobOrder) -> Ended:
        if order.job.id == second.id:
            # The third waits: the line is not empty before the first goes.
            until(lambda: status(service, first) is None, 10)
            gone.set()
        return Ended(outcome=Outcome())

    monkeypatch.setattr(service._supervisor, "compute", compute)
    services.go.set()
    until(lambda: status(service, third) is None)
    assert gone.is_set()
    service.stop()


def test_a_job_of_a_model_that_is_gone_fails(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    services.go.clear()
    service = services.start()
    send(service)
    until(lambda: services.orders)
    waiting = send(service)
    service._settings.models.clear()
    services.go.set()
    until(lambda: status(service, waiting) is Status.FAILED)
    found = service.get(waiting.id)
    assert found is not None
    assert "not served any more" in str(found.error)
    service.stop()


def test_a_folder_has_one_server(services: Services) -> None:
    service = services.start()
    with pytest.raises(UsageError, match="Another server"):
        services.start()
    service.stop()
    services.start().stop()


def test_a_folder_of_something_else_is_refused_and_nothing_of_it_deleted(tmp_path: Path) -> None:
    work = tmp_path / "work" / "jobs" / "years"
    work.mkdir(parents=True)
    before = (tmp_path / "work").stat().st_mode
    with pytest.raises(UsageError, match=r"holds other things, such as jobs; name a new or empty folder"):
        JobService(settings(tmp_path / "work", Path("tiny.vesal"))).start()
    assert work.is_dir()
    assert (tmp_path / "work").stat().st_mode == before


def test_an_upload_for_which_the_disk_has_no_place_is_refused_in_words(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = services.start()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        with pytest.raises(UploadError, match=r"No space left on device") as refused:
            service.begin_upload()
    assert refused.value.status == 507
    service.stop()


def test_a_job_whose_end_the_disk_does_not_take_ends_when_it_does(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesal.serve.jobs.job_service._AGAIN_S", 0.01)
    finish, refused = JobStore.finish, []

    def full(store: JobStore, *values: Any) -> Job | None:
        if len(refused) < 3:
            refused.append(values)
            raise VesalError("The list of jobs cannot be written (database or disk is full).")
        return finish(store, *values)

    monkeypatch.setattr(JobStore, "finish", full)
    service = services.start()
    job = send(service)
    until(lambda: status(service, job) is Status.FINISHED)
    service.stop()


def test_an_error_of_any_kind_ends_no_thread(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesal.serve.jobs.job_service._SWEEP_S", 0.01)
    expired, raised = JobStore.expired, []

    def broken(store: JobStore) -> list[Job]:
        if not raised:
            raised.append(1)
            raise ValueError("a row of another version")
        return expired(store)

    monkeypatch.setattr(JobStore, "expired", broken)
    service = services.start()
    until(lambda: raised)
    job = send(service)
    until(lambda: status(service, job) is Status.FINISHED)
    service.stop()


def test_a_job_of_a_model_that_was_replaced_fails(services: Services) -> None:
    model = services.folder.parent / "tiny.vesal"
    model.write_bytes(b"first")
    service = JobService(settings(services.folder, model))
    service._supervisor.compute = services._compute  # type: ignore[method-assign]
    service.start()
    job = send(service)
    until(lambda: status(service, job) is Status.FINISHED)
    assert service.ready() == ""
    model.write_bytes(b"second")
    assert "restart the server" in service.ready()
    job = send(service)
    until(lambda: status(service, job) is Status.FAILED)
    assert "restart it" in str(service.get(job.id).error)  # type: ignore[union-attr]
    service.stop()
