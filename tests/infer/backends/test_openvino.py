"""OpenVINO gives torch's logits, and nothing is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_model import CPU, needs_openvino, package, plan, window

from vesal.infer.backends.registry import backend_networks

_SPY = """
import sys
from pathlib import Path
Path({mark!r}).write_text("imported")

class Telemetry:
    def __init__(self, *a, **k): pass
    def __getattr__(self, name): return lambda *a, **k: None
"""

_PREDICT = """
import sys, threading

def watch(event, values):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.exec"):
        raise SystemExit(f"{event} {values}")

sys.addaudithook(watch)
from vesal.infer.backends.openvino_graph import combined_kernel, without_joins
from vesal.infer.predictor import load_model
assert "openvino" not in sys.modules, "imported before it is needed"
import numpy as np
model = load_model(sys.argv[1], device="cpu", backend="openvino")
model.predict(np.random.default_rng(0).random((1, 24, 32, 24), dtype=np.float32), spacing_mm=(1.0, 1.0, 1.0))
assert model.backend.startswith("OpenVINO"), model.backend
assert "openvino.tools.ovc.telemetry_stub" in sys.modules
assert threading.active_count() == 1, threading.enumerate()
"""


@needs_openvino
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("unet", {}),
        ("unet", {"dimension": 2}),
        ("residual-unet", {}),
        ("attention-unet", {}),
        ("unet", {"norm": "batch", "activation": "relu"}),
        ("unet", {"norm": "group", "activation": "prelu", "pooling": True}),
        ("unet", {"norm": "none", "activation": "gelu", "dimension": 2}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_openvino_gives_torchs_logits(name: str, changes: dict[str, object]) -> None:
    made = package(plan(**changes), name)
    (network,) = backend_networks([made], CPU, "openvino")
    batch = window(made.plan)
    logits = network(batch)
    expected = made.build()(batch).detach()
    assert "OpenVINO" in network.backend  # type: ignore[attr-defined]
    assert "not" not in network.backend  # type: ignore[attr-defined]
    assert logits.shape == expected.shape
    assert (logits - expected).abs().max() <= 1e-4 * (expected.max() - expected.min())


@needs_openvino
def test_logits_are_not_overwritten_by_the_next_window() -> None:
    (network,) = backend_networks([package(plan())], CPU, "openvino")
    batch = window(plan())
    first = network(batch[:1])
    kept = first.clone()
    network(batch[1:])
    assert torch.equal(first, kept)


@needs_openvino
def test_the_telemetry_of_openvino_is_never_imported_and_nothing_is_sent_or_left(
    tmp_path: Path, model_file: Path
) -> None:
    """A stand-in for openvino_telemetry says when it is imported, whether the real one is installed or not."""
    package = tmp_path / "spy" / "openvino_telemetry"
    (package / "backend").mkdir(parents=True)
    mark = tmp_path / "imported"
    (package / "__init__.py").write_text(_SPY.format(mark=str(mark)))
    (package / "backend" / "__init__.py").write_text("backend_ga4 = None\n")
    home = tmp_path / "home"
    home.mkdir()
    here = tmp_path / "here"
    here.mkdir()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(package.parent), os.environ.get("PYTHONPATH")])),
        "HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True, check=False)

    done = run(_PREDICT, str(model_file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not mark.exists()
    assert not list(home.iterdir())
    assert not list(here.iterdir())
    # The spy is one: a plain import of OpenVINO does import it.
    run("import openvino")
    assert mark.exists()
