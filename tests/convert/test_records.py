"""What travels from one layout to another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from convert_examples import (
    convert,
    made,
)

from vesal.volume.io import read_label


def test_credits_and_truth_of_test_scans_are_kept(tmp_path: Path) -> None:
    made("msd", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "out", "nnunet")
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described["licence"] == "CC-BY-SA 4.0"
    assert result.test_cases == ("c",)
    assert set(np.unique(read_label(tmp_path / "out" / "labelsTs" / "c.nii.gz").array)) == {0, 1, 2}
    assert any("only some labels were drawn" in remark for remark in result.remarks)
