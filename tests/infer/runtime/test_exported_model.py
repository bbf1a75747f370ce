"""The file of an exported model: written, read, and refused where it is damaged, hostile or another."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from small_model import package, plan

from vesal.errors import UsageError, VesalError
from vesal.infer.postprocess import Postprocess, Step
from vesal.infer.runtime.exported_model import Exported, read_onnx, write_onnx
from vesal.nn.model_file import load_package, save_package


def exported(**changes: object) -> Exported:
    values: dict[str, Any] = {
        "plan": plan(), "network": "unet", "provenance": {"made": "here"}, "weights": ("a", "b"),
        "graphs": ("model", "model_2"), "scores": {"dice": 0.9},
        "postprocess": Postprocess(steps=(Step(do="largest", of="dim"),)), "compared": {"logits": 1e-6},
    }  # fmt: skip
    return Exported(**values | changes)


GRAPHS = {"model": b"one", "model_2": b"other"}


def test_it_is_read_as_it_was_written_and_the_same_again(tmp_path: Path) -> None:
    write_onnx(tmp_path / "one.vesal", exported(), GRAPHS)
    write_onnx(tmp_path / "again.vesal", exported(), GRAPHS)
    assert read_onnx(tmp_path / "one.vesal") == (exported(), GRAPHS)
    assert (tmp_path / "one.vesal").read_bytes() == (tmp_path / "again.vesal").read_bytes()


def test_an_ordinary_model_is_to_be_exported_first_and_an_exported_one_holds_no_weights(
    tmp_path: Path,
) -> None:
    save_package(tmp_path / "model.vesal", package(plan()))
    with pytest.raises(VesalError, match="export it first"):
        read_onnx(tmp_path / "model.vesal")
    write_onnx(tmp_path / "exported.vesal", exported(), GRAPHS)
    with pytest.raises(VesalError, match="predict with vesal-runtime"):
        load_package(tmp_path / "exported.vesal")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "has version 2"),
        ({"format": "vesal-model"}, "does not describe"),
        ({"graphs": ["model"]}, "are not those"),
        ({"graphs": ["../model", "model_2"]}, "does not name its graphs"),
        ({"locators": ["locator"]}, "are not both there"),
        ({"plan": {"version": 1}}, "plan is not valid"),
        ({"quality": [{}]}, "no valid 'quality'"),
        ({"quality": [{}, {}]}, "quality model is not valid"),
        ({"postprocess": {"steps": [{"do": "largest", "of": "spleen"}]}}, "post-processing is not valid"),
        ({"weights": None}, "no valid 'weights'"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    path = tmp_path / "model.vesal"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("model.json", json.dumps(json.loads(exported().to_json()) | change))
        for name, graph in GRAPHS.items():
            archive.writestr(f"{name}.onnx", graph)
    with pytest.raises(VesalError, match=sentence):
        read_onnx(path)


@pytest.mark.parametrize(
    "data", [b"", b"\x80pickle", b"PK\x03\x04cut off"], ids=["nothing", "a pickle", "cut off"]
)
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.vesal"
    path.write_bytes(data)
    with pytest.raises(VesalError, match="not a usable Vesal model"):
        read_onnx(path)
    with pytest.raises(UsageError, match="is not there"):
        read_onnx(tmp_path / "absent.vesal")
