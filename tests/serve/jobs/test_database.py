"""An SQLite file of a server: transactions are whole, and a file that cannot be used is named with a fix."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from vesal.errors import VesalError
from vesal.serve.jobs.database import Database

TABLES = "CREATE TABLE numbers (value INTEGER UNIQUE); CREATE INDEX by_value ON numbers (value);"


def opened(path: Path, version: int = 3) -> Database:
    return Database(path, TABLES, version, "take another")


def test_what_was_written_is_found_by_the_next_one(tmp_path: Path) -> None:
    first = opened(tmp_path / "a.sqlite")
    with first.writing() as connection:
        connection.execute("INSERT INTO numbers VALUES (7)")
    first.close()
    assert opened(tmp_path / "a.sqlite").rows("SELECT * FROM numbers WHERE value > ?", (5,)) == [(7,)]


def test_a_transaction_that_fails_writes_nothing(tmp_path: Path) -> None:
    database = opened(tmp_path / "a.sqlite")
    for error, expected in ((ValueError("no"), ValueError), (sqlite3.IntegrityError("twice"), VesalError)):

        def write(error: Exception = error) -> None:
            with database.writing() as connection:
                connection.execute("INSERT INTO numbers VALUES (1)")
                raise error

        with pytest.raises(expected):
            write()
    assert database.rows("SELECT * FROM numbers") == []


def test_a_full_disk_is_named_as_the_reason_and_ends_no_later_transaction(tmp_path: Path) -> None:
    database = opened(tmp_path / "a.sqlite")

    def write(count: int) -> None:
        with database.writing() as connection:
            connection.executemany("INSERT INTO numbers VALUES (?)", ((value,) for value in range(count)))

    database._connection.execute("PRAGMA max_page_count = 5")
    with pytest.raises(VesalError, match="is full"):
        write(10_000)
    write(3)
    assert database.rows("SELECT COUNT(*) FROM numbers") == [(3,)]


def test_threads_write_one_after_the_other(tmp_path: Path) -> None:
    database = opened(tmp_path / "a.sqlite")

    def count(first: int) -> None:
        for number in range(first, first + 20):
            with database.writing() as connection:
                connection.execute("INSERT INTO numbers VALUES (?)", (number,))

    threads = [threading.Thread(target=count, args=(100 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.rows("SELECT COUNT(*) FROM numbers") == [(80,)]


def test_a_file_that_is_none_or_of_another_version_or_nowhere_is_named_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_bytes(b"this is long enough to be looked at as a database" * 40)
    opened(tmp_path / "old.sqlite", 2).close()
    for name, reason in (
        ("text", "cannot be used"),
        ("old", "another version of Vesal"),
        ("no/a", "cannot be used"),
    ):
        path = tmp_path / f"{name}.sqlite"
        with pytest.raises(VesalError, match=f"{reason}.*take another") as raised:
            opened(path)
        assert str(path) in str(raised.value)
