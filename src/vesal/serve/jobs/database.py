"""An SQLite file of a server, so that a killed server knows again what it had taken on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vesal.errors import VesalError


class Database:
    """A file of tables. Safe for threads, and for one process at a time.

    What was written is there after a crash and after a power cut, too.

    Attributes:
        path: of the file.
        lock: for reads and writes that belong together.

    Raises:
        VesalError: the file cannot be used, or is another version's.
    """

    def __init__(self, path: Path, tables: str, version: int, fix: str) -> None:
        """Opens the file, and makes it where there is none.

        Args:
            path: of the file.
            tables: statements that make its tables, each ended by a semicolon.
            version: of the tables; a file that holds another is refused.
            fix: for sentences about a file that cannot be used, such as 'name another folder with --state'.
        """
        self.path = path
        self.lock = threading.RLock()
        self._fix = fix
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self.failure(error) from error
        try:
            self._open(tables, version)
        except sqlite3.Error as error:
            self._connection.close()
            raise self.failure(error) from error
        except VesalError:
            self._connection.close()
            raise

    def close(self) -> None:
        """No more is asked."""
        with self.lock:
            self._connection.close()

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a statement finds.

        Raises:
            VesalError: the file cannot be used any more.
        """
        with self.lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise self.failure(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all that is written within it, or nothing.

        Raises:
            VesalError: the file cannot be used any more.
        """
        with self.lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    # A full disk has ended the transaction; to end it once more would be the error that is reported.
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self.failure(error) from error

    def failure(self, error: Exception) -> VesalError:
        """The sentence about an error of this file."""
        return VesalError(
            f"{self.path} cannot be used ({error}); free some space on its disk, or {self._fix}."
        )

    def _open(self, tables: str, version: int) -> None:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "busy_timeout = 10000",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        ((found,),) = self.rows("PRAGMA user_version")
        if found not in (0, version):
            raise VesalError(
                f"{self.path} is of another version of Vesal ({found}, not {version}); use that one, or {self._fix}."
            )
        if found == 0:
            with self.writing() as connection:
                for statement in tables.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version}")
