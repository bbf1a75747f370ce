"""Flips and exchanged classes are undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from organs import Damage, Fixed, both, image_of, label_of, only, rewrite, undone

from vesal.audit.checks import check_dataset
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.fingerprint import fingerprint
from vesal.layouts.registry import load_dataset
from vesal.phantoms.registry import write_phantoms

LABEL_DAMAGE: dict[str, tuple[str, Damage, dict[str, Any]]] = {
    "classes exchanged": (
        "swapped-labels",
        lambda a, f: (np.array([0, 2, 1], np.uint8)[a], f),
        {"exchange": ["rind", "kernel"]},
    ),
    "label flipped": ("label-flipped", lambda a, f: (np.ascontiguousarray(a[:, ::-1]), f), {"axes": [1]}),
}  # fmt: skip


@pytest.mark.parametrize("name", LABEL_DAMAGE)
def test_a_damaged_label_becomes_what_it_was(name: str, data: Path, clean: Path, fixed: Fixed) -> None:
    kind, damage, details = LABEL_DAMAGE[name]
    rewrite(label_of(data, 4), damage)
    result = fixed(kind, **details)
    assert only(result).outcome == "fixed"
    assert only(result).files == ("labelsTr/case_4.nii.gz",)
    undone(result, data, clean)


def test_an_image_flipped_along_two_axes_is_flipped_back_along_both(
    data: Path, clean: Path, fixed: Fixed
) -> None:
    both(data, lambda array, affine: (np.ascontiguousarray(array[::-1, :, ::-1]), affine))
    result = fixed("image-flipped", axes=[0, 2])
    assert "axes 0 and 2" in only(result).wrong
    undone(result, data, clean)


@pytest.mark.parametrize("with_label", [False, True])
def test_a_flipped_image_is_flipped_back_with_its_label_if_that_was_flipped_too(
    with_label: bool, data: Path, clean: Path, fixed: Fixed
) -> None:
    def flip(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ascontiguousarray(array[::-1]), affine

    rewrite(image_of(data, 4), flip)
    if with_label:
        rewrite(label_of(data, 4), flip)
    result = fixed("image-flipped", axes=[0])
    assert result.files is not None
    assert len(result.files) == 1 + with_label
    undone(result, data, clean)


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_an_organ_of_an_unusual_shape_is_not_taken_for_one_that_is_turned_round(
    seed: int, tmp_path: Path
) -> None:
    """In the small pictures of these data sets one or two atria fit the others better the other way round."""
    write_phantoms(tmp_path, "heart", 24, seed=seed)
    dataset = load_dataset(tmp_path)
    cases = ReferenceCases(dataset, fingerprint(dataset))
    assert cases.label_changes  # so the voxels are asked
    assert check_dataset(dataset, cases.fingerprint) == ()
