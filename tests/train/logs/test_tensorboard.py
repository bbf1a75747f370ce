"""What TensorBoard shows of a training."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vesal.train.logs import tensorboard


@pytest.fixture(scope="module")
def board(trained_run: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(trained_run / "fold_0" / "tensorboard"), size_guidance={"images": 0})
    found.Reload()
    return found


def test_losses_dice_rate_and_memory_are_curves(board) -> None:
    curves = set(board.Tags()["scalars"])
    assert {"train/loss", "train/dice", "val/loss", "val/dice", "system/lr", "system/memory_mb"} <= curves
    assert {"val/dice_per_class/shell", "val/dice_per_class/core"} <= curves
    assert [event.step for event in board.Scalars("val/loss")] == [30, 60, 90, 120]


def test_the_networks_graph_is_there(board) -> None:
    assert board.Tags()["graph"]
    names = {node.name for node in board.Graph().node}
    assert any("encoder" in name for name in names)


def test_a_held_out_case_stands_beside_its_prediction_at_the_end_of_a_short_run(board) -> None:
    (tag,) = board.Tags()["images"]
    *_, picture = board.Images(tag)  # on a slow machine there are earlier ones
    assert (tag, picture.step) == ("val/example", 120)
    assert picture.width == 1300
    shown = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)).convert("RGB")).astype(int)
    assert (shown.max(axis=2) - shown.min(axis=2) > 60).sum() > 1000, "the classes are in colour"


def test_pictures_take_a_hundredth_of_the_time_and_a_broken_one_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, drawn = [1000.0], []
    monkeypatch.setattr(tensorboard.time, "monotonic", lambda: now[0])
    board = tensorboard.TensorBoard(tmp_path)

    def draw() -> np.ndarray:
        drawn.append(now[0])
        now[0] += 2.0
        if len(drawn) == 2:
            raise ValueError("no such font")
        return np.zeros((2, 3, 3), np.uint8)

    for step in range(1, 601):
        now[0] += 1.0
        board.example(draw, step, last=False)
    assert drawn == [1050.0, 1252.0, 1454.0]
    board.example(draw, 601, last=True)
    assert len(drawn) == 4
    board.close()
