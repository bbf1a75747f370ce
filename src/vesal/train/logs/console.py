"""The console of a training: a live line, or now and then a line."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from vesal.text import visible
from vesal.train.logs.rows import Row


class Console:
    """A live line with a bar on a terminal; a line every half minute where there is none."""

    def __init__(self, title: str, *, quiet: bool = False, every_s: float = 30.0) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn

        self._title = title
        self._console = RichConsole(stderr=True, quiet=quiet)
        self._every_s = every_s
        self._last_line = time.monotonic()
        self._began = time.monotonic()
        self._began_at: float | None = None
        self._seen: dict[str, Any] = {}
        self._bar = Progress(
            TextColumn("[bold]{task.fields[title]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
            transient=False,
        )
        self._task = self._bar.add_task("", total=1.0, title=title, text="")

    def __enter__(self) -> Console:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the live one."""
        self._console.print(visible(line), highlight=False, markup=False, soft_wrap=True)

    def row(self, row: Row) -> None:
        """Remember the newest numbers."""
        self._seen.update({key: value for key, value in row.items() if value is not None})

    def progress(self, share: float, step: int) -> None:
        """Show that `share` (0..1) of the run is done, with this step."""
        now = time.monotonic()
        if self._began_at is None:
            self._began, self._began_at = now, share
        gained = share - self._began_at
        left_s = (now - self._began) * (1.0 - share) / gained if gained > 0 else None
        text = status_line(self._seen | {"step": step}, left_s)
        self._bar.update(self._task, completed=share, text=text)
        if not self._console.is_terminal and now - self._last_line >= self._every_s:
            self._last_line = now
            self.say(f"{self._title} {100 * share:.0f} %  {text}")


def status_line(seen: Row, left_s: float | None) -> str:
    """Step, epoch, losses, Dice, learning rate, memory and time left in one line; 'val' is of the held-out cases.

    >>> status_line({"step": 10, "epoch": 2.5, "train_loss": 0.5, "lr": 0.001, "memory_mb": 800.0}, 125.0)
    'step 10  epoch 2.5  loss 0.500  lr 1.0e-03  800 MB  2:05 left'
    >>> status_line({"train_loss": 0.5, "val_loss": 0.625, "train_dice": 0.75, "val_dice": 0.7}, None)
    'step 0  loss 0.500, val 0.625  Dice 0.750, val 0.700'
    """
    parts = [f"step {seen.get('step', 0)}"]
    if "epoch" in seen:
        parts.append(f"epoch {seen['epoch']:.1f}")
    for name, title in (("loss", "loss"), ("dice", "Dice")):
        values = [
            f"{word}{seen[key]:.3f}"
            for key, word in ((f"train_{name}", ""), (f"val_{name}", "val "))
            if key in seen
        ]
        if values:
            parts.append(f"{title} {', '.join(values)}")
    if "lr" in seen:
        parts.append(f"lr {seen['lr']:.1e}")
    if "memory_mb" in seen:
        parts.append(f"{seen['memory_mb']:.0f} MB")
    if left_s is not None:
        minutes, seconds = divmod(round(left_s), 60)
        hours, minutes = divmod(minutes, 60)
        parts.append(f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left")
    return "  ".join(parts)
