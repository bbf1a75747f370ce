"""Studies of an archive or a node: which are worked on, and asking for others. No identifier of theirs is told."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter

from vesal.record import Record
from vesal.serve.http.answers import ErrorAnswer
from vesal.serve.http.receive import SmallBody
from vesal.serve.pacs_service import PacsService


class StudyAnswer(Record):
    """A study.

    Attributes:
        name: its pseudonym.
        source: archive or node.
        state: found, fetched, predicted, stored, failed, or replaced by a newer form of itself.
        tries: failures since the last step that succeeded.
        reason: of the last failure.
        changed: UTC.
    """

    name: str
    source: str
    state: str
    tries: int
    reason: str
    changed: datetime


class StudyRequest(Record):
    """Which studies of the archive are to be segmented: `Key=value ...`, or a part of a description."""

    query: str


class StudyCount(Record):
    """How many studies were noted by a request that were not before."""

    noted: int


def study_routes(pacs: PacsService) -> APIRouter:
    """The routes below /api/studies."""
    routes = APIRouter(prefix="/api/studies", tags=["studies"], route_class=SmallBody)

    @routes.get("")
    def all_studies() -> list[StudyAnswer]:
        """The studies that were noted, the newest first."""
        return [StudyAnswer(**one) for one in pacs.studies()]

    @routes.post("", status_code=202, responses={400: {"model": ErrorAnswer}, 502: {"model": ErrorAnswer}})
    def note(asked: StudyRequest) -> StudyCount:
        """Segment studies of the archive; what was set aside is taken up again."""
        return StudyCount(noted=pacs.note(asked.query))

    return routes
