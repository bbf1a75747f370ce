"""OpenVINO's runtime on the CPU, without its telemetry.

Nothing is sent. `import openvino` by itself reports to Google Analytics as soon as the package openvino_telemetry,
which its wheel requires, can be imported (openvino/tools/ovc/__init__.py), and so does openvino.convert_model. So that
package is hidden before the first import, for which OpenVINO has a stub (openvino/tools/ovc/telemetry_stub.py), and a
conversion goes through its frontend, which reports nothing.
"""

from __future__ import annotations

import importlib.metadata
import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def installed() -> str | None:
    """OpenVINO's version, such as '2026.4.1'; None where it is not installed. It is not imported for that."""
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def core() -> Any:
    """OpenVINO's own object, of which one is enough."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino.Core()


def compile_model(model: Any, threads: int, bfloat16: bool = False) -> Any:
    """A model on the CPU, in bfloat16 or float32, computed by so many threads."""
    settings = {
        # Without it bfloat16 on processors that have it.
        "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # Several processes would be bound to the same processors.
        "ENABLE_CPU_PINNING": False,
    }
    return core().compile_model(model, "CPU", settings)


def inferred(request: Any, window: NDArray[np.float32]) -> NDArray[np.float32]:
    """A view of the request's own memory."""
    result: NDArray[np.float32] = request.infer({0: window}, share_inputs=True, share_outputs=True)[0]
    return result
