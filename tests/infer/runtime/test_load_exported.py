"""Exported models, ready to predict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import write_by_intensity
from small_model import needs_openvino

from vesal.errors import UsageError
from vesal.infer.postprocess import Postprocess, Step
from vesal.infer.runtime.load_exported import load_exported
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def scan() -> Volume:
    array = np.full((20, 24, 18), 0.1, dtype=np.float32)
    array[4:14, 4:14, 4:14] = 1.5
    array[8:11, 8:11, 8:11] = 2.6
    array[17, 20, 15] = 1.5
    return Volume(array[None], Geometry.from_spacing(array.shape, (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)])
def test_it_predicts_with_either_library_and_does_the_steps_of_the_file(tmp_path: Path, backend: str) -> None:
    steps = Postprocess(steps=(Step(do="largest", of="dim"),))
    path = write_by_intensity(tmp_path / "model.vesal", postprocess=steps)
    image = scan().array[0]
    raw = np.select([image > 2, image > 1], [9, 3], 0)
    model = load_exported(path, backend=backend, postprocess=False, threads=1)
    np.testing.assert_array_equal(model.predict(scan()).label.array, raw)
    cleaned = load_exported(path, backend=backend).predict(scan()).label.array
    assert (raw != cleaned).sum() == 1
    assert cleaned[17, 20, 15] == 0


def test_the_digest_depends_on_the_weights_and_the_steps(tmp_path: Path) -> None:
    plain = load_exported(write_by_intensity(tmp_path / "one.vesal"))
    steps = Postprocess(steps=(Step(do="largest", of="dim"),))
    other = load_exported(write_by_intensity(tmp_path / "other.vesal", postprocess=steps))
    assert plain.digest
    assert plain.digest != other.digest
    assert plain.digest == load_exported(tmp_path / "other.vesal", postprocess=False).digest


def test_a_scan_without_a_channel_is_refused_in_a_sentence(tmp_path: Path) -> None:
    model = load_exported(write_by_intensity(tmp_path / "model.vesal"), threads=1)
    with pytest.raises(UsageError, match="was not trained for scans without"):
        model.predict(replace(scan(), absent=(0,)))


def test_another_backend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no backend 'torch'"):
        load_exported(tmp_path / "model.vesal", backend="torch")
