"""Networks as ONNX, computed by ONNX Runtime, beside torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import package, plan

from vesal.errors import VesalError
from vesal.infer.exporting.onnx_graph import onnx_graph
from vesal.infer.quality.encoder_features import encoder_of
from vesal.infer.runtime.onnx_session import OnnxNetwork
from vesal.nn.model_file import Package

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.mark.parametrize(
    ("name", "changes"), [("unet", {"heads": 2}), ("attention-unet", {"dimension": 2, "pooling": True})]
)
def test_its_logits_are_torchs_for_any_number_of_windows(name: str, changes: dict[str, object]) -> None:
    made = replace(package(plan(**changes), name), quality={})
    graph = onnx_graph(made)
    module, network = made.build(), OnnxNetwork(graph, 1)
    for count in (1, 3):
        windows = torch.randn((count, 1, *made.plan.patch), generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            expected = module(windows).numpy()
        np.testing.assert_allclose(network(windows.numpy()), expected, atol=1e-4 * np.ptp(expected))
    encoded = encoder_of(module)
    assert encoded is not None
    np.testing.assert_allclose(network.encoded(windows[:1].numpy()), encoded(windows[:1]), atol=1e-4)
    # Torch notes the files and lines of its source.
    assert b".py" not in graph


def test_what_torch_cannot_export_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.sum()) > 0 else -x

    monkeypatch.setattr(Package, "build", lambda *_, **__: Odd().eval())
    with pytest.raises(VesalError, match="The network unet cannot be exported to ONNX"):
        onnx_graph(package(plan()))
