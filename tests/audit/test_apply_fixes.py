"""Sound cases stay as they are, and what cannot be fixed is left out with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from organs import Fixed, image_of, label_of, moved, only, rewrite
from scipy import ndimage

from vesal.audit.apply_fixes import plan_fixes
from vesal.audit.checks import DEFECTS, FIX_ORDER
from vesal.audit.finding import Finding
from vesal.layouts.registry import load_dataset


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("label-flipped", {"axes": [0]}),
        ("image-flipped", {"axes": [1]}),
        ("swapped-labels", {"exchange": ["rind", "kernel"]}),
        ("swapped-channels", {"order": [1, 0]}),
        ("inverted", {"channels": [1]}),
        ("label-shifted", {"voxels": [0, 2, 0]}),
        ("label-grid", {}),
        ("label-shape", {}),
        ("orientation", {}),
        ("units", {}),
        ("spacing", {}),
        ("sform-qform", {}),
        ("sform-unusable", {}),
        ("pixdim", {}),
        ("intercept-unset", {}),
        ("sheared", {}),
        ("not-finite", {}),
        ("soft-mask", {}),
        ("label-values", {}),
        ("undeclared-value", {}),
        ("stray-island", {}),
        ("channel-count", {}),
        ("4d-file", {}),
        ("channel-grid", {}),
        ("unreadable", {}),
    ],
)
def test_no_fix_touches_a_sound_case_whatever_a_finding_says(
    kind: str, details: dict[str, Any], data: Path, fixed: Fixed
) -> None:
    result = fixed(kind, **details)
    assert only(result).outcome == "kept"
    assert result.files == {}


def test_every_fix_is_asked_about_a_sound_case() -> None:
    # Of the parametrization above; a new fix has to be in it.
    marks = test_no_fix_touches_a_sound_case_whatever_a_finding_says.pytestmark  # type: ignore[attr-defined]
    assert {kind for kind, _ in marks[0].args[1]} == set(FIX_ORDER) - {"mismatched-label"}
    fixed_kinds = [kind for defect in DEFECTS for kind, fix in defect.FIX.items() if fix.apply is not None]
    assert sorted(fixed_kinds) == sorted(FIX_ORDER)


@pytest.mark.parametrize(
    ("kind", "damage", "reason"),
    [
        ("label-grid", moved((500, 0, 0)), "do not overlap"),
        ("label-shape", lambda a, f: (a[:8], moved((300, 0, 0))(a, f)[1]), "do not overlap"),
        ("undeclared-value", lambda a, f: (a * np.uint8([17, 31]).repeat(12)[:, None, None], f), "not evident"),
        ("label-values", lambda a, f: (ndimage.gaussian_filter(a * 400.0, 2), f), "are declared"),
    ],
)  # fmt: skip
def test_what_cannot_be_fixed_is_left_out_with_the_reason(
    kind: str, damage: Any, reason: str, data: Path, fixed: Fixed
) -> None:
    rewrite(label_of(data, 4), damage)
    result = fixed(kind)
    assert result.files is None
    assert only(result).outcome == "left out"
    assert reason in only(result).done


def test_a_file_that_is_cut_off_is_left_out(data: Path, fixed: Fixed) -> None:
    image_of(data, 4).write_bytes(image_of(data, 4).read_bytes()[:900])
    assert fixed("unreadable").files is None


def test_a_test_scan_of_a_patient_who_is_trained_on_is_left_out(clean: Path) -> None:
    dataset = load_dataset(clean)
    test = dataset.cases[0].model_copy(update={"id": "case_t", "label": None})
    leaking = dataset.model_copy(update={"unlabelled": (test,)})
    finding = Finding(
        kind="patient-leak",
        severity="warning",
        cases=("case_t", "case_0", "case_1"),
        what="Leak",
        fix="",
    )
    assert set(plan_fixes(leaking, [finding]).left_out) == {"case_t"}
