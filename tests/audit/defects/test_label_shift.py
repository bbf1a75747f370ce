"""A label beside what it shows is moved back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from organs import Damage, Fixed, label_of, only, rewrite, undone

LABEL_DAMAGE: dict[str, tuple[str, Damage, dict[str, Any]]] = {
    "label shifted by about that": (
        "label-shifted",
        lambda a, f: (np.roll(a, 3, 0), f),
        {"voxels": [1, 1, 0]},
    ),
    "label shifted": ("label-shifted", lambda a, f: (np.roll(a, 3, 0), f), {"voxels": [3, 0, 0]}),
}  # fmt: skip


@pytest.mark.parametrize("name", LABEL_DAMAGE)
def test_a_damaged_label_becomes_what_it_was(name: str, data: Path, clean: Path, fixed: Fixed) -> None:
    kind, damage, details = LABEL_DAMAGE[name]
    rewrite(label_of(data, 4), damage)
    result = fixed(kind, **details)
    assert only(result).outcome == "fixed"
    assert only(result).files == ("labelsTr/case_4.nii.gz",)
    undone(result, data, clean)
