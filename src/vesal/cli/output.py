"""What verbs print: progress on standard error, the result on standard output, failures with exit code 1."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from vesal.text import inline, visible


def print_result(as_json: bool, value: dict[str, Any], text: str) -> None:
    """One JSON object, or text for a terminal."""
    typer.echo(json.dumps(value, indent=2) if as_json else visible(text))


def report_failures(failures: Any, as_json: bool) -> None:
    """Name every case that failed and end with 1; the others are done."""
    for failure in failures:
        if not as_json:
            typer.echo(f"vesal: {inline(failure.id)}: {inline(failure.message)}", err=True)
    if failures:
        raise typer.Exit(1)


def logger(as_json: bool) -> Callable[[str], None]:
    """Prints messages on standard error; none where JSON is wanted."""
    return lambda text: typer.echo(visible(text), err=True) if not as_json else None


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str], Callable[[int, int], None] | None]]:
    """Progress bars on standard error, one a stage; none where nobody looks or JSON is wanted."""
    if quiet or not sys.stderr.isatty():
        yield lambda _title: None
        return
    # Imported here: where nobody looks it is not needed.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    open_bars: list[Progress] = []

    def close() -> None:
        while open_bars:
            open_bars.pop().stop()

    def stage(title: str) -> Callable[[int, int], None] | None:
        if not console.is_terminal:
            return None
        # One live display at a time: the one before ends, also where it never came to its total.
        close()
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        task = bar.add_task(title, total=None)

        def update(done: int, total: int) -> None:
            if not bar.live.is_started and done < total:
                bar.start()
                open_bars.append(bar)
            bar.update(task, completed=done, total=total)
            if done >= total:
                bar.stop()

        return update

    try:
        yield stage
    finally:
        close()
