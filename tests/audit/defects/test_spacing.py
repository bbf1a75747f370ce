"""Spacings in other units, or a power of ten off, are put right."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from organs import Damage, Fixed, both, finding, image_of, label_of, load, only, save, undone

from vesal.audit.apply_fixes import fix_case
from vesal.audit.checks import check_dataset
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.fingerprint import fingerprint
from vesal.layouts.registry import load_dataset


def scaled(factor: float) -> Damage:
    return lambda array, affine: (array, np.diag([factor, factor, factor, 1]) @ affine)


def test_a_case_in_centimetres_is_put_into_millimetres(data: Path, clean: Path, fixed: Fixed) -> None:
    both(data, scaled(0.1))
    result = fixed("units")
    assert only(result).numbers == {"factor": 10.0}
    undone(result, data, clean)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_a_case_in_metres_or_micrometres_is_put_into_millimetres(
    factor: float, data: Path, clean: Path, fixed: Fixed
) -> None:
    both(data, scaled(factor))
    undone(fixed("units"), data, clean)


def test_a_spacing_ten_times_too_large_is_fixed_and_one_half_again_as_large_is_not(
    data: Path, fixed: Fixed
) -> None:
    both(data, lambda array, affine: (array, affine @ np.diag([1, 1, 10, 1])))
    assert only(fixed("spacing")).numbers == {"factors": [1.0, 1.0, 0.1]}
    both(data, lambda array, affine: (array, affine @ np.diag([1, 1, 0.5, 1])))
    assert only(fixed("spacing")).outcome == "left out"


def test_a_header_that_names_metres_and_means_millimetres_is_written_anew(
    data: Path, clean: Path, fixed: Fixed
) -> None:
    image = nib.load(image_of(data, 4))
    image.header.set_xyzt_units("meter")
    nib.save(image, image_of(data, 4))
    result = fixed("units", factor=1.0, unit="m")
    assert only(result).files == ("imagesTr/case_4.nii.gz",)
    undone(result, data, clean)


def finer(factor: int, axes: tuple[int, ...]) -> Damage:
    """The same field of view in so many times more and finer voxels."""

    def change(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for axis in axes:
            array = np.repeat(array, factor, axis=axis)
        steps = np.diag([*(1 / factor if axis in axes else 1.0 for axis in range(3)), 1.0])
        steps[[*axes], 3] = (1 / factor - 1) / 2
        return array, affine @ steps

    return change


def test_slices_that_are_really_ten_times_thinner_keep_their_spacing(data: Path, fixed: Fixed) -> None:
    both(data, finer(10, (2,)))
    result = only(fixed("spacing"))
    assert (result.outcome, result.files) == ("kept", ())
    assert "field of view is that of the other cases" in result.done


def test_a_scan_in_really_finer_voxels_is_in_no_other_unit(data: Path, others: ReferenceCases) -> None:
    for path in (image_of(data, 4), label_of(data, 4)):
        array, affine = load(path)
        save(path, *finer(10, (0, 1, 2))(array[::4, ::4, ::4], affine @ np.diag([4, 4, 4, 1])))
    # As fine as this, beside cases that are ten times as coarse.
    coarse = [
        record.model_copy(
            update={
                "ras_spacing_mm": tuple(4 * step for step in record.ras_spacing_mm),
                "ras_shape": tuple(-(-size // 4) for size in record.ras_shape),
            }
        )
        for record in others.fingerprint.cases
        if record.id != "case_4"
    ]
    dataset = load_dataset(data)
    case = next(case for case in dataset.cases if case.id == "case_4")
    own = fingerprint(dataset.model_copy(update={"cases": (case,)}), workers=1)
    whole = own.model_copy(update={"cases": (*coarse, *own.cases)})
    kinds = {one.kind for one in check_dataset(dataset, whole)}
    assert "spacing" in kinds
    assert "units" not in kinds
    cases = ReferenceCases(dataset, whole, frozenset({"case_4"}))
    assert only(fix_case(case, [finding("case_4", "units")], cases, data)).outcome == "left out"
