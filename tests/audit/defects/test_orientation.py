"""Arrays are turned to the axes of the others, or the header is corrected."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from organs import SHAPE, Fixed, both, image_of, label_of, load, only, save, undone


def test_arrays_are_turned_to_the_axes_of_the_others_without_loss(
    data: Path, clean: Path, fixed: Fixed
) -> None:
    for path in (image_of(data, 4), label_of(data, 4)):
        image = nib.load(path)
        turn = ornt_transform(io_orientation(image.affine), axcodes2ornt("SLP"))
        turned = image.as_reoriented(turn)
        save(path, np.asarray(turned.dataobj), turned.affine)
    assert load(image_of(data, 4))[0].shape == (SHAPE[2], *SHAPE[:2], 2)
    result = fixed("orientation")
    assert only(result).numbers == {"from": "SLP", "to": "RAS"}
    undone(result, data, clean)


def test_a_header_that_is_mirrored_is_corrected_and_the_voxels_stay(
    data: Path, clean: Path, fixed: Fixed
) -> None:
    both(data, lambda array, affine: (array, np.diag([1, -1, 1, 1]) @ affine))
    result = fixed("orientation")
    assert "header was corrected" in only(result).done
    undone(result, data, clean)
