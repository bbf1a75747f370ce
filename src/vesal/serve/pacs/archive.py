"""A DICOMweb archive (PS3.18): studies are searched for, fetched instance by instance, and results stored.

dicomweb-client asks the questions. It decodes objects when it fetches them, and encodes them again when it stores them:
here their bytes go from the connection to the disk and back as they are, without being whole in memory.
"""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.errors import DataError, VesalError
from vesal.files import atomic_path, parse_json, sweep
from vesal.parallel import Progress
from vesal.serve.pacs.archive_requests import NotThere, Requests
from vesal.serve.pacs.libraries import library
from vesal.serve.pacs.multipart import FilesBody, only_part
from vesal.serve.pacs.pacs_objects import ResultObject, checked_uid, file_name
from vesal.serve.pacs.pacs_settings import ArchiveSettings
from vesal.serve.pacs.retries import Passing, Stopped, Unreachable
from vesal.serve.pacs.study_query import StudyQuery, matches, widened
from vesal.text import listed, plural
from vesal.volume.dicom.header import read_header
from vesal.volume.dicom.identity import pseudonym
from vesal.volume.dicom.source import open_source

#: Answers to a search are asked for in pages of so many, of which at most so many come: no study has more instances.
_PAGE, _MOST_PAGES = 500, 400
#: Bytes that are in memory at once.
_PIECE = 1 << 20
#: Free bytes that are left to others on the disk.
_SPARE = 256 << 20

_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_MODALITY, _COUNT = "00080060", "00201209"
_FAILED, _REASON, _REFERENCED = "00081198", "00081197", "00081155"

#: Of a failure to store (PS3.18 I.2.2), in words; the first is no failure.
_DUPLICATE = 0x0111
#: Of a reason, which is a number of 16 bits.
_DIGITS = 5
_NO_REASON = "without a reason"
_REASONS = {
    0x0110: "it could not process it",
    0x0112: "there is no such object",
    0x0122: "it does not take objects of this kind",
    0x0124: "it is not authorised to take it",
    0x0131: "it lacks resources",
    0x0211: "it does not know the operation",
    0x0212: "the request is malformed",
}


@dataclass(frozen=True)
class ArchivedSeries:
    """A series as the archive tells of it.

    Attributes:
        count: of its instances.
    """

    study: str
    uid: str
    modality: str
    count: int


