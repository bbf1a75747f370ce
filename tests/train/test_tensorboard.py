"""What TensorBoard shows of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesal.train.tensorboard import example_panels
from vesal.train.validation import Example


@pytest.fixture(scope="module")
def board(trained_run: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(trained_run / "fold_0" / "tensorboard"), size_guidance={"images": 0})
    found.Reload()
    return found


def test_losses_dice_rate_and_memory_are_curves(board) -> None:
    curves = set(board.Tags()["scalars"])
    assert {"train/loss", "val/loss", "val/dice", "system/lr", "system/memory_mb"} <= curves
    assert {"val/dice_per_class/shell", "val/dice_per_class/core"} <= curves
    assert [event.step for event in board.Scalars("val/loss")] == [30, 60, 90, 120]


def test_the_networks_graph_is_there(board) -> None:
    assert board.Tags()["graph"]
    names = {node.name for node in board.Graph().node}
    assert any("encoder" in name for name in names)


def test_a_prediction_stands_beside_the_truth(board) -> None:
    (tag,) = board.Tags()["images"]
    pictures = board.Images(tag)
    assert [picture.step for picture in pictures] == [30, 60, 90, 120]
    assert pictures[0].width >= 3 * 16


def test_panels_are_scan_truth_and_prediction_with_the_front_above() -> None:
    image = np.zeros((4, 6), dtype=np.float32)
    image[1, 5] = 1.0
    truth, predicted = np.zeros((2, 4, 6), dtype=np.uint8)
    truth[1, 5] = 1
    predicted[2, 0] = 2
    panels = example_panels(Example(image, truth, predicted), ["#ff0000", "#0000ff"])
    assert panels.shape == (6, 12, 3)
    assert panels[0, 1].tolist() == [255, 255, 255]
    assert panels[0, 5].tolist() == [255, 127, 127]
    assert panels[5, 10].tolist() == [0, 0, 127]
