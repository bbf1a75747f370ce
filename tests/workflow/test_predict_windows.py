"""Which windows of a scan a prediction computes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from test_predict import model, plan, predict, two_classes, volume

from vesal.errors import UsageError
from vesal.volume.io import read_label, write_volume


def test_skipped_background_changes_no_label_and_is_refused_where_the_estimate_needs_it(
    tmp_path: Path,
) -> None:
    seen: list[int] = []

    def network(batch: Tensor) -> Tensor:
        seen.append(len(batch))
        return 8 * two_classes(batch)

    scan = volume((48, 44, 40))
    scan.array[:] = np.minimum(scan.array, 20)
    scan.array[0, 12:30, 20:26, 5:11] = 120
    write_volume(tmp_path / "a.nii.gz", scan)
    made, masks, counts = model(plan(3, patch=(8, 8, 8)), network), [], []
    for skip in (False, True):
        seen.clear()
        predict(made, [tmp_path / "a.nii.gz"], tmp_path / "out", skip_background=skip)
        masks.append(read_label(tmp_path / "out" / "a.nii.gz").array)
        counts.append(sum(seen))
    np.testing.assert_array_equal(*masks)
    assert (masks[0] == 3).any()
    assert counts[1] < 0.5 * counts[0]
    assert predict(made, [tmp_path / "a.nii.gz"], tmp_path / "out", resume=True).redone
    judged = replace(made, quality_estimator=SimpleNamespace(temperature=1.0))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="add --no-quality"):
        predict(judged, [tmp_path / "a.nii.gz"], tmp_path / "out", skip_background=True)
    predict(judged, [tmp_path / "a.nii.gz"], tmp_path / "out", skip_background=True, quality=False)
