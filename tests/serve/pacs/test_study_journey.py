"""Every study ends once, predicted and stored or set aside with the reason, whatever fails and whenever."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from dicom_examples import random_series, write_series
from journey_examples import Clock, Ends, predict_pictures

from vesal.errors import DataError, VesalError
from vesal.serve.pacs import study_journey as module
from vesal.serve.pacs.pacs_jobs import StudyJobs, StudyState
from vesal.serve.pacs.pacs_settings import JourneySettings
from vesal.serve.pacs.retries import Unreachable
from vesal.serve.pacs.study_journey import StudyJourney

pytest.importorskip("pydicom", reason="the extra dicom is not installed")


def journey_of(tmp_path: Path, studies: int = 1, **settings: Any) -> tuple[StudyJourney, Ends, Clock]:
    for number in range(studies):
        tags = {"StudyInstanceUID": f"1.2.{number}"}
        for path in write_series(tmp_path / str(number), random_series(uid=f"1.2.{number}.1", tags=tags)):
            (tmp_path / "source").mkdir(exist_ok=True)
            path.rename(tmp_path / "source" / f"{number}-{path.name}")
    clock, ends = Clock(), Ends(tmp_path / "source")
    jobs = StudyJobs(tmp_path / "studies.sqlite", clock)
    for number in range(studies):
        jobs.add(f"1.2.{number}", "ab", [f"1.2.{number}.1"])
    chosen = JourneySettings.of(**{"tries": 3, "wait_s": 10, "most_wait_s": 15} | settings)
    return StudyJourney(jobs, tmp_path / "work", ends, ends.predict, ends, chosen), ends, clock


def work_off(journey: StudyJourney) -> None:
    while journey.work():
        pass


def test_a_study_takes_each_step_once_and_leaves_no_file(tmp_path: Path) -> None:
    journey, ends, _ = journey_of(tmp_path)
    work_off(journey)
    assert ends.happened == ["fetch", "predict", "store"]
    assert list(ends.held.values()) == [1, 1]
    assert journey.jobs.counts()[StudyState.STORED] == 1
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("step", ["fetch", "predict", "store"])
def test_a_failure_that_passes_is_tried_again_after_a_wait(step: str, tmp_path: Path) -> None:
    journey, ends, clock = journey_of(tmp_path)
    ends.failures[step] = [VesalError("Lost."), RuntimeError("Doe^Jane")]
    work_off(journey)
    (job,) = journey.jobs.jobs()
    assert (job.tries, job.reason, journey.jobs.wait_s()) == (1, "Lost.", 10.0)
    clock.seconds += 10
    work_off(journey)
    (job,) = journey.jobs.jobs()
    assert "Doe" not in job.reason
    assert (job.reason[:24], journey.jobs.wait_s()) == ("An unexpected RuntimeErr", 15.0)
    clock.seconds += 15
    work_off(journey)
    assert journey.jobs.counts()[StudyState.STORED] == 1
    assert ends.happened.count(step) == 3


def test_a_study_that_keeps_failing_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    journey, ends, clock = journey_of(tmp_path, studies=3)

    def predict(folder: Path, out: Path) -> list[Path]:
        if any(path.name.startswith("0-") for path in folder.rglob("*")):
            raise VesalError("Memory is short.")
        return ends.predict(folder, out)

    journey = StudyJourney(journey.jobs, tmp_path / "work", ends, predict, ends, JourneySettings(tries=3))
    for _ in range(5):
        work_off(journey)
        clock.seconds += 3600
    states = [job.state for job in journey.jobs.jobs()]
    assert states == [StudyState.FAILED, StudyState.STORED, StudyState.STORED]
    (job,) = journey.jobs.jobs(StudyState.FAILED)
    assert (job.tries, job.reason) == (3, "Memory is short.")
    assert list((tmp_path / "work").iterdir()) == []


def test_what_the_model_cannot_take_is_set_aside_at_once(tmp_path: Path) -> None:
    journey, ends, _ = journey_of(tmp_path, studies=2)
    ends.failures["predict"] = [DataError("A slice is missing.")]
    work_off(journey)
    assert [job.state for job in journey.jobs.jobs()] == [StudyState.FAILED, StudyState.STORED]
    assert journey.jobs.jobs()[0].reason == "A slice is missing."


def test_an_outage_sets_no_study_aside_however_long_it_is(tmp_path: Path) -> None:
    journey, ends, clock = journey_of(tmp_path)
    ends.failures["store"], ends.up = [Unreachable("It does not answer.")] * 30, False
    for _ in range(30):
        work_off(journey)
        clock.seconds += 3600
    ends.up = True
    work_off(journey)
    assert journey.jobs.counts()[StudyState.STORED] == 1


def test_a_study_that_alone_brings_the_archive_down_is_set_aside(tmp_path: Path) -> None:
    journey, ends, clock = journey_of(tmp_path)
    ends.failures["fetch"] = [Unreachable("It answers 500.")] * 30
    for _ in range(5):
        work_off(journey)
        clock.seconds += 3600
    assert journey.jobs.counts()[StudyState.FAILED] == 1
    assert len(ends.happened) == 3


def test_nothing_of_another_study_is_stored(tmp_path: Path) -> None:
    """As where a model's results went to the wrong folder: they would stand in another patient's record."""
    journey, ends, _ = journey_of(tmp_path)
    drawn = random_series(uid="1.2.77.1", tags={"StudyInstanceUID": "1.2.77"})
    for path in write_series(tmp_path / "other" / "series-9", drawn):
        path.rename(path.with_suffix(".dcm"))

    def predict(folder: Path, out: Path) -> list[Path]:
        return [*predict_pictures(folder, out), *predict_pictures(tmp_path / "other", out)]

    work_off(StudyJourney(journey.jobs, tmp_path / "work", ends, predict, ends))
    (job,) = journey.jobs.jobs(StudyState.FAILED)
    assert "another study" in job.reason
    assert ends.held == {}


def test_results_that_vanished_are_made_again(tmp_path: Path) -> None:
    journey, ends, clock = journey_of(tmp_path)
    journey.work(), journey.work()
    for path in (tmp_path / "work").rglob("results/*"):
        path.unlink()
    for _ in range(2):
        work_off(journey)
        clock.seconds += 60
    assert journey.jobs.counts()[StudyState.STORED] == 1
    assert ends.happened == ["fetch", "predict", "fetch", "predict", "store"]


def test_what_is_logged_names_no_study(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journey, ends, clock = journey_of(tmp_path, studies=2)
    ends.failures["predict"] = [RuntimeError("1.2.0 of Doe^Jane"), DataError("A slice is missing.")]
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            work_off(journey)
            clock.seconds += 60
    assert "study-" in caplog.text
    assert "1.2." not in caplog.text
    assert "Doe" not in caplog.text


def test_a_disk_that_was_full_for_a_while_ends_no_journey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_OUTAGE_S", 0.01)
    journey, _, _ = journey_of(tmp_path)
    errors: list[Exception] = [OSError("Doe^Jane"), VesalError("Cannot use the file.")]

    def look() -> float:
        if errors:
            raise errors.pop(0)
        if journey.jobs.counts()[StudyState.STORED]:
            journey.end()
        return 3600.0

    thread = threading.Thread(target=journey.run, args=(look,))
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert "Cannot use the file." in caplog.text
    assert "Doe" not in caplog.text


def test_a_journey_that_runs_is_woken_by_news_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    journey, _, _ = journey_of(tmp_path, studies=2)
    (first, second), looks = journey.jobs.jobs(), threading.Semaphore(0)
    journey.jobs.set_aside(second, "later")

    def look() -> float:
        looks.release()
        return 3600.0

    thread = threading.Thread(target=journey.run, args=(look,))
    thread.start()
    for _ in range(4):  # before the first step, and after each of three
        assert looks.acquire(timeout=20)
    journey.jobs.again(second.study)
    journey.wake()
    for _ in range(4):
        assert looks.acquire(timeout=20)
    journey.end()
    thread.join(20)
    assert not thread.is_alive()
    assert journey.jobs.counts()[StudyState.STORED] == 2
    assert first.study != second.study
