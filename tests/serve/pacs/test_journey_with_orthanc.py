"""Studies of a real archive come back with results, once each, wherever the process that does it is killed."""

from __future__ import annotations

import signal
from pathlib import Path

import journey_child
import pytest
from dicom_examples import random_series, write_series
from journey_examples import predict_pictures
from orthanc_server import Orthanc, needs_orthanc

from vesal.serve.pacs.archive import Archive
from vesal.serve.pacs.archive_watch import note_studies
from vesal.serve.pacs.pacs_jobs import StudyJobs, StudyState
from vesal.serve.pacs.pacs_settings import ArchiveSettings
from vesal.serve.pacs.study_journey import StudyJourney
from vesal.serve.pacs.study_query import parse_query

pytest.importorskip("dicomweb_client", reason="the extra serve is not installed")
pytestmark = [pytest.mark.clinic, needs_orthanc]


def filled(orthanc: Orthanc, tmp_path: Path) -> set[str]:
    """Instances of two studies that Orthanc holds."""
    for number in (1, 2):
        tags = {"StudyInstanceUID": f"1.2.{number}"}
        drawn = random_series(seed=number, shape=(7, 6, 3), uid=f"1.2.{number}.1", tags=tags)
        orthanc.add(*write_series(tmp_path / str(number), drawn))
    return set(orthanc.instances())


def results(orthanc: Orthanc) -> list[str]:
    """Instances of all secondary captures, as often as the archive has them."""
    found = orthanc.get("/instances?expand")
    return [one["MainDicomTags"]["SOPInstanceUID"] for one in found
            if orthanc.get(f"/instances/{one['ID']}/simplified-tags")["Modality"] == "OT"]  # fmt: skip


def test_studies_of_orthanc_come_back_with_results(orthanc: Orthanc, tmp_path: Path) -> None:
    scans = filled(orthanc, tmp_path)
    archive = Archive(ArchiveSettings.of(url=orthanc.url, wait_s=0.01))
    with StudyJobs(tmp_path / "studies.sqlite") as jobs:
        assert note_studies(archive, jobs, parse_query("Modality=CT")) == 2
        journey = StudyJourney(jobs, tmp_path / "work", archive, predict_pictures, archive)
        while journey.work():
            pass
        assert note_studies(archive, jobs, parse_query("Modality=CT")) == 0
        assert jobs.counts()[StudyState.STORED] == 2
    assert len(results(orthanc)) == len(set(results(orthanc))) == 4
    assert len(orthanc.instances()) == len(scans) + 4


def test_killed_between_any_two_steps_every_study_ends_once(orthanc: Orthanc, tmp_path: Path) -> None:
    """At its first point, in a next round at its second and so on, each time followed by one that is left alone."""
    points: list[str] = []
    for number in range(1000):
        orthanc.delete_all()
        scans = filled(orthanc, tmp_path / "scans")
        folder = tmp_path / f"work-{number}"
        killed = journey_child.run(orthanc.url, folder, number)
        if killed.code == 0:
            break
        assert killed.code == -signal.SIGKILL
        points.append(killed.points[-1])
        then = journey_child.run(orthanc.url, folder, -1)
        assert (then.code, then.states) == (0, {"stored": 2}), points
        found = results(orthanc)
        assert len(found) == len(set(found)) == 4, points
        assert len(orthanc.instances()) == len(scans) + 4, points
        assert [path for path in (folder / "work").rglob("*") if path.is_file()] == [], points
    calls = {
        "add",
        "fetch",
        "replace",
        "predict",
        "missing",
        "store",
        "_store_some",
        "note_stored",
        "advance",
    }
    assert {point.split()[1] for point in points} == calls
    assert len(points) > 60
