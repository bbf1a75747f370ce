"""A DICOM node that modalities and archives send studies to (C-STORE, PS3.4 B), for those without DICOMweb.

Objects are written as they come, compressed ones too, without being decoded or whole in memory. A study counts as
whole when no association has touched it for some time, and none is open that sent it last; then it is noted in the file
of studies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from vesal.errors import DataError, UsageError, VesalError
from vesal.files import link_or_copy
from vesal.serve.pacs.libraries import library
from vesal.serve.pacs.pacs_jobs import UNFINISHED, StudyJobs, content_of
from vesal.serve.pacs.pacs_objects import checked_uid, file_name
from vesal.serve.pacs.pacs_settings import NodeSettings
from vesal.serve.pacs.received_files import ReceivedFile, Space
from vesal.volume.dicom.header import read_header
from vesal.volume.dicom.identity import pseudonym
from vesal.volume.dicom.source import open_source

_LOG = logging.getLogger(__name__)

_VERIFICATION = "1.2.840.10008.1.1"
_STORAGE = "1.2.840.10008.5.1.4.1.1."
#: SOP classes of slices (PS3.4 B.5): CT, MR and PET, classic, enhanced, and legacy converted enhanced.
_KINDS = tuple(_STORAGE + end for end in ("2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "128", "128.1", "130"))
#: Transfer syntaxes (PS3.5 A): first what senders choose where they can choose.
_SYNTAXES = tuple(
    f"1.2.840.10008.1.2{end}"
    for end in (
        ".1", "", ".2", ".1.99", ".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91",
        ".4.201", ".4.202", ".4.203",
    )
)  # fmt: skip

_STUDY = 0x0020000D
#: Answers (PS3.4 B.2.3, PS3.7 C).
_STORED, _NO_ROOM, _NOT_ITSELF, _NOT_READ, _NOT_ALLOWED = 0x0000, 0xA700, 0xA900, 0xC000, 0x0124

#: Below the folder: what is whole, and what is on its way.
_INCOMING, _RECEIVING = "incoming", "receiving"
#: In the folder of a study of which something was refused: it is not whole, also after a restart.
_REFUSED = "refused"
#: Bytes that are received at once.
_PDU = 1 << 17
#: Before a study is noted again where that failed.
_AGAIN_S = 10.0

#: pynetdicom has one place for files on their way, and so can have one node that receives.
_ONE = threading.Lock()


@dataclass
class _Arriving:
    """A study that is being sent.

    Attributes:
        touched: when the last association left it, by the monotonic clock.
        associations: that are open and have sent something of it, and nothing of another study since.
        sent: since this node was started; else it was found on the disk.
    """

    touched: float
    associations: set[int] = field(default_factory=set)
    sent: bool = False


class DicomNode:
    """The node, from `start` to `close`; a context that does both.

    Attributes:
        settings: of it.
        port: on which it listens.
    """

    def __init__(
        self, settings: NodeSettings, folder: Path, jobs: StudyJobs, wake: Callable[[], object] = lambda: None
    ) -> None:
        """Listens to nothing yet.

        Args:
            settings: of it.
            folder: of what is received.
            jobs: where whole studies are noted.
            wake: called when one was.

        Raises:
            UsageError: the extra `serve` is not installed.
            VesalError: the folder cannot be written.
        """
        self.settings = settings
        self.port = settings.port
        self._folder, self._jobs, self._wake = folder, jobs, wake
        self._netdicom = library("pynetdicom")
        self._arriving: dict[str, _Arriving] = {}
        self._news = threading.Condition()
        self._ended = False
        self._server: Any = None
        self._quiet: threading.Thread | None = None
        try:
            shutil.rmtree(folder / _RECEIVING, ignore_errors=True)
            for name in (_INCOMING, _RECEIVING):
                (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise VesalError(
                f"Cannot write {folder} ({error.strerror or error}); give another folder."
            ) from error
        self._space = Space(folder / _INCOMING, settings.most_bytes, settings.most_object_bytes)

    def __enter__(self) -> DicomNode:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen, and note the studies that were received before and are whole now.

        Raises:
            UsageError: the port is taken, or this process has a node already.
        """
        if not _ONE.acquire(blocking=False):
            raise UsageError("A process can have one DICOM node that receives; end the other one first.")
        self._divert(lambda *_a, **_k: ReceivedFile(self._folder / _RECEIVING, self._space), chunked=True)
        try:
            self._server = self._listen()
        except BaseException as error:
            self._divert(None, chunked=False)
            _ONE.release()
            if not isinstance(error, OSError):
                raise
            raise UsageError(
                f"Cannot listen on {self.settings.host}:{self.settings.port} ({error.strerror or error}); "
                "give another port or end who listens there."
            ) from error
        self.port = self._server.server_address[1]
        now = time.monotonic()
        self._arriving.update({study: _Arriving(now) for study in self._received()})
        self._quiet = threading.Thread(target=self._note_whole, name="dicom-node", daemon=True)
        self._quiet.start()

    def close(self) -> None:
        """Cut off who is sending, and listen no more; what was received whole is kept."""
        if self._server is None:
            return
        with self._news:
            self._ended = True
            self._news.notify_all()
        self._server.ae.shutdown()
        if self._quiet is not None:
            self._quiet.join()
        self._divert(None, chunked=False)
        self._server = None
        _ONE.release()

    # --- as the origin of a journey --------------------------------------------------------------------------

    def fetch(self, study: str, series: Sequence[str], folder: Path) -> None:
        """Link what was received of the series into a folder.

        Raises:
            DataError: it is gone.
        """
        for one in series:
            received = self._of(study) / file_name(one, "series")
            files = sorted(received.glob("*.dcm"))
            if not files:
                raise DataError(f"{pseudonym('study', study)} is not here any more; send it again.")
            into = folder / received.name
            into.mkdir(parents=True, exist_ok=True)
            for path in files:
                (into / path.name).unlink(missing_ok=True)
                link_or_copy(path, into / path.name)

    def reachable(self) -> bool:
        """It is here."""
        return True

    def expire(self) -> None:
        """Delete studies whose results are stored, that were set aside, or of which something was refused, and that
        nobody has sent to for `keep_s`."""
        noted = {job.study for job in self._jobs.jobs()}
        needed = {job.study for job in self._jobs.jobs(*UNFINISHED)}
        for study, folder in self._received().items():
            with self._news:
                old = time.time() - _changed(folder) >= self.settings.keep_s
                waits = study not in noted and not (folder / _REFUSED).exists()
                if not old or waits or study in needed or study in self._arriving:
                    continue
                # To another name first: what arrives now begins a folder of its own.
                gone = self._folder / _RECEIVING / folder.name
                os.replace(folder, gone)
            self._space.give_back(sum(path.stat().st_size for path in gone.rglob("*.dcm")))
            shutil.rmtree(gone, ignore_errors=True)

    # --- receiving -------------------------------------------------------------------------------------------

    def _divert(self, make: Any, *, chunked: bool) -> None:
        """Where pynetdicom writes what it receives: by itself into the system's folder for temporary files, in which
        a crash would leave patients."""
        configuration: Any = library("pynetdicom._config")
        messages: Any = library("pynetdicom.dimse_messages")
        configuration.STORE_RECV_CHUNKED_DATASET = chunked
        messages.NamedTemporaryFile = make or NamedTemporaryFile

    def _listen(self) -> Any:
        settings, events = self.settings, library("pynetdicom.events")
        entity = self._netdicom.AE(ae_title=settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(settings.calling)
        entity.maximum_associations = settings.associations
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = settings.timeout_s
        entity.maximum_pdu_size = _PDU
        entity.add_supported_context(_VERIFICATION)
        for kind in _KINDS:
            entity.add_supported_context(kind, list(_SYNTAXES))
        handlers = [
            (events.EVT_C_STORE, self._store),
            (events.EVT_CONN_CLOSE, self._left),
            (events.EVT_RELEASED, self._left),
            (events.EVT_ABORTED, self._left),
        ]
        server = entity.start_server((settings.host, settings.port), block=False, evt_handlers=handlers)
        server.verify_request = lambda _request, address: self._allows(address[0])
        return server

    def _allows(self, address: str) -> bool:
        """Whether this address may send."""
        if not self.settings.addresses:
            return True
        own = ip_address(address.partition("%")[0])
        mapped = getattr(own, "ipv4_mapped", None)
        return any((mapped or own) in network for network in self.settings.addresses)

    def _store(self, event: Any) -> int:
        """Answers a C-STORE: its status."""
        received = event.request._dataset_file
        # Whoever came in before the server learnt whom it lets in.
        if not self._allows(event.assoc.requestor.address):
            return _NOT_ALLOWED
        if received.overflowed:
            _LOG.warning(
                "An object was refused: there is no room for it; delete studies, or raise the limits."
            )
            self._mark_refused(_study_of(received.head))
            return _NO_ROOM
        path = Path(received.name)
        try:
            received.flush()
            header = read_header(open_source(path), path.name)
            if header is None:
                return _NOT_READ
            study, series, instance = (
                checked_uid(header.get(key, ""), f"a received object ({key})")
                for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
            )
            if instance != str(event.request.AffectedSOPInstanceUID):
                return _NOT_ITSELF
        except DataError:
            return _NOT_ITSELF
        except VesalError:
            return _NOT_READ
        place = self._of(study) / file_name(series, "series")
        with self._news:
            try:
                received.keep(place / f"{file_name(instance, 'instance')}.dcm")
            except OSError as error:
                _LOG.error("An object could not be written (%s).", error.strerror or type(error).__name__)
                self._mark_refused(study)
                return _NO_ROOM
            arriving = self._arriving.setdefault(study, _Arriving(0.0))
            if id(event.assoc) not in arriving.associations:
                # Sent again.
                (self._of(study) / _REFUSED).unlink(missing_ok=True)
            arriving.touched, arriving.sent = time.monotonic(), True
            # Who sends another study has left the one before: archives keep an association open for all they send.
            for other in self._arriving.values():
                other.associations.discard(id(event.assoc))
            arriving.associations.add(id(event.assoc))
            self._news.notify_all()
        return _STORED

    def _of(self, study: str) -> Path:
        return self._folder / _INCOMING / file_name(study, "study")

    def _mark_refused(self, study: str) -> None:
        # Where nothing of it is here there is nothing to mark. On a disk that has no room for this either it counts as
        # whole when nobody sends it any more.
        with contextlib.suppress(OSError):
            (self._of(study) / _REFUSED).touch()

    def _left(self, event: Any) -> None:
        """An association ended, in whatever way."""
        # What it was sending is not whole, and pynetdicom leaves it.
        message = getattr(event.assoc.dimse, "message", None)
        if (unfinished := getattr(message, "_data_set_file", None)) is not None:
            unfinished.close()
        with self._news:
            for arriving in self._arriving.values():
                if id(event.assoc) in arriving.associations:
                    arriving.associations.discard(id(event.assoc))
                    arriving.touched = time.monotonic()
            self._news.notify_all()

    # --- whole studies ---------------------------------------------------------------------------------------

    def _note_whole(self) -> None:
        """Notes studies that nobody has touched for long enough, until the node is closed."""
        while True:
            with self._news:
                now = time.monotonic()
                waits = {
                    study: one.touched + self.settings.quiet_s - now
                    for study, one in self._arriving.items()
                    if not one.associations
                }
                whole = [study for study, wait_s in waits.items() if wait_s <= 0]
                if not whole:
                    if self._ended:
                        return
                    self._news.wait(min(waits.values(), default=None))
                    continue
                arrived = {study: self._arriving.pop(study).sent for study in whole}
                if self._ended:
                    return
            for study, sent in arrived.items():
                self._note(study, sent=sent)

    def _note(self, study: str, *, sent: bool) -> None:
        """Note a study; one that was set aside is taken up again where somebody has sent it anew."""
        folder = self._of(study)
        if (folder / _REFUSED).exists():
            _LOG.warning("%s waits: objects of it were refused; send it again.", pseudonym("study", study))
            return
        series: list[tuple[str, int]] = []
        try:
            for one in sorted(folder.iterdir()):
                files = sorted(one.glob("*.dcm"))
                if files and (header := read_header(open_source(files[0]), files[0].name)) is not None:
                    series.append((str(header.SeriesInstanceUID), len(files)))
            new = series and self._jobs.add(study, content_of(series), [uid for uid, _ in series])
            if new or (series and sent and self._jobs.again(study)):
                _LOG.info("%s was received.", pseudonym("study", study))
                self._wake()
        except (OSError, VesalError) as error:
            why = str(error) if isinstance(error, VesalError) else type(error).__name__
            _LOG.error("%s could not be noted (%s); it is tried again.", pseudonym("study", study), why)
            with self._news:
                again = time.monotonic() + _AGAIN_S - self.settings.quiet_s
                self._arriving.setdefault(study, _Arriving(again)).sent |= sent

    def _received(self) -> dict[str, Path]:
        """Study -> its folder, of what lies here; the folders' names do not tell."""
        found = {}
        for folder in sorted((self._folder / _INCOMING).iterdir()):
            first = next(iter(sorted(folder.rglob("*.dcm"))), None)
            with contextlib.suppress(VesalError):
                header = None if first is None else read_header(open_source(first), first.name)
                if header is not None:
                    found[str(header.get("StudyInstanceUID", ""))] = folder
        return found


def _study_of(head: bytes) -> str:
    """The study of an object of which the first bytes are known; '' where they do not tell."""
    reader = library("pydicom.filereader")
    # Whatever is damaged or cut off shows in any kind of error.
    with contextlib.suppress(Exception):
        found = reader.read_partial(BytesIO(head), lambda tag, *_: tag > _STUDY, force=True)
        return str(found.get("StudyInstanceUID", ""))
    return ""


def _changed(folder: Path) -> float:
    """When something was last put into it (s since 1970)."""
    return max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)
