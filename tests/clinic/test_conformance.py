"""What Vesal writes conforms to the standard as dciodvfy knows it, with not one error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_examples import axial
from numpy.typing import NDArray
from referees import dciodvfy_errors, needs_dciodvfy
from test_structure_set_writer import oblique
from written_objects import APART, NESTED, written

pytest.importorskip("highdicom", reason="the extra dicom is not installed")
pytestmark = [pytest.mark.clinic, needs_dciodvfy, pytest.mark.filterwarnings("ignore::UserWarning")]

#: Not a label map: dciodvfy of 2022 does not know that kind; dcmqi reads it (test_masks_elsewhere.py).
KINDS = ("dicom-seg", "dicom-fractional", "rtstruct", "sr", "preview")


def tilted() -> NDArray[np.float64]:
    affine = axial(spacing=(1.0, 1.0, 2.0))
    affine[:3, 2] = (0.0, 0.5, 2.0)
    return affine


@pytest.mark.parametrize("affine", [axial(), oblique(), tilted()], ids=["axial", "oblique", "tilted"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_object_has_no_error(kind: str, affine: NDArray[Any], tmp_path: Path) -> None:
    example = written(tmp_path, NESTED, kind, affine=affine)
    assert dciodvfy_errors(example.files[kind]) == []


def test_the_referee_finds_an_error_where_there_is_one(tmp_path: Path) -> None:
    import pydicom

    example = written(tmp_path, APART, "dicom-seg")
    broken = pydicom.dcmread(example.files["dicom-seg"])
    del broken.SegmentSequence[0].SegmentNumber
    broken.save_as(tmp_path / "broken.dcm")
    assert any("SegmentNumber" in error for error in dciodvfy_errors(tmp_path / "broken.dcm"))
