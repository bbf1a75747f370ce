"""Prediction as a user types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from in_process import vesal
from vesal.run_files import OUTPUTS


@pytest.fixture(scope="module")
def run(trained_run: Path) -> Path:
    return trained_run


def test_predicting_files_and_folders_keeps_grid_and_values(
    run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    done = vesal("predict", run / "fold_0" / "model.vesal", tiny_data / "imagesTr", "-o", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)["files"]
    assert len(files) == 7
    for case, path in files.items():
        source = nib.load(tiny_data / "imagesTr" / f"{case}.nii.gz")
        result = nib.load(path)
        np.testing.assert_array_equal(result.affine, source.affine)
        assert result.shape == source.shape
        assert set(np.unique(np.asarray(result.dataobj))) <= {0, 1, 7}
    again = tmp_path / "one"
    single = vesal("predict", run, tiny_data / "imagesTs" / "tiny_50.nii.gz", "-o", again, "--tta")
    assert single.returncode == 0, single.stderr
    assert {path.name for path in again.iterdir()} == {"tiny_50.nii.gz", OUTPUTS}


def test_one_bad_scan_is_named_and_the_others_are_predicted(
    run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    good = (tiny_data / "imagesTr" / "tiny_00.nii.gz").read_bytes()
    (scans / "good.nii.gz").write_bytes(good)
    (scans / "cut.nii.gz").write_bytes(good[: len(good) // 2])
    done = vesal("predict", run, scans, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "cut" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.nii.gz", OUTPUTS}


def test_resumed_prediction_leaves_what_is_done(run: Path, tiny_data: Path, tmp_path: Path) -> None:
    vesal("predict", run, tiny_data / "imagesTs", "-o", tmp_path)
    before = (tmp_path / "tiny_50.nii.gz").stat().st_mtime_ns
    assert vesal("predict", run, tiny_data / "imagesTs", "-o", tmp_path, "--resume").returncode == 0
    assert (tmp_path / "tiny_50.nii.gz").stat().st_mtime_ns == before


def test_a_prediction_never_takes_the_place_of_its_scan(run: Path, tiny_data: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii.gz"
    scan.write_bytes((tiny_data / "imagesTs" / "tiny_50.nii.gz").read_bytes())
    before = scan.read_bytes()
    done = vesal("predict", run, scan, "-o", tmp_path)
    assert done.returncode == 2
    assert "overwrite" in done.stderr
    assert scan.read_bytes() == before


@pytest.mark.parametrize(
    "words", [("--threshold", "50"), ("--threshold", "0"), ("--overlap", "1"), ("--to", "jpeg")]
)
def test_an_impossible_option_is_refused_before_any_work(
    words: tuple[str, str], run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    done = vesal("predict", run, tiny_data / "imagesTs", "-o", tmp_path / "out", *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
