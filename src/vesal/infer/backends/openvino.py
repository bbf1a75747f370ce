"""A torch network computed by OpenVINO on the CPU: converted in memory, one window at a time.

Nothing is written to the disk and nothing is sent (`vesal.infer.backends.openvino_core`).

Shapes: C input channels, K outputs, *patch the window along the network's 2 or 3 axes.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from vesal.infer.backends.openvino_core import compile_model, core, inferred
from vesal.infer.backends.openvino_core import installed as installed
from vesal.infer.backends.openvino_graph import ConversionError, exact_norms, without_joins
from vesal.nn.unet import UNet

#: Largest difference from torch's logits that the test after a conversion lets pass, as a share of their range.
#: On AVX2 it is 1e-5.
TOLERANCE = 1e-3

#: The same in bfloat16, whose numbers have three digits: 0.015 to 0.035 was found. It is there for gross mistakes;
#: whether bfloat16 is good enough, masks decide (`vesal.infer.backends.bfloat16_agreement`).
TOLERANCE_BFLOAT16 = 0.1

#: Numbers from which on norms are rewritten for the test, as those of large windows are.
_LEAST = 512


def static_model(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """An openvino.Model of a network for one window (C, *patch) at a time, with the rewritten graph.

    Raises:
        ConversionError: it cannot be converted.
        Exception: of the library's own.
    """
    model = _converted(network, shape)
    model.reshape([1, *shape])
    without_joins(model)
    exact_norms(model)
    return model


class Compiled:
    """A network for windows of one size.

    Args:
        network: in eval mode, float32, on the CPU; its weights are read again by `release` and must not change.
        shape: (C, *patch).
        threads: that compute.
        bfloat16: the arithmetic, on a processor that has it; else float32.

    Raises:
        ConversionError: it cannot be converted, or its logits are not torch's.
        Exception: of the library's own, for what it cannot do, or for want of memory.
    """

    def __init__(
        self, network: nn.Module, shape: tuple[int, ...], threads: int, *, bfloat16: bool = False
    ) -> None:
        strides = getattr(network, "total_stride", None)
        if strides is not None and any(n % step for n, step in zip(shape[1:], strides, strict=True)):
            raise ConversionError(f"windows of {shape[1:]} are no multiples of its strides")
        small = _small(network, shape)
        tolerance = TOLERANCE_BFLOAT16 if bfloat16 else TOLERANCE
        # Norms need two voxels at the lowest resolution to be traced, and a few more to be compared.
        model = _converted(network, _small(network, shape, along_others=1))
        model.reshape([1, *shape])
        without_joins(model)
        if small != shape:
            sample = model.clone()
            sample.reshape([1, *small])
            exact_norms(sample, above=_LEAST)
            _compare(network, compile_model(sample, threads, bfloat16), small, tolerance)
        exact_norms(model)
        self._compiled = compile_model(model, threads, bfloat16)
        if small == shape:
            _compare(network, self._compiled, shape, tolerance)
        self._request = self._compiled.create_infer_request()
        self._outputs = tuple(self._compiled.outputs[0].shape)[1:]
        if self._outputs[1:] != shape[1:]:
            raise ConversionError(f"its logits for windows of {shape[1:]} are {self._outputs[1:]}")

    def __call__(self, batch: Tensor) -> Tensor:
        """(N, C, *patch) -> logits (N, K, *patch) in memory of their own."""
        logits = torch.empty((len(batch), *self._outputs))
        for window, out in zip(batch, logits, strict=True):
            out.copy_(torch.from_numpy(inferred(self._request, window[None].contiguous().numpy())[0]))
        return logits

    def release(self) -> None:
        """Free the memory of the network's feature maps; the next call takes it again."""
        self._compiled.release_memory()


def _small(network: nn.Module, shape: tuple[int, ...], along_others: int = 2) -> tuple[int, ...]:
    """(C, *size) that is 2 voxels at the lowest resolution along the first axis, `along_others` along the others.

    A UNet computes windows of any size alike. Others may depend on the window's size.
    """
    if not isinstance(network, UNet):
        return shape
    voxels = (2, *(along_others,) * (len(shape) - 2))
    sizes = zip(voxels, network.total_stride, shape[1:], strict=True)
    return (shape[0], *(min(count * step, size) for count, step, size in sizes))


def _converted(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """OpenVINO's model, whose constants are the weights of `network` in their own memory."""
    core()  # before anything else is imported of it
    from openvino import Type
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros((1, *shape))
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, example, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced, example_input=(example,))
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.inputs[0].get_node().set_element_type(Type.f32)
    return model


def _compare(network: nn.Module, compiled: Any, shape: tuple[int, ...], tolerance: float) -> None:
    """Raise ConversionError unless the logits of one window of noise (C, *size) are torch's."""
    window = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0))
    found = torch.from_numpy(inferred(compiled.create_infer_request(), window.numpy()).copy())
    with torch.inference_mode():
        expected = network(window)
    if found.shape != expected.shape:
        raise ConversionError(f"its logits are {tuple(found.shape)} and not {tuple(expected.shape)}")
    difference = float((found - expected).abs().max())
    if not difference <= tolerance * float(expected.max() - expected.min()):
        raise ConversionError(f"its logits differ by {difference:.2g} from torch's")
