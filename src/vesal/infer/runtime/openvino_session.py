"""A network computed by OpenVINO on the CPU, from ONNX or from OpenVINO's own files."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.errors import UsageError, VesalError
from vesal.infer.backends.openvino_core import compile_model, core, inferred, installed
from vesal.infer.backends.openvino_graph import ConversionError, exact_norms, without_joins
from vesal.infer.runtime.exported_model import ENCODER, IMAGE, LOGITS, Exported, parse_exported

Floats = NDArray[np.float32]

#: Where the description stands in the `rt_info` of OpenVINO's file.
INFO = ["vesal", "model"]


class OpenvinoNetwork:
    """A graph as a network of `vesal.infer.windows`, on numpy's arrays.

    Attributes:
        backend: what computes.

    Args:
        read: gives an openvino.Model of one window, of the named output.
        threads: that compute.
        alone: no other network votes with it; else the memory of its feature maps is given back after each window.
    """

    def __init__(self, read: Callable[[str], Any | None], threads: int, *, alone: bool = True) -> None:
        self._read, self._threads, self._alone = read, threads, alone
        self.backend = f"OpenVINO {installed()}"

    def __call__(self, batch: Floats) -> Floats:
        """Windows (N, C, *patch) -> logits (N, K, *patch)."""
        return np.stack([self._run(self._logits, window) for window in batch])

    def encoded(self, window: Floats) -> NDArray[np.float64]:
        """One window (1, C, *patch) -> (2 F,) features of the encoder; none where the graph has none."""
        if self._encoder is None:
            return np.empty(0)
        return self._run(self._encoder, window[0]).astype(np.float64)

    def _run(self, compiled: Any, window: Floats) -> Floats:
        request = compiled.create_infer_request()
        # A copy: the request's own memory goes with it.
        found = inferred(request, np.ascontiguousarray(window[None], dtype=np.float32))[0].copy()
        if not self._alone:
            del request
            compiled.release_memory()
        return found

    @cached_property
    def _logits(self) -> Any:
        return compile_model(self._read(LOGITS), self._threads)

    @cached_property
    def _encoder(self) -> Any | None:
        model = self._read(ENCODER)
        return None if model is None else compile_model(model, self._threads)


def of_onnx(graph: bytes, shape: tuple[int, ...], threads: int, *, alone: bool = True) -> OpenvinoNetwork:
    """A network of an ONNX graph for windows (C, *patch).

    Raises:
        UsageError: OpenVINO is not installed.
        VesalError: it cannot take the graph.
    """
    _require()

    def read(output: str) -> Any | None:
        model = core().read_model(graph)
        if (part := _part(model, output, IMAGE)) is None:
            return None
        part.reshape([1, *shape])
        without_joins(part)
        try:
            exact_norms(part)
        except ConversionError as error:
            raise VesalError(
                f"OpenVINO cannot compute this network: {error}; leave out --backend."
            ) from error
        return part

    return OpenvinoNetwork(read, threads, alone=alone)


def read_openvino(path: Path, threads: int) -> tuple[Exported, dict[str, OpenvinoNetwork]]:
    """What NAME.xml says, and its networks by name.

    Raises:
        UsageError: OpenVINO is not installed, or there is no such file.
        VesalError: it holds no exported model.
    """
    _require()
    if not path.is_file():
        raise UsageError(f"{path} is not there; name an exported model, NAME.xml.")
    try:
        model = core().read_model(path)
        text = model.get_rt_info(INFO).astype(str)
    except Exception as error:
        reason = " ".join(str(error).split())[-160:]
        raise VesalError(
            f"{path} is no exported Vesal model ({reason}); vesal export MODEL --to openvino makes one, of two files "
            "that belong beside each other."
        ) from error
    exported = parse_exported(text, path)
    names = (*exported.graphs, *exported.locators)

    def reader(name: str) -> Callable[[str], Any | None]:
        return lambda output: _part(model, named(output, name), named(IMAGE, name))

    alone = len(names) == 1
    found = {name: OpenvinoNetwork(reader(name), threads, alone=alone) for name in names}
    for name in names:
        if reader(name)(LOGITS) is None:
            raise VesalError(f"{path} is damaged (no graph is named {name}); export the model again.")
    return exported, found


def named(what: str, graph: str) -> str:
    """Input or output of a graph in the one model of all graphs."""
    return f"{what}_{graph}"


def _part(model: Any, output: str, image: str) -> Any | None:
    """A model of one of the inputs and one of the outputs; None where there is none of that name."""
    import openvino

    results = [node for node in model.get_results() if output in node.input_value(0).get_names()]
    images = [node for node in model.get_parameters() if image in node.output(0).get_names()]
    if not results or not images:
        return None
    return openvino.Model(results[:1], images[:1], output).clone()


def _require() -> None:
    if installed() is None:
        raise UsageError("OpenVINO is not installed; pip install openvino, or choose --backend onnxruntime.")
