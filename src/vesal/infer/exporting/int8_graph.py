"""Graphs whose convolutions compute in int8, for OpenVINO.

Static quantisation (Jacob et al., CVPR 2018): the range of what each convolution takes is found on windows of training
scans, weights are rounded for each output channel. Norms, activations and upsampling stay in float32. The graph
holds pairs of QuantizeLinear and DequantizeLinear, which OpenVINO turns into int8 convolutions. ONNX Runtime
computes them slower than those of float32 (records/2026-11-30-runtime.md).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.errors import VesalError
from vesal.infer.runtime.exported_model import IMAGE

Floats = NDArray[np.float32]


class _Windows:
    """A CalibrationDataReader of ONNX Runtime: one window (1, C, *patch) at a time."""

    def __init__(self, windows: Sequence[Floats]) -> None:
        self._rest = iter(windows)

    def get_next(self) -> dict[str, Floats] | None:
        window = next(self._rest, None)
        return None if window is None else {IMAGE: np.ascontiguousarray(window, dtype=np.float32)}


def int8_graph(graph: bytes, windows: Sequence[Floats]) -> bytes:
    """A graph of float32 with its convolutions in int8.

    Args:
        graph: of `vesal.infer.exporting.onnx_graph`.
        windows: (1, C, *patch) each, prepared as the network takes them.

    Raises:
        VesalError: it cannot be quantised.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(graph)
        reader: Any = _Windows(windows)
        try:
            # It recommends a rewriting by ONNX Runtime, which OpenVINO has no use for.
            root.setLevel(logging.ERROR)
            quantize_static(
                before, after, reader, quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"],
                per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise VesalError(f"The network cannot be computed in int8 ({reason}).") from error
        finally:
            root.setLevel(level)
        return after.read_bytes()