class Archive:
    """What is asked of an archive. Its methods may be called by several threads."""

    def __init__(self, settings: ArchiveSettings, stop: threading.Event | None = None) -> None:
        """Makes no connection; `stop` ends the waiting between tries.

        Raises:
            UsageError: the extra `serve` is not installed.
        """
        self.settings = settings
        self._requests = Requests(settings, stop)
        web = library("dicomweb_client.web")
        # What is an identifier is checked here; the client refuses a leading zero, which scanners write.
        self._client = web.DICOMwebClient(settings.url, session=self._requests, permissive_uid=True)
        self._client.set_http_retry_params(retry=False)

    def close(self) -> None:
        """End the connections."""
        self._requests.close()

    def reachable(self) -> bool:
        """Whether the archive answers a search, be it with a refusal."""
        try:
            self._asked(lambda: self._client.search_for_studies(limit=1))
        except Unreachable:
            return False
        except Stopped:
            raise
        except VesalError:
            return True
        return True

    def studies(self, query: StudyQuery) -> list[str]:
        """Study instance UIDs of those that the query means.

        Raises:
            VesalError: the archive refuses the search; Unreachable: it does not answer.
        """
        if query.description:
            text = f"*{query.description}*"
            by_study = self._search_studies({"StudyDescription": text, **query.study})
            by_series = self._search_series(None, {"SeriesDescription": text, **query.study})
            return _studies_of([*by_study, *by_series])
        if not query.study:
            return _studies_of(self._search_series(None, query.series))
        narrowed = dict(query.study)
        if "Modality" in query.series and "ModalitiesInStudy" not in narrowed:
            narrowed["ModalitiesInStudy"] = query.series["Modality"]
        found = _studies_of(self._search_studies(narrowed))
        return [one for one in found if not query.series or self._search_series(one, query.series)]

    def series(self, study: str, query: StudyQuery | None = None) -> list[ArchivedSeries]:
        """The series of a study that could be segmented, in the order of their UIDs.

        Args:
            study: its UID.
            query: of its conditions those on series hold.

        Raises:
            DataError: the archive gives an identifier that is none.
            VesalError: the archive refuses the search; Unreachable: it does not answer.
        """
        checked_uid(study, "a study")
        found = {}
        for row in self._search_series(study, query.series if query is not None else {}):
            modality = str(_value(row, _MODALITY) or "")
            if modality not in self.settings.modalities:
                continue
            uid = checked_uid(_value(row, _SERIES), f"a series of {pseudonym('study', study)}")
            count = _value(row, _COUNT)
            known = int(count) if str(count).isdigit() else len(self.instances(study, uid))
            found[uid] = ArchivedSeries(study, uid, modality, known)
        return [found[uid] for uid in sorted(found)]

    def instances(self, study: str, series: str) -> list[str]:
        """UIDs of a series' instances, sorted.

        Raises:
            DataError: the archive gives an identifier that is none.
            VesalError: the archive refuses the search; Unreachable: it does not answer.
        """
        rows = self._paged(_INSTANCE, lambda page: self._client.search_for_instances(study, series, **page))
        what = f"an instance of {pseudonym('study', study)}"
        return sorted(checked_uid(_value(row, _INSTANCE), what) for row in rows)

    def fetch(
        self, study: str, series: Sequence[str], folder: Path, progress: Progress | None = None
    ) -> list[Path]:
        """Files of all instances of the series, a folder each. Those that are there are not fetched again.

        Args:
            study, series: UIDs.
            folder: where the folders of the series are made.
            progress: called with (done, total).

        Raises:
            DataError: the study is larger than the settings allow, a series is gone, or the archive gives other objects
                than asked for.
            VesalError: the archive refuses it, or the disk is full; Unreachable: it does not answer.
        """
        # What a crash cut off.
        sweep(folder, older_than_s=0.0)
        held = {one: self.instances(study, one) for one in series}
        if not all(held.values()):
            raise DataError(
                f"A series of {pseudonym('study', study)} is not there any more; ask for the study again when it is."
            )
        wanted = [
            (one, instance, folder / file_name(one, "series") / f"{file_name(instance, 'instance')}.dcm")
            for one, instances in held.items()
            for instance in instances
        ]
        there = sum(path.stat().st_size for _, _, path in wanted if path.exists())
        for done, (one, instance, path) in enumerate(wanted, start=1):
            if not path.exists():
                address = f"{self.settings.url}/studies/{study}/series/{one}/instances/{instance}"
                room = self.settings.most_bytes - there
                self._requests.again(
                    lambda: self._fetch_one(address, (study, one, instance), path, room)  # noqa: B023
                )
                there += path.stat().st_size
            if progress is not None:
                progress(done, len(wanted))
        return [path for _, _, path in wanted]

    def missing(self, objects: Sequence[ResultObject]) -> list[ResultObject]:
        """Those that the archive does not hold.

        Raises:
            VesalError: the archive refuses the search; Unreachable: it does not answer.
        """
        held: dict[tuple[str, str], set[str]] = {}
        for one in objects:
            key = one.study, one.series
            if key not in held:
                try:
                    held[key] = set(self.instances(*key))
                except NotThere:
                    # So some archives say of a series that they do not have.
                    held[key] = set()
        return [one for one in objects if one.instance not in held[one.study, one.series]]

    def store(self, objects: Sequence[ResultObject]) -> None:
        """Store objects; one that the archive holds already counts as stored.

        Raises:
            VesalError: the archive refuses one; the message says why. Unreachable: it does not answer.
        """
        for batch in _batches(objects, self.settings.store_bytes):
            refused = self._requests.again(lambda: self._store_some(batch))  # noqa: B023
            # Of all: some archives do not tell which they refused.
            if refused and (lost := self.missing(batch)):
                why = listed(sorted({refused.get(one.instance, _NO_REASON) for one in lost}), 3)
                raise VesalError(
                    f"{self.settings.url} refused {plural(len(lost), 'object')} of "
                    f"{pseudonym('study', batch[0].study)} ({why}); see the archive's log."
                )

    # --- searches --------------------------------------------------------------------------------------------

    def _search_studies(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        asked = {key: widened(value) for key, value in filters.items()}
        rows = self._paged(
            _STUDY,
            lambda page: self._client.search_for_studies(fields=[*filters], search_filters=asked, **page),
        )
        return _holding(rows, filters)

    def _search_series(self, study: str | None, filters: dict[str, str]) -> list[dict[str, Any]]:
        asked = {key: widened(value) for key, value in filters.items()}
        fields = ["StudyInstanceUID", "NumberOfSeriesRelatedInstances", *filters]
        rows = self._paged(
            _SERIES,
            lambda page: self._client.search_for_series(study, fields=fields, search_filters=asked, **page),
        )
        return _holding(rows, filters)

    def _paged(self, key: str, search: Callable[[dict[str, int]], Any]) -> list[dict[str, Any]]:
        """All answers to a search, also of servers that give fewer at once, or always the first ones."""
        found: dict[str, dict[str, Any]] = {}
        for _ in range(_MOST_PAGES):
            page = {"limit": _PAGE, "offset": len(found)}
            rows = self._asked(lambda: search(page))  # noqa: B023
            before = len(found)
            for row in rows:
                found.setdefault(str(_value(row, key)), row)
            if len(found) == before:
                return list(found.values())
        raise VesalError(f"{self.settings.url} finds too much; narrow the query down.")

    def _asked(self, search: Callable[[], Any]) -> list[dict[str, Any]]:
        try:
            rows = search()
        except ValueError as error:
            raise VesalError(
                f"{self.settings.url} does not answer in DICOM's JSON; check that the address is where DICOMweb begins."
            ) from error
        return [row for row in rows if isinstance(row, dict)]

    # --- bodies ----------------------------------------------------------------------------------------------

    def _fetch_one(self, address: str, uids: tuple[str, str, str], path: Path, room: int) -> None:
        accept = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        with (
            self._requests.answer("GET", address, accept) as response,
            atomic_path(path, durable=True) as new,
        ):
            written = 0
            with new.open("wb") as stream:
                pieces = self._requests.pieces(response, _PIECE)
                for piece in only_part(pieces, response.headers.get("Content-Type", "")):
                    written += len(piece)
                    if written > room:
                        raise DataError(
                            f"{pseudonym('study', uids[0])} holds more than most_bytes ({self.settings.most_bytes:,}) "
                            "allows; raise it."
                        )
                    if shutil.disk_usage(new.parent).free < _SPARE + len(piece):
                        raise VesalError(f"The disk of {path.parent} is full; free some space.")
                    stream.write(piece)
            _check(new, uids)

    def _store_some(self, batch: Sequence[ResultObject]) -> dict[str, str]:
        """Instance -> why it was refused."""
        boundary = secrets.token_hex(16)
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        }
        address = f"{self.settings.url}/studies"
        body = FilesBody([one.path for one in batch], boundary)
        try:
            with self._requests.answer("POST", address, headers, body, (400, 409)) as response:
                content, status = response.content, response.status_code
        finally:
            body.close()
        failed = _failures(content)
        if status != 200 and failed is None:
            # One or all of them, or none, without a word why: Orthanc answers 400 where one is no DICOM object, others
            # 202 with XML, or with warnings alone.
            return {one.instance: _NO_REASON for one in batch}
        return failed or {}


