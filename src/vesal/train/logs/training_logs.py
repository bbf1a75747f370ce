"""Everything that a training reports to: files, TensorBoard and the console."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from vesal.run_files import METRICS, TENSORBOARD, TRAIN_LOG
from vesal.train.logs.console import Console
from vesal.train.logs.rows import JsonLines, Row, TextLog
from vesal.train.logs.tensorboard import TensorBoard


@dataclass(frozen=True)
class TrainingLogs:
    """The logs of one fold, open until the stack that they were opened in ends."""

    lines: JsonLines
    text: TextLog
    board: TensorBoard
    console: Console

    @classmethod
    def open(
        cls, folder: Path, title: str, *, resume_step: int, quiet: bool, stack: ExitStack
    ) -> TrainingLogs:
        """Those in a fold's folder; a resumed run goes on in the same files."""
        lines = JsonLines(folder / METRICS, resume_step=resume_step)
        stack.callback(lines.close)
        text = TextLog(folder / TRAIN_LOG, resume_step=resume_step)
        stack.callback(text.close)
        board = TensorBoard(folder / TENSORBOARD, resume_step=resume_step)
        stack.callback(board.close)
        return cls(lines, text, board, stack.enter_context(Console(title, quiet=quiet)))

    def row(self, row: Row) -> None:
        """Numbers of a step."""
        for listener in (self.lines, self.text, self.board, self.console):
            listener.row(row)

    def say(self, line: str) -> None:
        """A sentence, for people."""
        self.console.say(line)
        self.text.say(line)
