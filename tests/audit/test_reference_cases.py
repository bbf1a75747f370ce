"""A fixed case is compared with the sound ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from organs import Fixed, label_of, rewrite


def test_a_label_that_fits_no_scan_when_fixed_is_left_out(data: Path, fixed: Fixed) -> None:
    rewrite(label_of(data, 4), lambda a, f: (np.ascontiguousarray(a[::-1, ::-1, :-1]), f))
    result = fixed("label-shape")
    assert result.files is None
    assert [record.outcome for record in result.records] == ["fixed", "left out"]
    assert "does not fit its image" in result.records[-1].wrong