def _batches(objects: Sequence[ResultObject], most: int) -> Iterator[list[ResultObject]]:
    batch: list[ResultObject] = []
    size = 0
    for one in objects:
        own = one.path.stat().st_size
        if batch and size + own > most:
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += own
    if batch:
        yield batch


def _failures(content: bytes) -> dict[str, str] | None:
    """Instance -> why it was refused, of an answer to a request to store; what is there already is left out.

    None where the answer names no failure.
    """
    try:
        answer = parse_json(content)
    except ValueError:
        return None
    found = {}
    named = False
    for row in answer if isinstance(answer, list) else [answer]:
        for item in _values(row, _FAILED):
            code = _value(item, _REASON)
            code = int(code) if str(code).isdecimal() and len(str(code)) <= _DIGITS else 0
            named = True
            if code != _DUPLICATE:
                found[str(_value(item, _REFERENCED))] = _reason(code)
    return found if named else None


def _reason(code: int) -> str:
    """A failure in words (PS3.18 I.2.2, PS3.4 B.2.3)."""
    ranges = {0xA7: "it is out of resources", 0xA9: "the object is not what it says it is"}
    words = _REASONS.get(code) or ranges.get(code >> 8)
    if words is None:
        words = "it cannot understand it" if code >> 12 == 0xC else "for an unknown reason"
    return f"{words}, code {code:04X}"


def _check(path: Path, uids: tuple[str, str, str]) -> None:
    """Raise where a file is not the instance that was asked for: a wrong one may be another patient's."""
    try:
        header = read_header(open_source(path), path.name)
    except DataError as error:
        raise Passing("sent an object that is damaged") from error
    if header is None:
        raise Passing("sent something that is no DICOM object")
    own = tuple(
        str(header.get(key, "")) for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    )
    if own != uids:
        raise DataError(
            f"The archive sent another object of {pseudonym('study', uids[0])} than was asked for; see its log."
        )


def _studies_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Study instance UIDs; what is none is left out, for it must not keep others from being found."""
    found: dict[str, None] = {}
    for row in rows:
        try:
            found[checked_uid(_value(row, _STUDY), "a study")] = None
        except DataError:
            continue
    return list(found)


def _holding(rows: Sequence[dict[str, Any]], filters: dict[str, str]) -> list[dict[str, Any]]:
    """Those of which a condition that was widened holds, as far as they tell."""
    tag = library("pydicom.datadict").tag_for_keyword
    text = {f"{tag(key):08X}": value for key, value in filters.items() if widened(value) != value}
    return [
        row
        for row in rows
        if all(matches(_value(row, key), value) for key, value in text.items() if key in row)
    ]


def _values(row: Any, key: str) -> list[Any]:
    """The values of an element in DICOM's JSON (PS3.18 F.2)."""
    element = row.get(key) if isinstance(row, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _value(row: Any, key: str) -> Any:
    """The first of them; None where there is none."""
    return next(iter(_values(row, key)), None)
