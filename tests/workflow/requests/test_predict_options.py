"""What a prediction is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from vesal.errors import UsageError
from vesal.volume.io import SUFFIXES
from vesal.workflow.requests.predict_options import DICOM_FORMATS, FORMATS, PredictOptions


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"threshold": 0.0}, "threshold is a probability"),
        ({"threshold": 1.0}, "threshold is a probability"),
        ({"overlap": -0.1}, "overlap is a share"),
        ({"overlap": 1.0}, "overlap is a share"),
        ({"quality": False, "min_dice": 0.8}, "--no-quality estimates no Dice; leave it or --min-dice out"),
        ({"quality": False, "interval_level": 0.8}, "leave it or --interval-level out"),
        ({"to": "jpeg"}, "nifti, nrrd, mha, png, tiff, dicom-seg, .*, not 'jpeg'"),
        ({"to": "sr,jpeg"}, "not 'jpeg'"),
        ({"to": "nifti,png"}, "one of nifti, nrrd, mha, png, tiff at a time"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_range(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PredictOptions(**wrong)


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_can_be_chosen_and_written(to: str) -> None:
    assert PredictOptions(to=to).to == to
    assert FORMATS[to] in SUFFIXES


def test_objects_of_dicom_stand_beside_one_format() -> None:
    options = PredictOptions(to="sr,nrrd,dicom-seg")
    assert options.volume_format == "nrrd"
    assert options.dicom_formats == ("dicom-seg", "sr")
    assert PredictOptions().dicom_formats == ()
    assert PredictOptions(to="rtstruct").volume_format is None
    assert not set(DICOM_FORMATS) & set(FORMATS)
