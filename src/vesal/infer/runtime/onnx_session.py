"""A network computed by ONNX Runtime on the CPU. Nothing is sent."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.errors import VesalError, out_of_memory
from vesal.infer.runtime.exported_model import ENCODER, IMAGE, LOGITS

Floats = NDArray[np.float32]

#: What is raised need not be printed, too.
_FATAL = 4


class OnnxNetwork:
    """A graph as a network of `vesal.infer.windows`, on numpy's arrays.

    Attributes:
        backend: what computes.

    Args:
        graph: ONNX.
        threads: that compute.
        alone: no other network votes with it; else the memory of its feature maps is given back after each window.
    """

    def __init__(self, graph: bytes, threads: int, *, alone: bool = True) -> None:
        self._graph, self._threads, self._alone = graph, threads, alone

    @cached_property
    def backend(self) -> str:
        """ONNX Runtime and its version."""
        return f"ONNX Runtime {_library().__version__}"

    def __call__(self, batch: Floats) -> Floats:
        """Windows (N, C, *patch) -> logits (N, K, *patch)."""
        return self._run(LOGITS, batch)

    def encoded(self, window: Floats) -> NDArray[np.float64]:
        """One window (1, C, *patch) -> (2 F,) features of the encoder; none where the graph has none."""
        if ENCODER not in {output.name for output in self._session.get_outputs()}:
            return np.empty(0)
        found = self._run(ENCODER, window)
        if found.ndim != 2 or len(found) != 1:
            raise _failed("compute", ValueError(f"features of the shape {found.shape}"))
        return found[0].astype(np.float64)

    @cached_property
    def _session(self) -> Any:
        library = _library()
        options = library.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        try:
            return library.InferenceSession(self._graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _failed("load", error) from error

    def _run(self, output: str, batch: Floats) -> Floats:
        options = _library().RunOptions()
        options.log_severity_level = _FATAL
        if not self._alone:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        window = np.ascontiguousarray(batch, dtype=np.float32)
        session = self._session
        try:
            result: Floats = session.run([output], {IMAGE: window}, options)[0]
        except Exception as error:
            # The library's own kinds: what the graph wants to be given, or comes upon while it computes.
            raise _failed("compute", error) from error
        return result


def _failed(what: str, error: Exception) -> VesalError:
    """What the library says of a network.

    Raises:
        MemoryError: the memory is used up; the library's own exceptions are no RuntimeError.
    """
    if out_of_memory(error):
        raise MemoryError(" ".join(str(error).split())[-200:]) from error
    reason = " ".join(str(error).split())[:200]
    return VesalError(
        f"ONNX Runtime {_library().__version__} cannot {what} the network ({reason}); update onnxruntime, or "
        "export the model again."
    )


def _library() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise VesalError(
            "ONNX Runtime is not installed; pip install onnxruntime, or choose --backend openvino."
        ) from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime
