"""The jobs of a server in an SQLite file, so that a killed server knows them again."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from vesal.serve.jobs.database import Database
from vesal.serve.jobs.job import Job, JobOptions, Outcome, Status

_TABLE = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, status TEXT NOT NULL, job TEXT NOT NULL,
    expires REAL
);
CREATE INDEX by_status ON jobs (status, number);
"""

#: Of the table.
_VERSION = 1

#: A job whose server or process died this often is not tried again: it may be what kills them.
MOST_TRIES = 2


class JobStore:
    """All jobs, in the order of their acceptance. Safe for threads; one server at a time.

    Raises:
        VesalError: the file cannot be used.
    """

    def __init__(self, file: Path) -> None:
        self._file = Database(file, _TABLE, _VERSION, "name another folder with --state")

    def close(self) -> None:
        """No more is asked."""
        self._file.close()

    def add(self, model: str, options: JobOptions, id_: str | None = None) -> Job:
        """Accept a job, behind all others."""
        job = Job(id=id_ or uuid.uuid4().hex, model=model, options=options, created=datetime.now(UTC))
        with self._file.writing() as connection:
            connection.execute(
                "INSERT INTO jobs (id, status, job) VALUES (?, ?, ?)",
                (job.id, job.status, job.model_dump_json()),
            )
        return job

    def get(self, id_: str) -> Job | None:
        """A job; None where there is none of that name."""
        rows = self._rows("WHERE id = ?", id_)
        return rows[0] if rows else None

    def newest(self, most: int) -> list[Job]:
        """The last ones, the newest first."""
        return self._rows("ORDER BY number DESC LIMIT ?", most)

    def ids(self) -> set[str]:
        """Of all jobs."""
        return {row[0] for row in self._file.rows("SELECT id FROM jobs")}

    def ahead(self, id_: str) -> int:
        """How many jobs are begun before a waiting one, the running ones with it."""
        ((count,),) = self._file.rows(
            "SELECT COUNT(*) FROM jobs WHERE status IN ('queued', 'running') "
            "AND number < (SELECT number FROM jobs WHERE id = ?)",
            (id_,),
        )
        return int(count)

    def counts(self) -> Counter[str]:
        """Status -> how many."""
        return Counter(dict(self._file.rows("SELECT status, COUNT(*) FROM jobs GROUP BY status")))

    def claim(self) -> Job | None:
        """The job that waits longest, running from now on; None where none waits."""
        with self._file.lock:
            if not (waiting := self._rows("WHERE status = 'queued' ORDER BY number LIMIT 1")):
                return None
            began = {"status": Status.RUNNING, "started": datetime.now(UTC), "tries": waiting[0].tries + 1}
            return self._change(waiting[0], began)

    def finish(self, id_: str, outcome: Outcome, keep: timedelta) -> Job | None:
        """A running job has its results; None where it was cancelled meanwhile."""
        return self._end(id_, Status.FINISHED, keep, outcome=outcome)

    def fail(self, id_: str, error: str, keep: timedelta, *, refused: bool = False) -> Job | None:
        """A job cannot be done, and why; None where it had ended."""
        return self._end(id_, Status.FAILED, keep, error=error, refused=refused)

    def cancel(self, id_: str, keep: timedelta) -> Job | None:
        """Nobody wants it any more; None where it had ended."""
        return self._end(id_, Status.CANCELLED, keep)

    def put_back(self, job: Job) -> bool:
        """A running job waits again, in its old place, as if it had not been begun; False where it was cancelled."""
        with self._file.lock:
            now = self.get(job.id)
            if now is None or now.status.ended:
                return False
            self._change(now, {"status": Status.QUEUED, "started": None, "tries": now.tries - 1})
            return True

    def begin_again(self, keep: timedelta) -> list[Job]:
        """What a server that died had begun waits again, in its old place; or fails after MOST_TRIES.

        Returns:
            The jobs that failed.
        """
        failed = []
        for job in self._rows("WHERE status = 'running'"):
            if job.tries < MOST_TRIES:
                self._change(job, {"status": Status.QUEUED, "started": None})
                continue
            sentence = f"The server died {job.tries} times while it computed this job; it is not tried again."
            if (ended := self.fail(job.id, sentence, keep)) is not None:
                failed.append(ended)
        return failed

    def expired(self) -> list[Job]:
        """Ended jobs that need not be kept any longer."""
        return self._rows("WHERE expires < ?", datetime.now(UTC).timestamp())

    def remove(self, id_: str) -> None:
        """Forget a job."""
        with self._file.writing() as connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", (id_,))

    def _end(self, id_: str, status: Status, keep: timedelta, **values: Any) -> Job | None:
        now = datetime.now(UTC)
        with self._file.lock:
            job = self.get(id_)
            if job is None or job.status.ended:
                return None
            return self._change(job, {"status": status, "finished": now, "expires": now + keep} | values)

    def _change(self, job: Job, values: dict[str, Any]) -> Job:
        changed = job.model_copy(update=values)
        expires = None if changed.expires is None else changed.expires.timestamp()
        with self._file.writing() as connection:
            connection.execute(
                "UPDATE jobs SET status = ?, job = ?, expires = ? WHERE id = ?",
                (changed.status, changed.model_dump_json(), expires, job.id),
            )
        return changed

    def _rows(self, which: str, *values: object) -> list[Job]:
        found = self._file.rows(f"SELECT job FROM jobs {which}", values)
        return [Job.model_validate_json(row[0]) for row in found]
