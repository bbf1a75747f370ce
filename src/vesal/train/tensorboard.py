"""Curves, the network's graph and example predictions for TensorBoard."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vesal.train.log import Row
from vesal.train.validation import Example


class TensorBoard:
    """Scalars under train/, val/ and system/."""

    def __init__(self, folder: Path, *, resume_step: int = 0) -> None:
        # Imported here: it takes a moment, and prediction never needs it.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=resume_step + 1 if resume_step else None)

    def row(self, row: Row) -> None:
        """Write the row's numbers at its step."""
        step = row["step"]
        for key, value in row.items():
            if key in ("step", "time_s", "epoch") or value is None:
                continue
            if isinstance(value, dict):
                for name, part in value.items():
                    if part is not None:
                        self._writer.add_scalar(f"{_tag(key)}/{name}", part, step)
            else:
                self._writer.add_scalar(_tag(key), value, step)

    def graph(self, network: nn.Module, example: Tensor) -> None:
        """The network's graph, traced with an example (N, C, *spatial); one that cannot be traced has none."""
        training = network.training
        # A picture for people: whatever a network does that the tracer dislikes, the training goes on.
        with contextlib.suppress(Exception), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._writer.add_graph(network.eval(), example)
        network.train(training)

    def example(self, example: Example, colours: Sequence[str], step: int) -> None:
        """Scan, truth and prediction of a slice, side by side."""
        panels = example_panels(example, colours)
        self._writer.add_image("val/scan truth prediction", panels, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


def example_panels(example: Example, colours: Sequence[str]) -> NDArray[np.uint8]:
    """(B, 3 A, 3) uint8: the scan, the truth on it and the prediction on it; the front of the body is above.

    Args:
        example: arrays (A, B), along right and anterior where the slice is axial.
        colours: of the contiguous labels from 1 on, as #rrggbb.
    """
    low, high = np.percentile(example.image, (1.0, 99.0))
    grey = np.clip((example.image - low) / max(float(high - low), 1e-6), 0.0, 1.0)
    scan = np.repeat(grey[..., None], 3, axis=-1)
    panels = [scan]
    for label in (example.truth, example.predicted):
        panel = scan.copy()
        for value, colour in enumerate(colours, start=1):
            rgb = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255.0
            panel[label == value] = 0.5 * panel[label == value] + 0.5 * rgb
        panels.append(panel)
    side_by_side = np.concatenate([panel.transpose(1, 0, 2)[::-1] for panel in panels], axis=1)
    return (255 * side_by_side).astype(np.uint8)


def _tag(key: str) -> str:
    group, _, name = key.partition("_")
    return f"{group}/{name}" if group in ("train", "val") else f"system/{key}"
