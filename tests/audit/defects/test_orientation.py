"""Arrays are turned to the axes of the others, or the header is corrected."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from organs import SHAPE, Fixed, both, finding, image_of, label_of, load, only, save, undone

from vesal.audit.apply_fixes import fix_case
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.fingerprint import fingerprint
from vesal.layouts.registry import load_dataset


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


def test_a_tumour_on_the_rarer_side_is_no_mistake_of_the_header(data: Path) -> None:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    for number in range(9):
        side = -1 if number in (2, 4) else 1
        label = ((x - 0.5 * side) ** 2 + y**2 + z**2 < 0.06).astype(np.uint8)
        noise = np.random.default_rng(number).normal(0, 12, (*SHAPE, 2))
        body = (x**2 + y**2 + z**2 < 1.6) * (400 + 80 * y) + 300.0 * label
        image = np.clip(body[..., None] + noise, 0, None).astype(np.int16)
        save(image_of(data, number), image)
        save(label_of(data, number), label)
    both(data, lambda array, affine: (array[::-1], affine @ turned(array.shape[0])))
    dataset = load_dataset(data)
    others = ReferenceCases(dataset, fingerprint(dataset, workers=1), frozenset({"case_4"}))
    case = next(case for case in dataset.cases if case.id == "case_4")
    record = only(fix_case(case, [finding(case.id, "orientation")], others, data))
    assert record.numbers["unlike_if_corrected"] < 0.9 * record.numbers["unlike_if_turned"]
    assert "turned to RAS without loss" in record.done


def turned(size: int) -> np.ndarray:
    """From the voxels of an array that was flipped along its first axis to those of before."""
    back = np.diag([-1.0, 1, 1, 1])
    back[0, 3] = size - 1
    return back
