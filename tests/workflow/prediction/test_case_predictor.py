"""One scan of a prediction, by itself; which files come of it is shown in tests/workflow/test_predict.py."""

from __future__ import annotations

import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesal.errors import TOO_LARGE, DataError
from vesal.infer.model import Model
from vesal.infer.predictor import load_model
from vesal.infer.quality.mask_features import volumes_ml
from vesal.layouts.input_scans import cases_to_predict
from vesal.workflow.prediction.case_predictor import CasePredictor, Entry
from vesal.workflow.prediction.predict_targets import plan_targets
from vesal.workflow.requests.predict_options import PredictOptions


@pytest.fixture(scope="module")
def model(trained_run: Path) -> Model:
    return load_model(trained_run / "fold_0" / "model.vesal", device="cpu", backend="torch")


def entry(model: Model, scan: Path, out: Path) -> Entry:
    cases = cases_to_predict([scan], 1, model.labels)
    return cases[0], plan_targets(cases, out, PredictOptions(), model.labels.classes).of[0]


def test_a_scan_gives_a_mask_and_what_is_known_of_it(model: Model, tiny_data: Path, tmp_path: Path) -> None:
    one = entry(model, tiny_data / "imagesTs" / "tiny_50.nii.gz", tmp_path)
    found = CasePredictor(model, PredictOptions(), False, measures=True)(one)
    image = nib.load(tmp_path / "tiny_50.nii.gz")
    mask = np.asarray(image.dataobj)
    ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    assert found.volumes_ml == pytest.approx(
        {"shell": (mask == 1).sum() * ml, "core": (mask == 7).sum() * ml}, abs=1e-3
    )
    assert found.quality is None
    assert pickle.loads(pickle.dumps(found)) == found
    assert CasePredictor(model, PredictOptions(), False)(one).volumes_ml == {}


def test_a_scan_that_cannot_be_used_says_why_and_writes_nothing(
    model: Model, tiny_data: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes((tiny_data / "imagesTs" / "tiny_50.nii.gz").read_bytes()[:3000])
    with pytest.raises(DataError, match="cut off"):
        CasePredictor(model, PredictOptions(), False)(entry(model, cut, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_scan_for_whose_coarse_stage_memory_is_too_little_does_not_end_the_others(
    model: Model, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(text: str) -> None:
        def prepare(*_arguments: object, **_options: object) -> None:
            raise RuntimeError(text)

        monkeypatch.setattr(Model, "prepare", prepare)

    predictor = CasePredictor(model, PredictOptions(), False)
    one = entry(model, tiny_data / "imagesTs" / "tiny_50.nii.gz", tmp_path)
    says("CUDA out of memory. Tried to allocate 2 GiB")
    found = predictor.read(one)
    assert isinstance(found, DataError)
    assert str(found) == TOO_LARGE
    says("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        predictor.read(one)


def test_a_picture_has_no_volume(model: Model) -> None:
    from vesal.volume.geometry import Geometry

    flat = Geometry.from_spacing((4, 4), (1.0, 1.0))
    assert volumes_ml(np.ones((4, 4), dtype=np.uint8), flat, model.labels) == {}
