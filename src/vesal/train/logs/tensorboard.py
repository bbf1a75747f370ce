"""Curves, the network's graph and example predictions for TensorBoard."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vesal.files import cannot_write
from vesal.train.logs.rows import Row

#: Times what a picture takes that pass until the next, and what the first is taken to need, with its library.
_PICTURE_EVERY, _PICTURE_S = 100, 0.5


class TensorBoard:
    """Scalars under train/, val/ and system/."""

    def __init__(self, folder: Path, *, resume_step: int = 0) -> None:
        # Imported here: it takes a moment, and prediction never needs it.
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._next_example = time.monotonic() + _PICTURE_EVERY * _PICTURE_S
        self._before = threading.excepthook
        threading.excepthook = self._thread_failed
        try:
            with self._writing():
                self._writer = SummaryWriter(str(folder), purge_step=resume_step + 1 if resume_step else None)
        except BaseException:
            threading.excepthook = self._before
            raise

    def row(self, row: Row) -> None:
        """Write the row's numbers at its step."""
        with self._writing():
            for tag, value in _scalars(row):
                self._writer.add_scalar(tag, value, row["step"])

    def graph(self, network: nn.Module, example: Tensor) -> None:
        """The network's graph, traced with an example (N, C, *spatial); one that cannot be traced has none."""
        training = network.training
        # A picture for people: whatever a network does that the tracer dislikes, the training goes on.
        with contextlib.suppress(Exception), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._writer.add_graph(network.eval(), example)
        network.train(training)

    def example(self, draw: Callable[[], NDArray[np.uint8]], step: int, *, last: bool) -> None:
        """A held-out case beside its prediction.

        Args:
            draw: the picture, (height, width, 3) uint8.
            step: of the network.
            last: no other will follow.

        Drawing takes a hundredth of the time at most: pictures before the last are left out where they would
        come too early, or follow each other too quickly.
        """
        began = time.monotonic()
        if not last and began < self._next_example:
            return
        # A picture for people: whatever is wrong with it, the training goes on.
        with contextlib.suppress(Exception):
            self._writer.add_image("val/example", draw(), step, dataformats="HWC")
        ended = time.monotonic()
        self._next_example = ended + _PICTURE_EVERY * (ended - began)

    def close(self) -> None:
        """Flush and close the event file."""
        try:
            with self._writing():
                self._writer.close()
        finally:
            threading.excepthook = self._before

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._folder, error) from error

    def _thread_failed(self, failed: threading.ExceptHookArgs) -> None:
        """Its thread, which writes, prints what it raises; it is raised here as well, at the next row."""
        own = failed.thread is not None and failed.thread.__class__.__module__.startswith("tensorboard.")
        if not (own and isinstance(failed.exc_value, OSError)):
            self._before(failed)


def _scalars(row: Row) -> Iterator[tuple[str, float]]:
    """The curves' names and values of a row."""
    for key, value in row.items():
        if key in ("step", "time_s", "epoch"):
            continue
        values = (
            {f"/{name}": part for name, part in value.items()} if isinstance(value, dict) else {"": value}
        )
        yield from ((f"{_tag(key)}{name}", part) for name, part in values.items() if part is not None)


def _tag(key: str) -> str:
    group, _, name = key.partition("_")
    return f"{group}/{name}" if group in ("train", "val") else f"system/{key}"
