"""The console of a training."""

from __future__ import annotations

import pytest

from vesal.train.logs.console import Console


def test_without_a_terminal_a_line_tells_the_progress_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Console("fold 0", every_s=0.0) as console:
        console.row({"step": 7, "epoch": 1.4, "train_loss": 0.25, "val_loss": 0.5, "val_dice": None})
        console.progress(0.5, 8)
        console.say("[a] line")
    err = capsys.readouterr().err
    assert "fold 0 50 %  step 8  epoch 1.4  loss 0.250, val 0.500" in err
    assert "[a] line" in err
    with Console("fold 0", quiet=True, every_s=0.0) as console:
        console.progress(0.5, 8)
    assert capsys.readouterr().err == ""


def test_in_a_file_a_line_of_progress_is_one_line_however_many_numbers_it_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    with Console("fold [0]", every_s=0.0) as console:
        losses = {"train_loss": 0.25, "val_loss": 0.5, "train_dice": 0.75, "val_dice": 0.5}
        console.row({"step": 7, "epoch": 1.4, "lr": 1e-3, "memory_mb": 500.0} | losses)
        console.progress(0.5, 8)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.strip()] == [
        "fold [0] 50 %  step 8  epoch 1.4  loss 0.250, val 0.500  Dice 0.750, val 0.500  lr 1.0e-03  500 MB"
    ]
