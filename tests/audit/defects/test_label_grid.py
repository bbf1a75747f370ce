"""Labels of another shape or place are put onto their image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from organs import Damage, Fixed, label_of, moved, only, rewrite, undone

LABEL_DAMAGE: dict[str, tuple[str, Damage, dict[str, Any]]] = {
    "rounded header": ("label-grid", moved((0.2, 0, 0)), {}),
    "wrong header": ("label-grid", moved((4, 0, 0)), {}),
    "finer grid": (
        "label-shape",
        lambda a, f: (a.repeat(2, 0), f @ np.array([[0.5, 0, 0, -0.25], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])),
        {},
    ),
    "cropped, header right": ("label-shape", lambda a, f: (a[1:], moved((1, 0, 0))(a, f)[1]), {}),
    "cropped, header as before": ("label-shape", lambda a, f: (a[:, 1:], f), {}),
    "axes exchanged": ("label-shape", lambda a, f: (np.ascontiguousarray(a.transpose(2, 0, 1)), f), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", LABEL_DAMAGE)
def test_a_damaged_label_becomes_what_it_was(name: str, data: Path, clean: Path, fixed: Fixed) -> None:
    kind, damage, details = LABEL_DAMAGE[name]
    rewrite(label_of(data, 4), damage)
    result = fixed(kind, **details)
    assert only(result).outcome == "fixed"
    assert only(result).files == ("labelsTr/case_4.nii.gz",)
    undone(result, data, clean)
