"""Torch's networks as the two files of OpenVINO, all graphs of a model in one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vesal.errors import UsageError, VesalError
from vesal.files import write_bytes
from vesal.infer.backends.openvino import static_model
from vesal.infer.backends.openvino_core import core, installed
from vesal.infer.backends.openvino_graph import exact_norms
from vesal.infer.exporting.onnx_graph import outputs_of, with_features
from vesal.infer.runtime.exported_model import IMAGE, Exported
from vesal.infer.runtime.openvino_session import INFO, named
from vesal.nn.model_file import Package

#: By this entry OpenVINO's constant folding leaves a node alone (ov::pass::DisableConstantFolding).
_NOT_FOLDED = "DisableConstantFolding_0"


def require_openvino() -> None:
    """Find out before any work whether OpenVINO is installed.

    Raises:
        UsageError: it is not.
    """
    if installed() is None:
        raise UsageError("Exporting to OpenVINO needs openvino; pip install 'vesal[openvino]'.")


def joined_graphs(exported: Exported, packages: Sequence[Package], int8: Sequence[bytes] = ()) -> Any:
    """One openvino.Model of all graphs of a model.

    Args:
        exported: names them.
        packages: one a graph, first of the networks that vote, then of the locators.
        int8: ONNX of the networks that vote, in their order, that takes the place of torch's network.

    Raises:
        VesalError: a network cannot be converted.
    """
    core()
    import openvino

    names = (*exported.graphs, *exported.locators)
    given = [*int8, *[None] * (len(names) - len(int8))]
    models = [
        _graph(package, name, graph) for name, package, graph in zip(names, packages, given, strict=True)
    ]
    results = [result for model in models for result in model.get_results()]
    images = [image for model in models for image in model.get_parameters()]
    return openvino.Model(results, images, "vesal")


def write_openvino(path: Path, exported: Exported, joined: Any) -> None:
    """Write NAME.xml and NAME.bin, each whole or not at all, NAME.xml last.

    Args:
        path: NAME.xml.
        exported: what it says.
        joined: of `joined_graphs`.

    Raises:
        VesalError: the files cannot be written.
    """
    import openvino

    joined.set_rt_info(exported.to_json(), INFO)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.xml"
        openvino.save_model(joined, made, compress_to_fp16=False)
        for ending in (".bin", ".xml"):
            write_bytes(path.with_suffix(ending), made.with_suffix(ending).read_bytes())


def _graph(package: Package, name: str, onnx: bytes | None = None) -> Any:
    network, plan = with_features(package), package.plan
    shape = (plan.inputs, *plan.patch)
    try:
        model = static_model(network, shape) if onnx is None else _of_onnx(onnx, shape)
    except Exception as error:
        reason = " ".join(str(error).split())[-200:] or type(error).__name__
        raise VesalError(
            f"The network {package.network} cannot be converted for OpenVINO ({reason})."
        ) from error
    model.inputs[0].get_tensor().set_names({named(IMAGE, name)})
    for result, output in zip(model.get_results(), outputs_of(network), strict=True):
        # Of a graph from ONNX the result itself keeps a name, which the file would have.
        for end in (result.input_value(0), result.output(0)):
            end.get_tensor().set_names({named(output, name)})
    return model


def _of_onnx(graph: bytes, shape: tuple[int, ...]) -> Any:
    model = core().read_model(graph)
    model.reshape([1, *shape])
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convert" and node.input_value(0).get_node().get_type_name() == "Constant":
            # Weights that are folded into float32 ones would leave a convolution of float32.
            node.get_rt_info()[_NOT_FOLDED] = True
    exact_norms(model)
    return model
