"""Uploads that a client of MONAI Label keeps, to infer on several times."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from vesal.files import link_or_copy
from vesal.serve.jobs.uploads import Upload, UploadError

#: Seconds without use until a session ends, where the client does not say.
_EXPIRY_S = 3600
#: Longest that a client may ask for.
_MOST_EXPIRY_S = 24 * 3600
_MOST_SESSIONS = 64


@dataclass
class LabelSession:
    """An upload that is kept.

    Attributes:
        id: of the session.
        files: of the upload, in the order of arrival.
        used: when it was used last, on a clock that only goes forward.
        expiry_s: after which it goes.
    """

    id: str
    files: list[Path]
    used: float
    expiry_s: float

    def to_dict(self) -> dict[str, object]:
        """As MONAI Label describes a session; no path of the server."""
        return {"name": self.id, "image": self.files[0].name, "expiry": int(self.expiry_s)}


class LabelSessions:
    """All sessions, in a folder that is empty when the server starts.

    Args:
        folder: for them.
    """

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        self._folder, self._lock = folder, threading.Lock()
        self._sessions: dict[str, LabelSession] = {}

    def keep(self, upload: Upload, expiry_s: float) -> LabelSession:
        """Keep an upload that is whole.

        Raises:
            UploadError: it holds no file, or too many are kept.
        """
        self.sweep()
        if not upload.files:
            raise UploadError("The form holds no file; send the image as the field 'files'.")
        if len(self._sessions) >= _MOST_SESSIONS:
            raise UploadError("Too many sessions are open; close one, or try again later.", 503)
        folder = self._folder / upload.folder.name
        upload.folder.rename(folder)
        files = [folder / file.relative_to(upload.folder) for file in upload.files]
        seconds = min(expiry_s or _EXPIRY_S, _MOST_EXPIRY_S)
        session = LabelSession(folder.name, files, time.monotonic(), seconds)
        with self._lock:
            self._sessions[session.id] = session
        return session

    def get(self, id_: str) -> LabelSession:
        """A session, which is used by that.

        Raises:
            UploadError: there is none.
        """
        self.sweep()
        with self._lock:
            session = self._sessions.get(id_)
            if session is None:
                raise UploadError("There is no such session; it may have expired.", 404)
            session.used = time.monotonic()
            return session

    def copy(self, id_: str, upload: Upload) -> None:
        """The files of a session, as if they had been uploaded; their bytes are the same.

        Raises:
            UploadError: there is none, or none any more.
        """
        for number, file in enumerate(self.get(id_).files, start=len(upload.files)):
            to = upload.folder / f"{number:05d}" / file.name
            to.parent.mkdir()
            try:
                link_or_copy(file, to)
            except FileNotFoundError as error:
                # Ended since by another request. Unexpected errors go into the log, and the file's name with them.
                raise UploadError("There is no such session; it may have expired.", 404) from error
            upload.files.append(to)

    def remove(self, id_: str) -> LabelSession:
        """End a session.

        Raises:
            UploadError: there is none.
        """
        session = self.get(id_)
        with self._lock:
            self._sessions.pop(id_, None)
        shutil.rmtree(self._folder / id_, ignore_errors=True)
        return session

    def end_all(self) -> None:
        """End every session."""
        with self._lock:
            self._sessions.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def sweep(self) -> None:
        """Delete what has not been used for longer than it is kept."""
        now = time.monotonic()
        with self._lock:
            ended = [one.id for one in self._sessions.values() if now - one.used > one.expiry_s]
            for id_ in ended:
                del self._sessions[id_]
        for id_ in ended:
            shutil.rmtree(self._folder / id_, ignore_errors=True)
