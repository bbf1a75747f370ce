"""The studies on their way, in one SQLite file: what is done of each is known after any crash.

A row goes from found to fetched, predicted and stored, a step at a time, each written (WAL, synced) after its work is
done. What a crash lets happen twice is the work of one step, which comes to the same: files that are there are not
fetched again, and results have identifiers of their content, which an archive keeps once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vesal.errors import UsageError, VesalError
from vesal.files import content_hash
from vesal.serve.jobs.database import Database

#: Of the tables, in the file's user_version.
_VERSION = 1
#: Of a file that cannot be used.
_FIX = "give another folder"

_TABLES = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    study TEXT NOT NULL,
    content TEXT NOT NULL,
    series TEXT NOT NULL,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    changed REAL NOT NULL,
    UNIQUE (study, content)
);
CREATE INDEX jobs_due ON jobs (state, due);
CREATE TABLE results (
    job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    stored INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, path)
);
CREATE TABLE seen (
    query TEXT NOT NULL,
    study TEXT NOT NULL,
    content TEXT NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (query, study)
);
"""


class StudyState(StrEnum):
    """How far a study is; `failed` and `replaced` are set aside."""

    FOUND = "found"
    FETCHED = "fetched"
    PREDICTED = "predicted"
    STORED = "stored"
    FAILED = "failed"
    REPLACED = "replaced"


#: States from which a step leads on.
UNFINISHED = (StudyState.FOUND, StudyState.FETCHED, StudyState.PREDICTED)


@dataclass(frozen=True)
class StudyJob:
    """A study, in one form of its wanted series.

    Attributes:
        study: its UID.
        content: digest of the form.
        series: UIDs that are wanted.
        tries: failures since the last step that succeeded.
        due: not to be worked on before that time (s since 1970).
        reason: of the last failure; '' where there was none since the last step.
        changed: when the row last changed.
    """

    id: int
    study: str
    content: str
    series: tuple[str, ...]
    state: StudyState
    tries: int
    due: float
    reason: str
    changed: float


def content_of(series: Sequence[tuple[str, int]]) -> str:
    """The digest of a study's form: which series it has, with how many instances.

    >>> content_of([("1.2", 5), ("1.3", 1)]) == content_of([("1.3", 1), ("1.2", 5)]) != content_of([("1.2", 5)])
    True
    """
    return content_hash(json.dumps(sorted(series)).encode())


#: When a study is due; of one that was put off in what is the future now, the clock was set back since.
_DUE = "CASE WHEN changed > ? THEN 0 ELSE due END"


