"""The benchmarks of prediction: what they are run on is what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

# benchmarks/ is no part of the package: it is imported from the root of the repository.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.large_ct import phantom, write_case
from benchmarks.window_backends import WAYS, measure, nnunet_heart

from vesal.planning.plan import Stage


def test_a_phantom_is_the_same_body_on_any_grid_with_its_organ_inside() -> None:
    coarse, label = phantom((41, 41, 50), (10.0, 10.0, 10.0), seed=3)
    _, finer = phantom((82, 82, 100), (5.0, 5.0, 5.0), seed=3)
    assert coarse.dtype == np.int16
    assert label.sum() * 10.0**3 == pytest.approx(finer.sum() * 5.0**3, rel=0.1)
    assert abs(coarse[label == 1].mean() - 130) < 15
    # Others are as bright: intensity alone does not find it.
    assert (np.abs(coarse[label == 0] - 130) < 25).sum() > 0.2 * label.sum()
    assert coarse[0, 0].mean() < -900


def test_a_phantom_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.large_ct.TRAINING_SHAPE", (20, 20, 24))
    files = write_case(tmp_path, "ct", 1, training=True)
    before = [file.stat().st_mtime_ns for file in files]
    assert write_case(tmp_path, "ct", 1, training=True) == files
    assert [file.stat().st_mtime_ns for file in files] == before


def test_every_way_computes_the_same_window_in_float32() -> None:
    plan = nnunet_heart()
    assert plan.total_stride == (32, 32, 16)
    small = plan.model_copy(
        update={
            "patch": (16, 16, 16),
            "stages": tuple(
                Stage(features=count, kernel=(3, 3, 3), stride=(step,) * 3)
                for count, step in ((4, 1), (8, 2))
            ),
        }
    )
    names = ["plain torch", "torch"]
    assert set(names) < set(WAYS)
    rows = measure(small, 1, names)
    away = [float(row.split("|")[3]) for row in rows]
    assert away[0] == 0
    assert away[1] < 1e-4
