"""Of two places in a header the right one is kept, and sheared grids are straightened."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from organs import AFFINE, Fixed, both, image_of, label_of, load, only, undone


def test_of_two_places_in_a_header_the_one_that_fits_label_and_others_is_kept_in_both(
    data: Path, clean: Path, tmp_path: Path, fixed: Fixed
) -> None:
    image = nib.load(image_of(data, 4))
    image.set_sform(np.diag([-1, 1, 4, 1]) @ AFFINE, code=1)
    image.set_qform(AFFINE, code=1)
    nib.save(image, image_of(data, 4))
    result = fixed("sform-qform")
    assert only(result).numbers["kept"] == "qform"
    undone(result, data, clean)


def test_a_sheared_grid_becomes_orthogonal_and_image_and_label_stay_where_they_were(
    data: Path, fixed: Fixed
) -> None:
    shear = np.eye(4)
    shear[0, 1] = 0.12
    both(data, lambda array, affine: (array, affine @ shear))
    result = fixed("sheared")
    assert result.files is not None
    volume, label = result.files[image_of(data, 4)], result.files[label_of(data, 4)]
    axes = volume.geometry.affine[:3, :3]
    np.testing.assert_allclose(axes.T @ axes, np.diag(np.diag(axes.T @ axes)), atol=1e-9)
    assert volume.array.dtype == np.int16
    before, affine = load(label_of(data, 4))

    def centre(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
        return affine[:3, :3] @ np.argwhere(array == 2).mean(axis=0) + affine[:3, 3]

    np.testing.assert_allclose(
        centre(label.array[0], label.geometry.affine), centre(before, affine), atol=0.2
    )
