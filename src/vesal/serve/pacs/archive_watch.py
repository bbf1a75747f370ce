"""Studies as they arrive in an archive: taken when their series have stopped growing, and again when these change."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from vesal.errors import VesalError
from vesal.files import content_hash
from vesal.serve.pacs.archive import Archive
from vesal.serve.pacs.pacs_jobs import StudyJobs, content_of
from vesal.serve.pacs.pacs_settings import WatchSettings
from vesal.serve.pacs.retries import Stopped
from vesal.serve.pacs.study_query import StudyQuery, parse_query
from vesal.volume.dicom.identity import pseudonym

_LOG = logging.getLogger(__name__)

#: A study that has been the same for some time is looked at again after this part of it, and after that at most (s):
#: else an archive of many studies would be asked for every one of them at every look.
_PART, _MOST_S = 0.1, 3600.0


class ArchiveWatch:
    """Asks the archive every so often."""

    def __init__(self, archive: Archive, jobs: StudyJobs, settings: WatchSettings, made_by: str = "") -> None:
        """Asks nothing yet.

        Args:
            archive: that is asked.
            jobs: where studies are noted.
            settings: which studies, how often.
            made_by: digest of what makes the results. Another takes studies that are asked for anew, and none here.

        Raises:
            UsageError: the query is none.
        """
        self._archive, self._jobs, self._settings, self._made_by = archive, jobs, settings, made_by
        self._query = parse_query(settings.query)
        self._next = jobs.now()
        self._again: dict[str, float] = {}
        # A crash within the first look begins it anew: until then every study counts as there before.
        self._first = not settings.take_existing and not jobs.watched_before(self._mark)
        # Of the first look those for which the archive did not answer.
        self._before: set[str] = set()

    @property
    def _mark(self) -> str:
        return f"looked {self._settings.query}"

    def __call__(self) -> float:
        """Look if it is time to; returns after how many seconds it will be again."""
        if self._jobs.now() >= self._next:
            try:
                self.look()
            except Stopped:
                return 0.0
            except VesalError as error:
                _LOG.warning("The archive could not be asked for new studies: %s", error)
            self._next = self._jobs.now() + self._settings.every_s
        return max(0.0, self._next - self._jobs.now())

    def look(self) -> int:
        """Ask once; returns how many studies were noted.

        Raises:
            VesalError: the archive refuses it; Unreachable: it does not answer.
        """
        found = 0
        for study in self._archive.studies(self._recent()):
            if self._jobs.now() < self._again.get(study, 0.0):
                continue
            try:
                found += self._look_at(study)
            except Stopped:
                raise
            except VesalError as error:
                if self._first:
                    self._before.add(study)
                _LOG.warning("%s was left out: %s", pseudonym("study", study), error)
        self._jobs.see(self._mark, "", "")
        self._first = False
        return found

    def _recent(self) -> StudyQuery:
        """The query for the last days, where an archive of many years is not asked for every one of its studies."""
        days = self._settings.days
        if not days or "StudyDate" in self._query.study:
            return self._query
        first = datetime.fromtimestamp(self._jobs.now()).date() - timedelta(days=days)
        study = {**self._query.study, "StudyDate": f"{first:%Y%m%d}-"}
        if "Modality" in self._query.series:
            study.setdefault("ModalitiesInStudy", self._query.series["Modality"])
        # What series must be is looked at where they are listed.
        return replace(self._query, study=study, series={})

    def _look_at(self, study: str) -> bool:
        series = [(one.uid, one.count) for one in self._archive.series(study, self._query) if one.count]
        content = content_of(series)
        if self._first or study in self._before:
            self._before.discard(study)
            self._jobs.see(f"there {self._settings.query}", study, content)
            return False
        since = self._jobs.see(self._settings.query, study, content)
        same_s = self._jobs.now() - since
        if not series or same_s < self._settings.stable_s:
            return False
        self._again[study] = self._jobs.now() + min(_PART * (same_s - self._settings.stable_s), _MOST_S)
        known = (f"there {self._settings.query}", f"taken {self._settings.query}")
        if any(self._jobs.has_seen(mark, study, content) for mark in known):
            return False
        added = self._jobs.add(study, _form(content, self._made_by), [uid for uid, _ in series])
        self._jobs.see(known[1], study, content)
        return added


def _form(content: str, made_by: str) -> str:
    """What tells a study from itself with other instances, or with results of another model."""
    return content_hash(content.encode(), made_by.encode())


def note_studies(archive: Archive, jobs: StudyJobs, query: StudyQuery, made_by: str = "") -> int:
    """Note the studies that a query means, as they are now; returns how many were not noted before.

    Args:
        archive: that is asked.
        jobs: where they are noted.
        query: which.
        made_by: digest of what makes the results; with another a study is noted again.

    Raises:
        VesalError: the archive refuses the search, or a study has no series that could be segmented.
    """
    found = 0
    studies = archive.studies(query)
    if not studies:
        raise VesalError(f"{archive.settings.url} holds no such study; check the query.")
    for study in studies:
        series = [(one.uid, one.count) for one in archive.series(study, query) if one.count]
        if series:
            found += jobs.add(study, _form(content_of(series), made_by), [uid for uid, _ in series])
        elif len(studies) == 1:
            kinds = ", ".join(archive.settings.modalities)
            raise VesalError(f"{pseudonym('study', study)} holds no series of {kinds}; name another study.")
    return found