class StudyJobs:
    """The file of all studies of one origin. One process has it open; its threads may share it.

    An archive and a node have a file each: the journey fetches what is noted from the one origin that it has.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        """Opens the file, and makes it where there is none.

        Raises:
            UsageError: another process has it open.
            VesalError: it cannot be read or written, or is another version's.
        """
        self.path = path
        self.now = now
        self._process = FileLock(path.with_name(f"{path.name}.lock"))
        try:
            # Studies are named there: nobody else's business.
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._process.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(
                f"Another process works on {path}; end that one or give another folder."
            ) from error
        except OSError as error:
            raise VesalError(f"{path} cannot be used ({error}); {_FIX}.") from error
        try:
            self._file = Database(path, _TABLES, _VERSION, _FIX)
        except VesalError:
            self._process.release()
            raise

    def close(self) -> None:
        """Let another process have it."""
        self._file.close()
        self._process.release()

    def __enter__(self) -> StudyJobs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, study: str, content: str, series: Sequence[str]) -> bool:
        """Note a study that was found; False where this form of it was noted before, and not replaced.

        Another form that has not been fetched is replaced by this one.
        """
        with self._file.writing() as database:
            values = (study, content, json.dumps(list(series)), StudyState.FOUND, self.now())
            added = database.execute(
                "INSERT INTO jobs (study, content, series, state, changed) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (study, content) DO UPDATE SET state = excluded.state, tries = 0, due = 0, reason = '', "
                "changed = excluded.changed WHERE state = ?",
                (*values, StudyState.REPLACED),
            ).rowcount
            if added:
                database.execute(
                    "UPDATE jobs SET state = ?, reason = ?, changed = ? WHERE study = ? AND content != ? AND state = ?",
                    (StudyState.REPLACED, "The study changed.", self.now(), study, content, StudyState.FOUND),
                )
        return bool(added)

    def next_due(self) -> StudyJob | None:
        """The study to work on now: the one that is furthest, so that results go out, then the oldest; or None."""
        rows = self._file.rows(
            f"SELECT * FROM jobs WHERE state IN (?, ?, ?) AND {_DUE} <= ? "
            "ORDER BY CASE state WHEN 'predicted' THEN 0 WHEN 'fetched' THEN 1 ELSE 2 END, id LIMIT 1",
            (*UNFINISHED, now := self.now(), now),
        )
        return _job(rows[0]) if rows else None

    def wait_s(self) -> float | None:
        """Seconds until a study is due, 0 where one is; None where none will be."""
        now = self.now()
        ((due,),) = self._file.rows(
            f"SELECT MIN({_DUE}) FROM jobs WHERE state IN (?, ?, ?)", (now, *UNFINISHED)
        )
        return None if due is None else max(0.0, due - now)

    def advance(self, job: StudyJob, state: StudyState, results: Sequence[Path] = ()) -> None:
        """A step is done.

        Args:
            job: of which.
            state: that it has now.
            results: files that are to be stored.
        """
        with self._file.writing() as database:
            if state is not StudyState.STORED:
                database.execute("DELETE FROM results WHERE job = ?", (job.id,))
            database.executemany(
                "INSERT INTO results (job, path) VALUES (?, ?)", [(job.id, str(path)) for path in results]
            )
            database.execute(
                "UPDATE jobs SET state = ?, tries = 0, due = 0, reason = '', changed = ? WHERE id = ?",
                (state, self.now(), job.id),
            )

    def note_stored(self, job: StudyJob, paths: Sequence[Path]) -> None:
        """These results are in the archive."""
        with self._file.writing() as database:
            database.executemany(
                "UPDATE results SET stored = 1 WHERE job = ? AND path = ?",
                [(job.id, str(path)) for path in paths],
            )

    def to_store(self, job: StudyJob) -> list[Path]:
        """Results that are not known to be in the archive, in the order in which they were made."""
        rows = self._file.rows(
            "SELECT path FROM results WHERE job = ? AND NOT stored ORDER BY rowid", (job.id,)
        )
        return [Path(path) for (path,) in rows]

    def postpone(self, job: StudyJob, reason: str, wait_s: float, *, counts: bool = True) -> None:
        """A step failed, and is tried again; `counts` where the failure may be the study's own."""
        with self._file.writing() as database:
            database.execute(
                "UPDATE jobs SET tries = tries + ?, due = ?, reason = ?, changed = ? WHERE id = ?",
                (int(counts), self.now() + wait_s, reason, self.now(), job.id),
            )

    def set_aside(self, job: StudyJob, reason: str) -> None:
        """A study is not tried again."""
        with self._file.writing() as database:
            database.execute(
                "UPDATE jobs SET state = ?, tries = tries + 1, reason = ?, changed = ? WHERE id = ?",
                (StudyState.FAILED, reason, self.now(), job.id),
            )

    def again(self, study: str) -> bool:
        """Take up the newest form of a study, where it was set aside, from its beginning; False where it was not."""
        with self._file.writing() as database:
            return bool(
                database.execute(
                    "UPDATE jobs SET state = ?, tries = 0, due = 0, reason = '', changed = ? "
                    "WHERE id = (SELECT MAX(id) FROM jobs WHERE study = ?) AND state = ?",
                    (StudyState.FOUND, self.now(), study, StudyState.FAILED),
                ).rowcount
            )

    def jobs(self, *states: StudyState) -> list[StudyJob]:
        """All studies, or those of these states, in the order in which they were found."""
        marks = ", ".join("?" * len(states)) or "state"
        return [
            _job(row)
            for row in self._file.rows(f"SELECT * FROM jobs WHERE state IN ({marks}) ORDER BY id", states)
        ]

    def counts(self) -> dict[StudyState, int]:
        """How many studies have each state."""
        rows = dict(self._file.rows("SELECT state, COUNT(*) FROM jobs GROUP BY state"))
        return {state: rows.get(state, 0) for state in StudyState}

    # --- what a watch has seen -------------------------------------------------------------------------------

    def watched_before(self, query: str) -> bool:
        """Whether a query was watched by this file at any time."""
        return bool(self._file.rows("SELECT 1 FROM seen WHERE query = ? LIMIT 1", (query,)))

    def has_seen(self, query: str, study: str, content: str) -> bool:
        """Whether the form of a study that was noted last is this one."""
        statement = "SELECT 1 FROM seen WHERE query = ? AND study = ? AND content = ?"
        return bool(self._file.rows(statement, (query, study, content)))

    def see(self, query: str, study: str, content: str) -> float:
        """Note a study's form; returns since when (s since 1970) it has been the same."""
        with self._file.writing() as database:
            database.execute(
                "INSERT INTO seen VALUES (?, ?, ?, ?) ON CONFLICT (query, study) DO UPDATE "
                "SET since = excluded.since, content = excluded.content WHERE content != excluded.content",
                (query, study, content, self.now()),
            )
            ((since,),) = database.execute(
                "SELECT since FROM seen WHERE query = ? AND study = ?", (query, study)
            ).fetchall()
        return float(since)


def _job(row: tuple[Any, ...]) -> StudyJob:
    number, study, content, series, state, *others = row
    return StudyJob(number, study, content, tuple(json.loads(series)), StudyState(state), *others)
