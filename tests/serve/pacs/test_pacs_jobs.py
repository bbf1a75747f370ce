"""What is known of the studies survives the process, and no step of a study is known before it is done."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import sqlite3
from pathlib import Path

import pytest
from journey_examples import Clock

from vesal.errors import UsageError, VesalError
from vesal.serve.pacs.pacs_jobs import StudyJobs, StudyState, content_of

FORM = content_of([("1.2.3", 5)])


@pytest.fixture
def jobs(tmp_path: Path) -> StudyJobs:
    return StudyJobs(tmp_path / "studies.sqlite", Clock())


def opened_again(jobs: StudyJobs) -> StudyJobs:
    jobs.close()
    return StudyJobs(jobs.path, jobs.now)


def test_a_form_of_a_study_is_noted_once(jobs: StudyJobs) -> None:
    assert jobs.add("1.2", FORM, ["1.2.3"])
    assert not jobs.add("1.2", FORM, ["1.2.3"])
    assert opened_again(jobs).counts()[StudyState.FOUND] == 1


def test_a_newer_form_takes_the_place_of_one_that_was_not_fetched(jobs: StudyJobs) -> None:
    jobs.add("1.2", FORM, ["1.2.3"])
    jobs.add("1.2", content_of([("1.2.3", 9)]), ["1.2.3"])
    assert [job.state for job in jobs.jobs()] == [StudyState.REPLACED, StudyState.FOUND]


def test_a_form_that_was_replaced_and_is_noted_again_takes_its_place_back(jobs: StudyJobs) -> None:
    """As where other series of a study were asked for in between: nothing was ever made of it."""
    other = content_of([("1.2.3", 9)])
    jobs.add("1.2", FORM, ["1.2.3"])
    jobs.add("1.2", other, ["1.2.3"])
    assert jobs.add("1.2", FORM, ["1.2.3"])
    assert [job.state for job in jobs.jobs()] == [StudyState.FOUND, StudyState.REPLACED]
    jobs.advance(jobs.jobs()[0], StudyState.STORED)
    assert not jobs.add("1.2", FORM, ["1.2.3"])


def test_a_form_that_is_being_worked_on_goes_its_way(jobs: StudyJobs) -> None:
    jobs.add("1.2", FORM, ["1.2.3"])
    (job,) = jobs.jobs()
    jobs.advance(job, StudyState.FETCHED)
    jobs.add("1.2", content_of([("1.2.3", 9)]), ["1.2.3"])
    assert [job.state for job in jobs.jobs()] == [StudyState.FETCHED, StudyState.FOUND]


def test_steps_and_results_are_there_after_the_process(jobs: StudyJobs) -> None:
    jobs.add("1.2", FORM, ["1.2.3", "1.2.4"])
    (job,) = jobs.jobs()
    jobs.advance(job, StudyState.PREDICTED, [Path("/a"), Path("/b")])
    jobs.note_stored(job, [Path("/a")])
    jobs = opened_again(jobs)
    (job,) = jobs.jobs()
    assert (job.state, job.series) == (StudyState.PREDICTED, ("1.2.3", "1.2.4"))
    assert jobs.to_store(job) == [Path("/b")]


def test_results_that_are_made_again_replace_those_before(jobs: StudyJobs) -> None:
    jobs.add("1.2", FORM, ["1.2.3"])
    (job,) = jobs.jobs()
    jobs.advance(job, StudyState.PREDICTED, [Path("/a"), Path("/b")])
    jobs.advance(job, StudyState.PREDICTED, [Path("/c")])
    assert jobs.to_store(job) == [Path("/c")]
    jobs.advance(job, StudyState.PREDICTED)
    assert jobs.to_store(job) == []


def test_the_study_that_is_furthest_comes_first_and_one_that_waits_does_not_hold_up_others(
    jobs: StudyJobs,
) -> None:
    for number in range(3):
        jobs.add(f"1.{number}", FORM, ["1.2.3"])
    first, second, third = jobs.jobs()
    jobs.advance(third, StudyState.PREDICTED)
    assert jobs.next_due().study == third.study  # type: ignore[union-attr]
    jobs.postpone(third, "lost", 60.0)
    assert jobs.next_due().study == first.study  # type: ignore[union-attr]
    for job in (first, second):
        jobs.set_aside(job, "bad")
    assert jobs.next_due() is None
    assert jobs.wait_s() == 60.0
    jobs.now.seconds += 60  # type: ignore[attr-defined]
    found = jobs.next_due()
    assert found is not None
    assert (found.study, found.tries, found.reason) == (third.study, 1, "lost")


def test_a_clock_that_was_set_back_keeps_no_study_waiting(jobs: StudyJobs) -> None:
    jobs.add("1.2", FORM, ["1.2.3"])
    jobs.postpone(jobs.jobs()[0], "lost", 60.0)
    jobs.now.seconds -= 86_400  # type: ignore[attr-defined]
    assert jobs.wait_s() == 0.0
    assert jobs.next_due() is not None
    jobs.postpone(jobs.jobs()[0], "lost", 60.0)
    assert jobs.next_due() is None
    assert jobs.wait_s() == 60.0


def test_a_study_that_was_set_aside_can_be_taken_up_again(jobs: StudyJobs) -> None:
    jobs.add("1.2", FORM, ["1.2.3"])
    jobs.set_aside(jobs.jobs()[0], "bad")
    assert jobs.wait_s() is None
    assert jobs.again("1.2")
    assert not jobs.again("1.2")
    assert jobs.jobs(StudyState.FOUND)[0].tries == 0


def test_since_when_a_study_is_the_same_is_known_after_the_process(jobs: StudyJobs) -> None:
    begin = jobs.see("q", "1.2", "a")
    jobs.now.seconds += 10  # type: ignore[attr-defined]
    jobs = opened_again(jobs)
    assert jobs.see("q", "1.2", "a") == begin
    assert jobs.see("other", "1.2", "a") == begin + 10
    assert jobs.see("q", "1.2", "b") == begin + 10
    assert jobs.has_seen("q", "1.2", "b")
    assert not jobs.has_seen("q", "1.2", "a")


def _open(path: Path, answer: multiprocessing.connection.Connection) -> None:
    try:
        StudyJobs(path)
        answer.send("opened")
    except UsageError as error:
        answer.send(str(error))


def test_two_processes_do_not_work_on_one_file(jobs: StudyJobs) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_open, args=(jobs.path, theirs))
    process.start()
    told = ours.recv()
    process.join()
    assert "Another process works on" in told


def test_a_file_of_another_version_or_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(VesalError, match="another version"):
        StudyJobs(path)
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(VesalError, match="not a database"):
        StudyJobs(path)
    assert path.read_bytes().startswith(b"no database")


def test_nobody_else_may_read_which_studies_there_were(tmp_path: Path) -> None:
    with StudyJobs(tmp_path / "new" / "studies.sqlite") as jobs:
        jobs.add("1.2", FORM, ["1.2.3"])
        private = [tmp_path / "new", *(tmp_path / "new").glob("*.sqlite*[!k]")]
        assert len(private) > 1
        assert [path for path in private if path.stat().st_mode & 0o077] == []
