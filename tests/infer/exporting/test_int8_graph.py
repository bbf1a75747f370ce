"""Networks whose convolutions compute in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_model import needs_openvino, package, plan, window

from vesal.errors import VesalError
from vesal.infer.exporting.int8_graph import int8_graph
from vesal.infer.exporting.onnx_graph import onnx_graph
from vesal.infer.exporting.openvino_files import joined_graphs, write_openvino
from vesal.infer.runtime.exported_model import Exported
from vesal.infer.runtime.openvino_session import read_openvino

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


@needs_openvino
def test_weights_are_integers_in_openvinos_file_and_logits_are_near_those_of_float32(tmp_path: Path) -> None:
    made = package(plan())
    windows = window(made.plan).numpy()
    exported = Exported(
        plan=made.plan, network="unet", provenance={}, weights=("a",), graphs=("model",)
    )  # fmt: skip
    found = {}
    for name, graphs in (("float32", []), ("int8", [int8_graph(onnx_graph(made), [windows[:1]])])):
        path = tmp_path / f"{name}.xml"
        write_openvino(path, exported, joined_graphs(exported, [made], graphs))
        found[name] = read_openvino(path, 1)[1]["model"](windows)
    gap = np.abs(found["int8"] - found["float32"]).mean() / np.ptp(found["float32"])
    assert 0 < gap < 0.02
    # Not rounded numbers that are stored, and computed with, in float32.
    assert (tmp_path / "int8.bin").stat().st_size < 0.5 * (tmp_path / "float32.bin").stat().st_size


def test_what_cannot_be_quantised_is_one_sentence() -> None:
    with pytest.raises(VesalError, match=r"cannot be computed in int8 \("):
        int8_graph(b"no graph", [])
