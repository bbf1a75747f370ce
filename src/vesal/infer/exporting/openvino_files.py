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
from vesal.infer.exporting.onnx_graph import outputs_of, with_features
from vesal.infer.runtime.exported_model import IMAGE, Exported
from vesal.infer.runtime.openvino_session import INFO, named
from vesal.nn.model_file import Package


def require_openvino() -> None:
    """Find out before any work whether OpenVINO is installed.

    Raises:
        UsageError: it is not.
    """
    if installed() is None:
        raise UsageError("Exporting to OpenVINO needs openvino; pip install 'vesal[openvino]'.")


def joined_graphs(exported: Exported, packages: Sequence[Package]) -> Any:
    """One openvino.Model of all graphs of a model.

    Args:
        exported: names them.
        packages: one a graph, first of the networks that vote, then of the locators.

    Raises:
        VesalError: a network cannot be converted.
    """
    core()
    import openvino

    names = (*exported.graphs, *exported.locators)
    models = [_graph(package, name) for name, package in zip(names, packages, strict=True)]
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


def _graph(package: Package, name: str) -> Any:
    network, plan = with_features(package), package.plan
    try:
        model = static_model(network, (plan.inputs, *plan.patch))
    except Exception as error:
        reason = " ".join(str(error).split())[-200:] or type(error).__name__
        raise VesalError(
            f"The network {package.network} cannot be converted for OpenVINO ({reason})."
        ) from error
    model.inputs[0].get_tensor().set_names({named(IMAGE, name)})
    for result, output in zip(model.get_results(), outputs_of(network), strict=True):
        result.input_value(0).get_tensor().set_names({named(output, name)})
    return model
