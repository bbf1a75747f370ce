"""The list of jobs: its order, and what a server finds in it that follows one that died."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from vesal.errors import VesalError
from vesal.serve.jobs.job import JobOptions, Outcome, Status
from vesal.serve.jobs.job_store import MOST_TRIES, JobStore

DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs.sqlite")


def add(store: JobStore, count: int) -> list[str]:
    return [store.add("heart", JobOptions()).id for _ in range(count)]


def test_jobs_are_begun_in_the_order_of_their_acceptance(store: JobStore) -> None:
    ids = add(store, 3)
    begun = [store.claim() for _ in range(4)]
    assert [job and job.id for job in begun] == [*ids, None]
    assert all(job.status is Status.RUNNING and job.tries == 1 for job in begun if job)


def test_a_cancelled_job_is_not_begun(store: JobStore) -> None:
    first, second = add(store, 2)
    assert store.cancel(first, DAY) is not None
    claimed = store.claim()
    assert claimed is not None
    assert claimed.id == second
    assert store.cancel(first, DAY) is None  # it has ended already


def test_a_job_that_was_cancelled_while_it_was_computed_does_not_finish(store: JobStore) -> None:
    (id_,) = add(store, 1)
    store.claim()
    store.cancel(id_, DAY)
    assert store.finish(id_, Outcome(), DAY) is None
    job = store.get(id_)
    assert job is not None
    assert job.status is Status.CANCELLED


def test_jobs_before_one_are_those_that_wait_or_run(store: JobStore) -> None:
    first, second, third = add(store, 3)
    store.claim()
    assert [store.ahead(id_) for id_ in (first, second, third)] == [0, 1, 2]
    store.fail(first, "no", DAY)
    assert [store.ahead(id_) for id_ in (second, third)] == [0, 1]


def test_what_was_accepted_and_what_ended_is_there_after_a_restart(store: JobStore, tmp_path: Path) -> None:
    done, waiting = add(store, 2)
    store.claim()
    store.finish(done, Outcome(notes=("one",)), DAY)
    store.close()
    again = JobStore(tmp_path / "jobs.sqlite")
    job = again.get(done)
    assert job is not None
    assert (job.status, job.outcome.notes) == (Status.FINISHED, ("one",))
    claimed = again.claim()
    assert claimed is not None
    assert claimed.id == waiting


def test_a_job_whose_server_died_waits_again_before_later_ones_and_not_for_ever(store: JobStore) -> None:
    first, second = add(store, 2)
    for _ in range(MOST_TRIES - 1):
        store.claim()
        assert store.begin_again(DAY) == []
    claimed = store.claim()
    assert claimed is not None
    assert claimed.id == first
    (failed,) = store.begin_again(DAY)
    assert failed.status is Status.FAILED
    assert "died 2 times" in str(failed.error)
    assert (store.claim() or failed).id == second


def test_a_job_that_was_put_back_has_not_been_tried(store: JobStore) -> None:
    add(store, 1)
    job = store.claim()
    assert job is not None
    assert store.put_back(job)
    again = store.claim()
    assert again is not None
    assert (again.id, again.tries) == (job.id, 1)


def test_a_job_that_was_cancelled_is_not_put_back(store: JobStore) -> None:
    (id_,) = add(store, 1)
    job = store.claim()
    assert job is not None
    store.cancel(id_, DAY)
    assert not store.put_back(job)
    assert store.claim() is None
    assert store.counts() == {"cancelled": 1}


def test_ended_jobs_expire_and_others_do_not(store: JobStore) -> None:
    old, new, _waiting = add(store, 3)
    for id_, keep in ((old, timedelta(seconds=-1)), (new, DAY)):
        store.claim()
        store.finish(id_, Outcome(), keep)
    assert [job.id for job in store.expired()] == [old]
    store.remove(old)
    assert store.get(old) is None
    assert store.counts() == {"finished": 1, "queued": 1}


def test_a_list_of_another_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(VesalError, match="of another version"):
        JobStore(file)


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"not a database at all, but long enough to be looked at " * 40)
    with pytest.raises(VesalError, match="cannot be used"):
        JobStore(tmp_path / "jobs.sqlite")


def test_a_list_that_cannot_be_read_is_told(store: JobStore) -> None:
    store._file._connection.execute("DROP TABLE jobs")
    for ask in (store.ids, store.counts, store.expired, lambda: store.ahead("a"), lambda: store.remove("a")):
        with pytest.raises(VesalError, match="cannot be used"):
            ask()
