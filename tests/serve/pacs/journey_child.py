"""A journey in a process that is killed at a chosen point: before or after a call that changes anything anywhere."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from journey_examples import predict_pictures

import vesal.files
from vesal.serve.pacs.archive import Archive
from vesal.serve.pacs.archive_watch import note_studies
from vesal.serve.pacs.pacs_jobs import StudyJobs
from vesal.serve.pacs.pacs_settings import ArchiveSettings, JourneySettings
from vesal.serve.pacs.study_journey import StudyJourney
from vesal.serve.pacs.study_query import parse_query


class Points:
    """Counts the points."""

    def __init__(self, deadly: int, answer: Connection) -> None:
        self.deadly, self.answer, self.passed = deadly, answer, 0

    def __call__(self, name: str) -> None:
        self.answer.send(name)
        if self.passed == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1

    def around(self, owner: Any, name: str) -> None:
        """A point before and one after each call of a function."""
        function = getattr(owner, name)

        def called(*args: Any, **options: Any) -> Any:
            self(f"before {name}")
            found = function(*args, **options)
            self(f"after {name}")
            return found

        setattr(owner, name, called)


@dataclass(frozen=True)
class Ended:
    """How the process ended: its exit code, the points that it came to, and the studies' states at the end."""

    code: int | None
    points: list[str]
    states: dict[str, int]


def run(url: str, folder: Path, deadly: int) -> Ended:
    """In a process of its own, which kills itself at point number `deadly`."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_journey, args=(url, folder, deadly, theirs))
    process.start()
    theirs.close()
    points: list[str] = []
    states: dict[str, int] = {}
    try:
        while True:
            found = ours.recv()
            if isinstance(found, str):
                points.append(found)
            else:
                states = found
    except EOFError:
        process.join()
    return Ended(process.exitcode, points, states)


def _journey(url: str, folder: Path, deadly: int, answer: Connection) -> None:
    points = Points(deadly, answer)
    # A request to store of each object alone: a kill comes between them, too.
    archive = Archive(ArchiveSettings.of(url=url, wait_s=0.01, store_bytes=1))
    jobs = StudyJobs(folder / "studies.sqlite")

    class Model:
        predict = staticmethod(predict_pictures)

    for owner, name in (
        (archive, "fetch"), (archive, "missing"), (archive, "store"), (archive, "_store_some"), (jobs, "add"),
        (jobs, "advance"), (jobs, "note_stored"), (Model, "predict"), (vesal.files.os, "replace"),
    ):  # fmt: skip
        points.around(owner, name)
    note_studies(archive, jobs, parse_query("Modality=CT"))
    journey = StudyJourney(jobs, folder / "work", archive, Model.predict, archive, JourneySettings(wait_s=0))
    while journey.work():
        pass
    answer.send({str(state): count for state, count in jobs.counts().items() if count})
