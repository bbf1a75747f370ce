"""Scans in, label maps out, by an exported model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from graphs import write_by_intensity

from vesal.errors import UsageError
from vesal.infer.model import Model
from vesal.infer.quality.estimate import QualityEstimate
from vesal.infer.runtime.load_exported import load_exported
from vesal.infer.runtime.predict_scans import Choices, predict_scans

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load_exported(write_by_intensity(tmp_path / "model.vesal"), threads=1)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(2):
        array = np.full((18, 20, 16), 0.1, dtype=np.float32)
        array[4 + number : 12, 4:12, 4:12] = 2.6
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / f"case_{number}.nii.gz")
    return folder


def test_each_mask_lies_on_its_scans_grid_and_a_scan_that_fails_stops_no_other(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    (scans / "broken.nii.gz").write_bytes(b"nothing")
    result = predict_scans(model, [scans], tmp_path / "out")
    assert sorted(result.files) == ["case_0", "case_1"]
    assert "broken" in result.failures
    for case, file in result.files.items():
        scan, mask = nib.load(scans / f"{case}.nii.gz"), nib.load(file)
        np.testing.assert_array_equal(mask.affine, scan.affine)
        np.testing.assert_array_equal(np.asarray(mask.dataobj) == 9, scan.get_fdata() > 2)
    assert "2 of 3 scans segmented" in result.text()
    assert json.dumps(result.to_dict())
    # Results may be made again, and a mask that somebody corrected is never overwritten.
    predict_scans(model, [scans], tmp_path / "out")
    (tmp_path / "out" / "case_1.nii.gz").write_bytes((scans / "case_1.nii.gz").read_bytes())
    with pytest.raises(UsageError, match="would be overwritten"):
        predict_scans(model, [scans], tmp_path / "out")


def test_one_scan_may_go_into_a_file_several_may_not(model: Model, scans: Path, tmp_path: Path) -> None:
    result = predict_scans(model, [scans / "case_0.nii.gz"], tmp_path / "mask.nii.gz")
    assert result.files == {"case_0": tmp_path / "mask.nii.gz"}
    with pytest.raises(UsageError, match="one file and 2 scans"):
        predict_scans(model, [scans], tmp_path / "mask.nii.gz")
    with pytest.raises(UsageError, match="would overwrite a scan"):
        predict_scans(model, [scans], scans)


class Estimator:
    """In the place of a `QualityEstimator`."""

    temperature = 1.0

    def estimate(self, *_: object, **__: object) -> QualityEstimate:
        return QualityEstimate("review", "its intensities", 2.0, 1.0, {}, {}, "")


def test_the_quality_file_is_about_the_masks_that_are_there_whichever_runs_made_them(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    out, first, second = tmp_path / "out", scans / "case_0.nii.gz", scans / "case_1.nii.gz"

    def rows(scan: Path, to: Path, *, quality: bool = True) -> set[str]:
        judged = replace(model, quality_estimator=Estimator())  # type: ignore[arg-type]
        predict_scans(judged, [scan], to, Choices(quality=quality))
        return set(json.loads((out / "quality.json").read_text())["cases"])

    assert rows(first, out) == {"case_0"}
    assert rows(second, out) == {"case_0", "case_1"}
    assert rows(first, out, quality=False) == {"case_1"}
    assert rows(first, out / "case_1.nii.gz") == set()
