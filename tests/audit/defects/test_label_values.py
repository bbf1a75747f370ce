"""Label values that are no classes become what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from organs import Damage, Fixed, label_of, only, rewrite, undone
from scipy import ndimage

from vesal.audit.defects.label_values import evident_mapping
from vesal.data.labels import LabelSet

LABEL_DAMAGE: dict[str, tuple[str, Damage, dict[str, Any]]] = {
    "spread over 255": ("undeclared-value", lambda a, f: (np.array([0, 127, 255], np.uint8)[a], f), {}),
    "times fifty": ("undeclared-value", lambda a, f: (a * 50, f), {}),
    "one value misnamed": ("undeclared-value", lambda a, f: (np.array([0, 1, 9], np.uint8)[a], f), {}),
    "blurred": ("label-values", lambda a, f: (ndimage.shift(a.astype(np.float32), (0.3, 0, 0), order=1), f), {}),
    "in quarters": ("label-values", lambda a, f: ((a * 0.25).astype(np.float32), f), {}),
    "a slip of one voxel": (
        "undeclared-value",
        lambda a, f: (np.where(np.arange(a.size).reshape(a.shape) == 40, 9, a).astype(np.uint8), f),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LABEL_DAMAGE)
def test_a_damaged_label_becomes_what_it_was(name: str, data: Path, clean: Path, fixed: Fixed) -> None:
    kind, damage, details = LABEL_DAMAGE[name]
    rewrite(label_of(data, 4), damage)
    result = fixed(kind, **details)
    assert only(result).outcome == "fixed"
    assert only(result).files == ("labelsTr/case_4.nii.gz",)
    undone(result, data, clean)


def test_a_negative_value_which_marks_what_is_to_be_ignored_is_taken_for_no_class() -> None:
    one, two = LabelSet.from_values({"a": 1}), LabelSet.from_values({"a": 1, "b": 2})
    assert evident_mapping({0: 900, 255: 50}, one, {}) == {255: 1}
    assert evident_mapping({-1: 50, 0: 900}, one, {}) is None
    usual = {1: (40.0, 60.0), 2: (40.0, 60.0)}
    assert evident_mapping({0: 900, 1: 50, 9: 50}, two, usual) == {9: 2}
    assert evident_mapping({-1: 50, 0: 900, 1: 50}, two, usual) is None
