"""Spacings in other units, or a power of ten off, are put right."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from organs import Damage, Fixed, both, image_of, only, undone


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
