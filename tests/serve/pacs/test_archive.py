"""Studies are found, fetched and results stored: in a real Orthanc, and in an archive that fails as it is told to."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dicom_examples import random_series, slice_objects, write_series
from fake_archive import FakeArchive, fake_archive
from journey_examples import Clock, predict_pictures
from orthanc_server import Orthanc, needs_orthanc

from vesal.errors import DataError, VesalError
from vesal.serve.pacs.archive import Archive
from vesal.serve.pacs.pacs_jobs import StudyJobs
from vesal.serve.pacs.pacs_objects import ResultObject, result_object
from vesal.serve.pacs.pacs_settings import ArchiveSettings
from vesal.serve.pacs.retries import Stopped, Unreachable
from vesal.serve.pacs.study_journey import StudyJourney
from vesal.serve.pacs.study_query import parse_query
from vesal.volume.dicom.annotations.made_by import object_bytes

pytest.importorskip("dicomweb_client", reason="the extra serve is not installed")


def archive(url: str, **more: Any) -> Archive:
    return Archive(ArchiveSettings.of(**{"url": url, "wait_s": 0.001, "most_wait_s": 0.01} | more))


def objects_of(folder: Path, uid: str = "1.2.3.5", **more: Any) -> list[ResultObject]:
    return [result_object(path) for path in write_series(folder, random_series(uid=uid, **more))]


# --- a real one --------------------------------------------------------------------------------------------


@pytest.fixture
def filled(orthanc: Orthanc, tmp_path: Path) -> Orthanc:
    """Two studies: one of two CT series, one of MR and a report."""
    told = {"StudyDescription": "Thorax low dose", "StudyInstanceUID": "1.2.3"}
    orthanc.add(*write_series(tmp_path / "a", random_series(uid="1.2.3.4", tags=told)))
    soft = told | {"SeriesDescription": "soft tissue"}
    orthanc.add(*write_series(tmp_path / "b", random_series(uid="1.2.3.6", shape=(7, 6, 3), tags=soft)))
    head = {"StudyDescription": "Head", "StudyInstanceUID": "1.2.9", "StudyDate": "20210507"}
    mr = random_series(uid="1.2.9.1", modality="MR", kind="1.2.840.10008.5.1.4.1.1.4", tags=head)
    orthanc.add(*write_series(tmp_path / "c", mr))
    return orthanc


@pytest.mark.clinic
@needs_orthanc
@pytest.mark.parametrize(
    ("query", "studies"),
    [
        ("StudyInstanceUID=1.2.3", {"1.2.3"}),
        ("StudyInstanceUID=1.2.3,1.2.9", {"1.2.3", "1.2.9"}),
        ("thorax low", {"1.2.3"}),
        ("soft tissue", {"1.2.3"}),
        ("thin", {"1.2.3", "1.2.9"}),
        ("ribs", set()),
        ("Modality=CT", {"1.2.3"}),
        ("ModalitiesInStudy=MR", {"1.2.9"}),
        ("Modality=MR StudyDescription=Thor*", set()),
        ("StudyDescription='*x LOW d*'", {"1.2.3"}),
        ("StudyDescription='*x.low d*'", set()),
        ("StudyDate=20210101-20211231", {"1.2.9"}),
        ("SeriesDescription='soft*' StudyDate=-20201231", {"1.2.3"}),
        ("PatientName=Doe^Jane", {"1.2.3", "1.2.9"}),
        ("00080050=A1 Modality=MR", {"1.2.9"}),
    ],
)
def test_orthanc_finds_what_a_query_means(filled: Orthanc, query: str, studies: set[str]) -> None:
    assert set(archive(filled.url).studies(parse_query(query))) == studies


@pytest.mark.clinic
@needs_orthanc
def test_series_of_orthanc_are_told_with_their_counts(filled: Orthanc) -> None:
    found = archive(filled.url).series("1.2.3")
    assert [(one.uid, one.modality, one.count) for one in found] == [
        ("1.2.3.4", "CT", 5),
        ("1.2.3.6", "CT", 3),
    ]
    some = archive(filled.url).series("1.2.3", parse_query("SeriesDescription='soft*'"))
    assert [one.uid for one in some] == ["1.2.3.6"]
    assert archive(filled.url, modalities=("PT",)).series("1.2.3") == []


@pytest.mark.clinic
@needs_orthanc
def test_instances_of_orthanc_come_byte_for_byte(filled: Orthanc, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    paths = archive(filled.url).fetch(
        "1.2.3", ["1.2.3.4", "1.2.3.6"], tmp_path / "out", lambda *step: steps.append(step)
    )
    sent = [path.read_bytes() for name in "ab" for path in (tmp_path / name).iterdir()]
    assert sorted(path.read_bytes() for path in paths) == sorted(sent)
    assert len({path.parent for path in paths}) == 2
    assert steps == [(number, 8) for number in range(1, 9)]


@pytest.mark.clinic
@needs_orthanc
def test_compressed_instances_of_orthanc_stay_compressed(orthanc: Orthanc, tmp_path: Path) -> None:
    one = slice_objects(random_series(shape=(64, 64, 1)))[0]
    one.compress("1.2.840.10008.1.2.5")
    sent = object_bytes(one)
    orthanc.post("/instances", sent)
    (path,) = archive(orthanc.url).fetch("1.2.3", ["1.2.3.4"], tmp_path)
    assert path.read_bytes() == sent


@pytest.mark.clinic
@needs_orthanc
def test_what_is_stored_in_orthanc_is_there_once_byte_for_byte(orthanc: Orthanc, tmp_path: Path) -> None:
    objects = objects_of(tmp_path)
    # Of two objects a request.
    own = archive(orthanc.url, store_bytes=2 * objects[0].path.stat().st_size + 1)
    assert own.missing(objects) == objects
    own.store(objects)
    assert own.missing(objects) == []
    own.store(objects)
    assert set(orthanc.instances()) == {one.instance for one in objects}
    for one in objects:
        assert orthanc.file(one.instance) == one.path.read_bytes()


@pytest.mark.clinic
@needs_orthanc
def test_orthanc_keeps_the_good_of_a_request_and_the_bad_is_told(orthanc: Orthanc, tmp_path: Path) -> None:
    good, bad, *_ = objects_of(tmp_path)
    bad.path.write_bytes(b"no object")
    with pytest.raises(VesalError, match="refused 1 object of study-"):
        archive(orthanc.url).store([good, bad])
    assert set(orthanc.instances()) == {good.instance}


@pytest.mark.clinic
@needs_orthanc
def test_a_large_object_goes_and_comes_in_pieces(orthanc: Orthanc, tmp_path: Path) -> None:
    import tracemalloc

    (large,) = objects_of(tmp_path / "large", shape=(4096, 4096, 1))
    assert large.path.stat().st_size > 32 << 20
    own = archive(orthanc.url)
    tracemalloc.start()
    own.store([large])
    (path,) = own.fetch("1.2.3", ["1.2.3.5"], tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.read_bytes() == large.path.read_bytes()
    # Header, pieces of 1 MB and what is held back; the object has 32.
    assert peak < 12 << 20


# --- one that fails ----------------------------------------------------------------------------------------


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeArchive]:
    with fake_archive() as found:
        for path in write_series(tmp_path / "source", random_series()):
            one = result_object(path)
            found.objects[one.study, one.series, one.instance] = path.read_bytes()
        yield found


def whole(fake: FakeArchive, paths: list[Path]) -> bool:
    return sorted(path.read_bytes() for path in paths) == sorted(fake.objects.values())


@pytest.mark.parametrize("failures", [[503, 503], ["drop"], ["short", "cut"], ["cut", 500, "short", "html"]])
def test_losses_while_fetching_leave_nothing_damaged(
    fake: FakeArchive, failures: list[int | str], tmp_path: Path
) -> None:
    fake.failures["GET /studies/1.2.3/series/1.2.3.4/instances/"] = failures
    paths = archive(fake.url).fetch("1.2.3", ["1.2.3.4"], tmp_path / "out")
    assert not failures
    assert whole(fake, paths)
    assert len(list((tmp_path / "out").rglob("*.*"))) == 5


def test_after_an_outage_only_what_is_missing_is_fetched(fake: FakeArchive, tmp_path: Path) -> None:
    own = archive(fake.url, tries=2)
    third = "GET /studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.3"
    fake.failures[third] = ["cut"] * 9
    with pytest.raises(Unreachable):
        own.fetch("1.2.3", ["1.2.3.4"], tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.*"))) == 2
    fake.failures.clear()
    fake.asked.clear()
    assert whole(fake, own.fetch("1.2.3", ["1.2.3.4"], tmp_path / "out"))
    fetched = [line.rpartition("/")[2] for line in fake.asked if "/instances/" in line]
    assert fetched == ["1.2.3.4.3", "1.2.3.4.4", "1.2.3.4.5"]


def test_what_a_crash_cut_off_is_cleared_away(fake: FakeArchive, tmp_path: Path) -> None:
    own = archive(fake.url)
    (first, *_) = own.fetch("1.2.3", ["1.2.3.4"], tmp_path / "out")
    (first.parent / ".writing-abc.dcm").write_bytes(b"half")
    first.unlink()
    assert whole(fake, own.fetch("1.2.3", ["1.2.3.4"], tmp_path / "out"))
    assert len(list(first.parent.iterdir())) == 5


def test_another_object_than_was_asked_for_is_refused(fake: FakeArchive, tmp_path: Path) -> None:
    fake.failures["GET /studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.2"] = ["other"]
    with pytest.raises(DataError, match="another object"):
        archive(fake.url).fetch("1.2.3", ["1.2.3.4"], tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.*"))) == 1


def test_a_series_that_is_gone_is_told_and_the_study_not_asked_for_without_end(
    fake: FakeArchive, tmp_path: Path
) -> None:
    """As where a study was deleted after it was noted: it would hold up all others."""
    own, fetched = archive(fake.url), tmp_path / "work"
    with pytest.raises(DataError, match="not there any more"):
        own.fetch("1.2.3", ["1.2.3.4", "1.2.3.7"], tmp_path / "out")
    jobs = StudyJobs(tmp_path / "studies.sqlite", Clock())
    jobs.add("1.2.77", "ab", ["1.2.77.1"])
    journey = StudyJourney(jobs, fetched, own, predict_pictures, own)
    assert journey.work()
    assert not journey.work()
    assert "not there any more" in jobs.jobs()[0].reason


def test_more_than_is_allowed_is_not_fetched(fake: FakeArchive, tmp_path: Path) -> None:
    size = len(next(iter(fake.objects.values())))
    with pytest.raises(DataError, match="most_bytes"):
        archive(fake.url, most_bytes=3 * size).fetch("1.2.3", ["1.2.3.4"], tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.*"))) == 3


@pytest.mark.parametrize("uid", ["../../../etc", "1.2?limit=1", "1.2/../3", "a" * 300, ""])
def test_hostile_identifiers_reach_neither_the_disk_nor_an_address(
    fake: FakeArchive, uid: str, tmp_path: Path
) -> None:
    fake.objects = {
        ("1.2.3", "1.2.3.4", uid): b"",
        ("1.2.3", uid, "1.2.3.4.9"): b"",
        (uid, "1.2", "1.3"): b"",
    }
    own = archive(fake.url)
    assert own.studies(parse_query("Modality=CT")) == ["1.2.3"]
    with pytest.raises(DataError, match="is none"):
        own.series("1.2.3")
    with pytest.raises(DataError, match="is none"):
        own.fetch("1.2.3", ["1.2.3.4"], tmp_path / "out")
    with pytest.raises(DataError):
        own.series(uid)
    assert not (tmp_path / "out").exists()
    assert not any(uid and uid in line for line in fake.asked)


def test_an_archive_that_ignores_pages_is_not_asked_for_ever(fake: FakeArchive) -> None:
    fake.ignores_offset = True
    assert len(archive(fake.url).instances("1.2.3", "1.2.3.4")) == 5
    assert len(fake.asked) == 2


def test_where_the_archive_does_not_count_instances_they_are_listed(fake: FakeArchive) -> None:
    assert [one.count for one in archive(fake.url).series("1.2.3")] == [5]


@pytest.mark.parametrize("failures", [[503], ["drop"]])
def test_objects_are_stored_once_though_an_answer_is_lost(
    fake: FakeArchive, failures: list[int | str], tmp_path: Path
) -> None:
    fake.failures["POST"] = failures
    objects = objects_of(tmp_path)
    archive(fake.url).store(objects)
    assert sum(series == "1.2.3.5" for _, series, _ in fake.objects) == 5


@pytest.mark.parametrize(("status", "code"), [(202, 0xA700), (409, 0xA900), (409, 0x0122), (200, 0xC123)])
def test_objects_that_are_refused_are_told_with_the_reason(
    fake: FakeArchive, status: int, code: int, tmp_path: Path
) -> None:
    objects = objects_of(tmp_path)
    fake.refuse, fake.stow_status = {objects[1].instance: code}, status
    words = {
        0xA700: "out of resources",
        0xA900: "not what it says",
        0x0122: "of this kind",
        0xC123: "understand",
    }
    with pytest.raises(VesalError, match=f"1 object .*{words[code]}.*{code:04X}") as caught:
        archive(fake.url).store(objects)
    assert "1.2.3" not in str(caught.value).replace(fake.url, "")
    assert sum(series == "1.2.3.5" for _, series, _ in fake.objects) == 4


@pytest.mark.parametrize("answer", ["xml", "nameless"])
def test_an_answer_that_does_not_tell_which_was_refused_is_not_taken_for_success(
    fake: FakeArchive, answer: str, tmp_path: Path
) -> None:
    objects = objects_of(tmp_path)
    fake.refuse, fake.stow_answer = {objects[1].instance: 0xA700}, answer
    with pytest.raises(VesalError, match="refused 1 object of study-"):
        archive(fake.url).store(objects)
    # Only a warning: all are there.
    fake.refuse, fake.stow_status_always = {}, True
    archive(fake.url).store(objects)


def test_a_series_that_the_archive_says_it_does_not_have_is_missing(
    fake: FakeArchive, tmp_path: Path
) -> None:
    objects = objects_of(tmp_path)
    fake.failures["GET"] = [404]
    assert archive(fake.url).missing(objects) == objects


def test_what_is_there_already_counts_as_stored(fake: FakeArchive, tmp_path: Path) -> None:
    objects = objects_of(tmp_path)
    fake.refuse, fake.stow_status = {one.instance: 0x0111 for one in objects}, 409
    archive(fake.url).store(objects)
    # Told otherwise, but it is there.
    fake.refuse = {objects[0].instance: 0x0110}
    fake.objects[objects[0].study, objects[0].series, objects[0].instance] = b""
    archive(fake.url).store(objects[:1])


def test_whoever_stops_the_work_need_not_wait_for_the_next_try(fake: FakeArchive, tmp_path: Path) -> None:
    stop = threading.Event()
    fake.failures["GET"] = [503] * 9
    own = Archive(ArchiveSettings.of(url=fake.url, wait_s=1000.0, most_wait_s=1000.0), stop)
    caught: list[BaseException] = []

    def fetch() -> None:
        try:
            own.fetch("1.2.3", ["1.2.3.4"], tmp_path / "out")
        except Stopped as error:
            caught.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    stop.set()
    thread.join(20)
    assert caught


def test_a_folder_that_cannot_be_written_is_named(fake: FakeArchive, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(VesalError, match=os.fspath(tmp_path / "out")):
        archive(fake.url).fetch("1.2.3", ["1.2.3.4"], tmp_path / "out")
