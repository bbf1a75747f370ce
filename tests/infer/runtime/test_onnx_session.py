"""Graphs computed by ONNX Runtime."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from graphs import by_intensity_graph

from vesal.errors import VesalError
from vesal.infer.runtime.onnx_session import OnnxNetwork


@pytest.fixture
def _needs_onnx() -> None:
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason="the extra onnx is not installed")


@pytest.mark.usefixtures("_needs_onnx")
@pytest.mark.parametrize("alone", [True, False])
def test_logits_and_features_come_by_their_names(alone: bool) -> None:
    network = OnnxNetwork(by_intensity_graph(), 1, alone=alone)
    # Mirrored windows lie in memory the other way round.
    windows = np.random.default_rng(0).normal(1.5, 1, (2, 1, 4, 5, 6)).astype(np.float32)[:, :, ::-1]
    logits = network(windows)
    expected = [1 - windows, 0.5 - np.abs(windows - 1.5), windows - 2]
    np.testing.assert_allclose(logits, 10 * np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(network.encoded(windows[:1]), [windows[0].mean()], rtol=1e-5)
    assert network.backend.startswith("ONNX Runtime ")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
@pytest.mark.usefixtures("_needs_onnx")
def test_memory_that_is_used_up_is_told_as_python_tells_it() -> None:
    """In a process of its own that may take little more than it has: the window is there, logits do not fit."""
    code = """
import resource, sys
import numpy as np
from vesal.infer.runtime.onnx_session import OnnxNetwork
network, window = OnnxNetwork(sys.stdin.buffer.read(), 1), np.zeros((1, 1, 300, 300, 300), np.float32)
network(window[..., :4, :4, :4])
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 50_000_000, -1))
try:
    network(window)
except MemoryError as error:
    print("MemoryError", error)
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(network(window[..., :4, :4, :4]).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=by_intensity_graph(), capture_output=True, timeout=120
    )
    assert done.stdout.startswith(b"MemoryError")
    assert done.stdout.endswith(b"(1, 3, 4, 4, 4)\n")
    assert done.stderr == b""


@pytest.mark.usefixtures("_needs_onnx")
def test_a_graph_that_cannot_be_loaded_is_told() -> None:
    with pytest.raises(VesalError, match="cannot load the network"):
        OnnxNetwork(b"nothing", 1)(np.zeros((1, 1, 4, 4, 4), np.float32))


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(VesalError, match="pip install onnxruntime"):
        OnnxNetwork(b"", 1)(np.zeros((1, 1, 4, 4, 4), np.float32))


@pytest.mark.usefixtures("_needs_onnx")
def test_a_graph_that_takes_other_windows_is_told() -> None:
    with pytest.raises(VesalError, match="cannot compute the network"):
        OnnxNetwork(by_intensity_graph(), 1)(np.zeros((1, 2, 4, 4, 4), np.float32))
