"""A picture of a result is a secondary capture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_examples import made_by
from dicom_examples import random_series, slice_objects

from vesal.volume.dicom.annotations.made_by import object_bytes
from vesal.volume.dicom.annotations.preview_writer import preview

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")


@pytest.fixture
def picture() -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def test_the_picture_comes_back_in_the_sources_study(tmp_path: Path, picture: np.ndarray) -> None:  # type: ignore[type-arg]
    path = tmp_path / "a.dcm"
    path.write_bytes(object_bytes(preview(slice_objects(random_series())[0], picture, made_by())))
    found = pydicom.dcmread(path)
    assert np.array_equal(found.pixel_array, picture)
    assert (found.StudyInstanceUID, found.PatientID) == ("1.2.3", "P1")
    assert "FrameOfReferenceUID" not in found
