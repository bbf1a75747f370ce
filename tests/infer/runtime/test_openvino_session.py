"""ONNX graphs computed by OpenVINO."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import by_intensity_graph
from small_model import needs_openvino

from vesal.errors import UsageError
from vesal.infer.runtime import openvino_session
from vesal.infer.runtime.openvino_session import of_onnx


@needs_openvino
@pytest.mark.parametrize("alone", [True, False])
def test_logits_and_features_come_by_their_names(alone: bool) -> None:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    network = of_onnx(by_intensity_graph(), (1, 4, 5, 6), 1, alone=alone)
    windows = np.random.default_rng(0).normal(1.5, 1, (2, 1, 4, 5, 6)).astype(np.float32)
    logits = network(windows)
    expected = [1 - windows, 0.5 - np.abs(windows - 1.5), windows - 2]
    np.testing.assert_allclose(logits, 10 * np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(network.encoded(windows[:1]), [windows[0].mean()], rtol=1e-5)
    assert network.backend.startswith("OpenVINO ")


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_session, "installed", lambda: None)
    with pytest.raises(UsageError, match="pip install openvino"):
        of_onnx(b"", (1, 4, 4, 4), 1)
