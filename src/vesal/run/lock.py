"""Locks in a run folder: no two processes train one fold, or write what all folds share, at the same time."""

from __future__ import annotations

import contextlib
import inspect
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vesal.errors import UsageError, VesalError
from vesal.files import read_json, write_json
from vesal.run_files import LOCKS
from vesal.text import moment

#: Where the system has no locks, as on Lustre mounted without them, newer versions of filelock would take a file for
#: the lock, which nobody removes when a process is killed, and for which every lock file of an earlier run is held.
_SYSTEMS_OWN: dict[str, Any] = (
    {"fallback_to_soft": False}
    if "fallback_to_soft" in inspect.signature(FileLock.__init__).parameters
    else {}
)


class InUseError(UsageError):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(
    run: Path, name: str, what: str, *, waiting: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold a lock of a run folder; the operating system releases it when the process dies.

    It is the system's own lock on an open file, which `filelock` chooses: processes of one machine see it, and those of
    other machines where the shared file system passes locks on, as NFS 4 and Lustre do.

    Args:
        run: the run folder; made if absent.
        name: of the lock, such as 'fold_0'.
        what: is in use, for the message: 'Fold 0 of heart'.
        waiting: takes the one sentence that says who holds it, and the lock is waited for; without it, it is refused.

    Raises:
        InUseError: another process holds it; the message names host and process.
        VesalError: the folder of the locks cannot be made.
    """
    folder = run / LOCKS
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VesalError(
            f"Cannot write {run}: {error.strerror or error}; choose another output folder."
        ) from error
    # Beside the lock, not in it: on Windows nobody else may read a file that is locked. It serves a message alone:
    # where it cannot be written or removed, as on Windows while somebody reads it, the lock holds all the same.
    owner = folder / f"{name}.json"
    lock = FileLock(folder / f"{name}.lock", **_SYSTEMS_OWN)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            sentence = f"{what} is in use by {_holder(owner)}"
            if waiting is None:
                raise InUseError(
                    f"{sentence}; wait for it or end it, or choose another fold or folder."
                ) from error
            waiting(f"{sentence}; waiting for it.")
            lock.acquire()
    except (OSError, NotImplementedError):
        # A file system without locks: a training must not fail for that.
        yield
        return
    try:
        with contextlib.suppress(OSError, VesalError):
            write_json(owner, _myself())
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def _myself() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _holder(owner: Path) -> str:
    """Who holds the lock, in words."""
    with contextlib.suppress(VesalError, KeyError, TypeError):
        found = read_json(owner)
        return f"process {found['process']} on {found['host']} since {moment(found['since'])}"
    return "another process"
