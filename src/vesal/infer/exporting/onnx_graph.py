"""Torch's networks as ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from vesal.errors import UsageError, VesalError
from vesal.infer.exporting.upsampling import with_block_upsampling
from vesal.infer.quality.encoder_features import WithEncoderFeatures
from vesal.infer.runtime.exported_model import ENCODER, IMAGE, LOGITS
from vesal.nn.model_file import Package
from vesal.nn.unet import UNet

#: Of ONNX's operators: ONNX Runtime knows them from 1.17, OpenVINO from 2024.0 on.
OPSET = 20

#: Windows at once at most.
_BATCH = 4096


def require_onnx() -> None:
    """Find out before any work whether what ONNX needs is installed.

    Raises:
        UsageError: it is not.
    """
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise UsageError(f"Exporting to ONNX needs {' and '.join(missing)}; pip install 'vesal[onnx]'.")


def with_features(package: Package) -> nn.Module:
    """A package's first network for its graph: with the features of its encoder, where the quality estimate takes
    them."""
    network = package.build(copy=False)
    if package.quality is not None and isinstance(network, UNet):
        return WithEncoderFeatures(network).eval()
    return network


def outputs_of(network: nn.Module) -> list[str]:
    """Names of what `with_features` gives."""
    return [LOGITS, ENCODER] if isinstance(network, WithEncoderFeatures) else [LOGITS]


def onnx_graph(package: Package, *, features: bool = True, blocks: bool = False) -> bytes:
    """The first network of a package, for any number of windows of the plan's patch.

    Args:
        package: of the network.
        features: give those of the encoder, too, where the quality estimate takes them.
        blocks: upsample by products in place of transposed convolutions (`vesal.infer.exporting.upsampling`).

    Raises:
        VesalError: torch cannot export it.
    """
    network, plan = with_features(package) if features else package.build(copy=blocks), package.plan
    if blocks:
        network = with_block_upsampling(network)
    network.eval()
    # Of numbers of windows torch takes 0 and 1 for special ones.
    example = torch.zeros((2, plan.inputs, *plan.patch))
    windows = torch.export.Dim("windows", min=1, max=_BATCH)
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                network, (example,), dynamo=True, opset_version=OPSET, verbose=False,
                input_names=[IMAGE], output_names=outputs_of(network), dynamic_shapes=({0: windows},),
            )  # fmt: skip
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise VesalError(f"The network {package.network} cannot be exported to ONNX ({reason}).") from error
    return _without_traces(program.model_proto)


def _without_traces(model: Any) -> bytes:
    """Serialised without what torch notes of its source, which names files of this machine."""
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.graph.value_info[:]
    found: bytes = model.SerializeToString(deterministic=True)
    return found


def random_windows(package: Package) -> Tensor:
    """Two windows (2, C, *patch) of noise, always the same."""
    plan = package.plan
    return torch.randn((2, plan.inputs, *plan.patch), generator=torch.Generator().manual_seed(0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on libraries that are not there."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
