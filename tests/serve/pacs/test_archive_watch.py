"""Studies are taken once they have arrived whole, and again when what is wanted of them changed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from dicom_examples import random_series, write_series
from fake_archive import FakeArchive, fake_archive
from journey_examples import Clock
from orthanc_server import Orthanc, needs_orthanc

from vesal.errors import UsageError, VesalError
from vesal.serve.pacs.archive import Archive
from vesal.serve.pacs.archive_watch import ArchiveWatch, note_studies
from vesal.serve.pacs.pacs_jobs import StudyJobs, StudyState
from vesal.serve.pacs.pacs_settings import ArchiveSettings, WatchSettings
from vesal.serve.pacs.study_query import parse_query

pytest.importorskip("dicomweb_client", reason="the extra serve is not installed")


class Watched:
    """A watch on an archive, with a time of its own."""

    def __init__(
        self, url: str, folder: Path, query: str = "Modality=CT", take_existing: bool = True
    ) -> None:
        self.clock = Clock()
        self.jobs = StudyJobs(folder / "studies.sqlite", self.clock)
        self.archive = Archive(ArchiveSettings.of(url=url, wait_s=0.001, most_wait_s=0.01, tries=2))
        self.settings = WatchSettings.of(query=query, every_s=30, stable_s=60, take_existing=take_existing)
        self.watch = ArchiveWatch(self.archive, self.jobs, self.settings)

    def after(self, seconds: float) -> list[str]:
        """The studies that are noted when so much time has passed."""
        self.clock.seconds += seconds
        self.watch()
        return [job.study for job in self.jobs.jobs(StudyState.FOUND)]

    def again(self) -> None:
        """As after a crash."""
        self.jobs.close()
        self.jobs = StudyJobs(self.jobs.path, self.clock)
        self.watch = ArchiveWatch(self.archive, self.jobs, self.settings)


@pytest.fixture
def fake() -> Iterator[FakeArchive]:
    with fake_archive() as found:
        yield found


def put(fake: FakeArchive, study: str, series: str, count: int) -> None:
    for number in range(count):
        fake.objects[study, series, f"{series}.{number}"] = b""


@pytest.mark.clinic
@needs_orthanc
def test_a_study_whose_instances_trickle_into_orthanc_is_taken_when_it_is_whole(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    paths = write_series(tmp_path / "scan", random_series())
    watched = Watched(orthanc.url, tmp_path)
    assert watched.after(0) == []
    for path in paths:
        orthanc.add(path)
        # Longer apart than a look, but not than the time after which it counts as whole.
        assert watched.after(31) == []
    # The last one was seen at the last look.
    assert watched.after(31) == []
    assert watched.after(31) == ["1.2.3"]
    (job,) = watched.jobs.jobs()
    assert job.series == ("1.2.3.4",)
    files = watched.archive.fetch(job.study, job.series, tmp_path / "out")
    assert len(files) == len(paths)


def test_a_study_that_grows_is_taken_once_it_has_stopped(fake: FakeArchive, tmp_path: Path) -> None:
    watched = Watched(fake.url, tmp_path)
    for count in range(1, 20):
        put(fake, "1.2", "1.2.1", count)
        assert watched.after(45) == []
    assert watched.after(59) == []
    assert watched.after(31) == ["1.2"]
    assert watched.after(3600) == ["1.2"]


def test_how_long_it_has_been_the_same_is_not_forgotten_by_a_crash(fake: FakeArchive, tmp_path: Path) -> None:
    watched = Watched(fake.url, tmp_path)
    put(fake, "1.2", "1.2.1", 3)
    watched.after(0)
    watched.clock.seconds += 61
    watched.again()
    assert watched.after(0) == ["1.2"]


def test_a_study_is_taken_again_when_a_wanted_series_changed_and_not_for_another(
    fake: FakeArchive, tmp_path: Path
) -> None:
    watched = Watched(fake.url, tmp_path)
    put(fake, "1.2", "1.2.1", 3)
    watched.after(0)
    watched.after(61)
    (job,) = watched.jobs.jobs()
    watched.jobs.advance(job, StudyState.STORED)
    # What was stored there, and another modality.
    fake.modalities["1.2.9"] = "SEG"
    put(fake, "1.2", "1.2.9", 1)
    for _ in range(5):
        assert watched.after(3600) == []
    put(fake, "1.2", "1.2.2", 1)
    watched.after(3600)
    assert watched.after(61) == ["1.2"]
    assert watched.jobs.jobs(StudyState.FOUND)[0].series == ("1.2.1", "1.2.2")


def test_studies_that_are_there_at_the_first_look_are_left_unless_they_change(
    fake: FakeArchive, tmp_path: Path
) -> None:
    put(fake, "1.1", "1.1.1", 3)
    put(fake, "1.2", "1.2.1", 3)
    watched = Watched(fake.url, tmp_path, take_existing=False)
    watched.after(0)
    watched.again()
    assert watched.after(3600) == []
    put(fake, "1.2", "1.2.1", 4)
    put(fake, "1.3", "1.3.1", 4)
    watched.after(3600)
    watched.again()
    assert watched.after(61) == ["1.2", "1.3"]


def test_a_study_that_could_not_be_asked_for_at_the_first_look_was_there_before(
    fake: FakeArchive, tmp_path: Path
) -> None:
    put(fake, "1.1", "1.1.1", 3)
    put(fake, "1.2", "1.2.1", 3)
    watched = Watched(fake.url, tmp_path, take_existing=False)
    fake.failures["GET /studies/1.1/"] = [500] * 4
    for _ in range(4):
        assert watched.after(61) == []
    assert not fake.failures["GET /studies/1.1/"]
    assert watched.after(3600) == []
    put(fake, "1.1", "1.1.1", 4)
    watched.after(3600)
    assert watched.after(61) == ["1.1"]


def test_a_study_that_arrives_while_nobody_watches_is_taken(fake: FakeArchive, tmp_path: Path) -> None:
    watched = Watched(fake.url, tmp_path, take_existing=False)
    watched.after(0)
    put(fake, "1.2", "1.2.1", 3)
    watched.again()
    watched.after(31)
    assert watched.after(61) == ["1.2"]


def test_an_archive_that_fails_is_asked_again_at_the_next_look(
    fake: FakeArchive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(fake, "1.2.77", "1.2.1", 3)
    watched = Watched(fake.url, tmp_path)
    fake.failures["GET"] = [503] * 2
    with caplog.at_level(logging.WARNING):
        assert watched.after(0) == []
    assert "could not be asked" in caplog.text
    watched.after(31)
    assert watched.after(61) == ["1.2.77"]
    assert "1.2.77" not in caplog.text


def test_one_study_that_cannot_be_asked_for_stops_no_other(fake: FakeArchive, tmp_path: Path) -> None:
    put(fake, "1.1", "../..", 1)
    put(fake, "1.2", "1.2.1", 3)
    watched = Watched(fake.url, tmp_path)
    watched.after(0)
    assert watched.after(61) == ["1.2"]


def test_a_study_that_has_long_been_the_same_is_asked_for_less_and_less(
    fake: FakeArchive, tmp_path: Path
) -> None:
    put(fake, "1.2", "1.2.1", 3)
    watched = Watched(fake.url, tmp_path)

    def asked_within(seconds: int) -> int:
        fake.asked.clear()
        for _ in range(seconds // 30):
            watched.after(30)
        return sum(line.startswith("GET /studies/1.2/series?") for line in fake.asked) // 2

    first, later = asked_within(600), asked_within(3000)
    assert first > 10
    assert later < 25


def test_only_studies_of_the_last_days_are_asked_for_where_that_is_wished(
    fake: FakeArchive, tmp_path: Path
) -> None:
    watched = Watched(fake.url, tmp_path)
    watched.clock.seconds = 1_780_000_000.0  # in May 2026
    watched.watch = ArchiveWatch(
        watched.archive, watched.jobs, watched.settings.model_copy(update={"days": 3})
    )
    watched.after(0)
    (asked,) = [line for line in fake.asked if line.startswith("GET /studies?") and "offset=0" in line]
    assert re.search(r"StudyDate=202605\d\d-", asked)
    assert "ModalitiesInStudy=CT" in asked


def test_another_model_takes_studies_that_are_asked_for_anew_and_none_that_were_watched(
    fake: FakeArchive, tmp_path: Path
) -> None:
    put(fake, "1.2", "1.2.1", 3)
    watched = Watched(fake.url, tmp_path)
    watched.after(0)
    assert watched.after(60) == ["1.2"]
    watched.watch = ArchiveWatch(watched.archive, watched.jobs, watched.settings, made_by="another")
    watched.after(3600)
    assert watched.after(3600) == ["1.2"]
    query = parse_query("StudyInstanceUID=1.2")
    assert note_studies(watched.archive, watched.jobs, query, made_by="another") == 1
    assert note_studies(watched.archive, watched.jobs, query, made_by="another") == 0


def test_named_studies_are_noted_once(fake: FakeArchive, tmp_path: Path) -> None:
    put(fake, "1.2", "1.2.1", 3)
    watched = Watched(fake.url, tmp_path)
    assert note_studies(watched.archive, watched.jobs, parse_query("StudyInstanceUID=1.2")) == 1
    assert note_studies(watched.archive, watched.jobs, parse_query("StudyInstanceUID=1.2")) == 0


def test_a_study_that_is_not_there_or_holds_no_scan_is_told(fake: FakeArchive, tmp_path: Path) -> None:
    watched = Watched(fake.url, tmp_path)
    with pytest.raises(VesalError, match="no such study"):
        note_studies(watched.archive, watched.jobs, parse_query("StudyInstanceUID=1.2"))
    put(fake, "1.2", "1.2.1", 3)
    fake.modalities["1.2.1"] = "SR"
    with pytest.raises(VesalError, match=r"study-.* holds no series of CT, MR, PT"):
        note_studies(watched.archive, watched.jobs, parse_query("StudyInstanceUID=1.2"))


def test_a_query_that_is_none_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="perhaps Modality"):
        Watched("http://127.0.0.1:9", tmp_path, query="Modalty=CT")
