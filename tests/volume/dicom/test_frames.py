"""Frames of classic and enhanced objects say where they lie, how they are scaled, and what tells them apart."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_examples import axial, enhanced_object, random_series, slice_objects

from vesal.errors import DataError
from vesal.volume.dicom.frames import frames_of

pytest.importorskip("pydicom", reason="the extra dicom is not installed")


def test_a_classic_object_is_one_frame_with_columns_first() -> None:
    drawn = random_series(
        slope=2.0, intercept=-5.0, tags={"EchoTime": 12.5, "ImageType": ["ORIGINAL", "PRIMARY"]}
    )
    (frame,) = frames_of("a.dcm", slice_objects(drawn)[2])
    assert frame.shape == (7, 6)
    assert frame.pixel_mm == pytest.approx((0.8, 0.9))
    assert np.allclose(frame.position_mm, (-20, 11, 45))
    assert np.allclose(frame.normal, (0, 0, 1))
    assert (frame.slope, frame.intercept) == (2.0, -5.0)
    assert frame.tags["EchoTime"] == "12.5"
    assert frame.tags["ImageType"] == "ORIGINAL\\PRIMARY"
    assert frame.name == "a.dcm"


def test_an_enhanced_object_has_what_its_frames_share_and_each_ones_own() -> None:
    drawn = random_series(slope=0.5, intercept=3.0)
    header = enhanced_object(drawn)
    frames = frames_of("a.dcm", header)
    assert len(frames) == 5
    assert np.allclose([frame.position_mm[2] for frame in frames], 40 + 2.5 * np.arange(5))
    assert {(frame.slope, frame.intercept) for frame in frames} == {(0.5, 3.0)}
    assert frames[1].name == "a.dcm, frame 2"
    header.NumberOfFrames = 7
    with pytest.raises(DataError, match=r"a\.dcm names 7 frames and describes 5"):
        frames_of("a.dcm", header)


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("RescaleSlope", None, None),
        ("ImagePositionPatient", ["nan", "0", "0"], "does not say the position"),
        ("PixelSpacing", ["0.9"], "does not say the size of a pixel"),
    ],
)
def test_values_that_are_no_numbers_are_refused(keyword: str, value: object, reason: str | None) -> None:
    header = slice_objects(random_series(affine=axial()))[0]
    if value is None:
        del header[keyword]
        assert frames_of("a.dcm", header)[0].slope == 1.0
        return
    header[keyword]._value = value
    with pytest.raises(DataError, match=reason):
        frames_of("a.dcm", header)
