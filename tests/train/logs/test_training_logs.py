"""What a training leaves of its course: the same numbers for programs and for people."""

from __future__ import annotations

from pathlib import Path

from vesal.files import read_json_lines


def test_the_text_log_lies_beside_the_metrics_and_says_the_same(trained_run: Path) -> None:
    fold = trained_run / "fold_0"
    rows = read_json_lines(fold / "metrics.jsonl")
    lines = [line[21:] for line in (fold / "train.log").read_text(encoding="utf-8").splitlines()]
    assert lines[0] == "fold 0: begins at step 0"
    assert lines[-1].startswith("fold 0: ended at step 120, best at step ")
    told = [line for line in lines if line.startswith("step ")]
    assert len(told) == len(rows)
    for row, line in zip(rows, told, strict=True):
        assert line.startswith(f"step {row['step']}  ")
        assert f"  {'val_dice' if 'val_dice' in row else 'train_dice'} " in line


def test_the_four_curves_are_logged(trained_run: Path) -> None:
    rows = read_json_lines(trained_run / "fold_0" / "metrics.jsonl")
    for name in ("train_loss", "val_loss", "train_dice", "val_dice"):
        assert sum(isinstance(row.get(name), float) for row in rows) >= 4, name
