"""What computes the networks: the same masks whatever it is, nothing sent, and torch where OpenVINO cannot."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.infer.backends import openvino
from vesal.infer.backends import registry as backends
from vesal.infer.backends.openvino_graph import combined_kernel, without_joins
from vesal.infer.backends.registry import CpuNetwork, backend_networks
from vesal.infer.predictor import load_model
from vesal.nn.model_file import Package, save_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.volume.geometry import Geometry
from vesal.volume.io import read_volume
from vesal.volume.volume import Volume

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,
    reason="OpenVINO is not installed (pip install 'vesal[openvino]')",
)
CPU = torch.device("cpu")
LABELS = LabelSet.from_values({"dim": 3, "bright": 9})


def plan(**changes: object) -> Plan:
    dimension = int(str(changes.get("dimension", 3)))
    stages = tuple(
        Stage(features=f, kernel=(3,) * dimension, stride=(s,) * dimension)
        for f, s in ((8, 1), (16, 2), (16, 2))
    )
    values: dict[str, object] = {
        "dimension": dimension,
        "slice_axis": None if dimension == 3 else 2,
        "spacing_mm": (1.0,) * dimension,
        "patch": (24, 32, 24)[:dimension],
        "batch": 1,
        "stages": stages,
        "normalisation": (Normalisation(scheme="zscore"),),
        "mirror_axes": (0,),
        "channels": ("MRI",),
        "labels": LABELS,
        "median_shape": (40,) * dimension,
    }
    return Plan.model_validate(values | changes)


def package(made: Plan, name: str = "unet") -> Package:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build_network(name, made)
        for parameter in network.parameters():
            if parameter.ndim == 1:
                # Norms that scale and shift, gates and shortcuts that do something.
                parameter.data += 0.2 * torch.randn_like(parameter)
    return Package(made, name, {}, {}, network.state_dict())


def scan(seed: int = 0, shape: tuple[int, ...] = (30, 40, 26)) -> Volume:
    array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    for axis in range(3):
        array = array + np.roll(array, 1, axis) + np.roll(array, 2, axis)
    return Volume(array[None], Geometry.from_spacing(shape, (1.0,) * 3))


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.vesal"
    save_package(path, package(plan()))
    return path


def window(made: Plan, count: int = 2) -> Tensor:
    return torch.randn((count, 1, *made.patch), generator=torch.Generator().manual_seed(5))


# --- the same numbers -------------------------------------------------------------------------------------


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


def feeding_convolutions(model: Any) -> int:
    """Joins that a convolution reads."""
    convolutions = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return sum(node.input_value(0).get_node().get_type_name() == "Concat" for node in convolutions)


@needs_openvino
@pytest.mark.parametrize("shape", [(96, 80, 64), (80, 72, 60), (640, 512)], ids=str)
def test_norms_of_large_windows_keep_their_digits(shape: tuple[int, ...]) -> None:
    """OpenVINO's own are off by 1e-4 here."""
    dimension = len(shape)
    stages = tuple(Stage(features=2 * f, kernel=(3,) * dimension, stride=(f,) * dimension) for f in (1, 2))
    made = package(plan(patch=shape, dimension=dimension, stages=stages))
    # Far from zero, as the body is in a scan.
    batch = window(made.plan, 1).abs() + 1
    expected = made.build().double()(batch.double()).detach()
    logits = openvino.Compiled(made.build(), (1, *shape), 1)(batch)
    assert (logits - expected).abs().max() <= 3e-5 * (expected.max() - expected.min())


@needs_openvino
def test_norms_that_would_lose_digits_are_left_to_torch() -> None:
    made = package(plan(norm="group"))
    with pytest.raises(openvino.ConversionError, match="loses digits"):
        openvino.Compiled(made.build(), (1, 64, 64, 64), 1)


@pytest.mark.parametrize(("stride", "size"), [((2, 2), (3, 3)), ((1, 3), (3, 5)), ((2, 1, 2), (1, 3, 3))])
def test_a_combined_kernel_upsamples_and_convolves(stride: tuple[int, ...], size: tuple[int, ...]) -> None:
    chance = torch.Generator().manual_seed(1)
    up = torch.randn((6, 4, *stride), generator=chance, dtype=torch.float64)
    weights = torch.randn((5, 4, *size), generator=chance, dtype=torch.float64)
    v = torch.randn((2, 6, *(5, 4, 3)[: len(size)]), generator=chance, dtype=torch.float64)
    sides = [count // 2 for count in size]
    transposed = {2: F.conv_transpose2d, 3: F.conv_transpose3d}[len(size)]
    convolved = {2: F.conv2d, 3: F.conv3d}[len(size)]
    expected = convolved(transposed(v, up, stride=stride), weights, padding=sides)
    found = transposed(v, combined_kernel(up, weights), stride=stride, padding=sides)
    torch.testing.assert_close(found, expected)


@needs_openvino
@pytest.mark.parametrize(
    ("name", "changes", "ups_left"),
    [("unet", {}, 0), ("unet", {"bias": True}, 2), ("attention-unet", {}, 2)],
    ids=["plain", "bias", "gated"],
)
def test_large_joins_are_taken_apart_and_upsamplings_combined_where_that_is_exact(
    name: str, changes: dict[str, object], ups_left: int
) -> None:
    made = package(plan(patch=(32, 32, 32), **changes), name)
    model = openvino._converted(made.build(), (1, 16, 8, 8))
    model.reshape([1, 1, 32, 32, 32])
    joins = feeding_convolutions(model)
    without_joins(model)
    assert (joins, feeding_convolutions(model)) == (2, 0)
    kernels = [
        node.input_value(1).shape[2]
        for node in model.get_ordered_ops()
        if node.get_type_name() == "ConvolutionBackpropData"
    ]
    assert sorted(kernels) == [2] * ups_left + [4] * (2 - ups_left)
    batch = window(made.plan, 1)
    logits = openvino.Compiled(made.build(), (1, 32, 32, 32), 1)(batch)
    expected = made.build()(batch).detach()
    assert (logits - expected).abs().max() <= 1e-4 * (expected.max() - expected.min())


@needs_openvino
def test_masks_of_both_backends_are_equal(model_file: Path) -> None:
    masks = []
    for backend in ("torch", "openvino"):
        model = load_model([model_file, model_file], device="cpu", backend=backend)
        masks.append(model.predict(scan(), mirror=True).label.array)
        assert model.backend.startswith("OpenVINO 20" if backend == "openvino" else "torch")
    assert len(np.unique(masks[0])) == 3
    assert (masks[0] != masks[1]).sum() <= 2  # ties


@needs_openvino
def test_masks_of_a_real_scan_are_equal(model_file: Path, data_dir: Path) -> None:
    file = sorted((data_dir / "Task04_Hippocampus" / "imagesTr").glob("hippocampus_*.nii.gz"))[0]
    masks = [
        load_model(model_file, device="cpu", backend=backend).predict(read_volume(file)).label.array
        for backend in ("torch", "openvino")
    ]
    assert len(np.unique(masks[0])) == 3
    assert (masks[0] != masks[1]).sum() <= 2  # ties


@needs_openvino
def test_logits_are_not_overwritten_by_the_next_window() -> None:
    (network,) = backend_networks([package(plan())], CPU, "openvino")
    batch = window(plan())
    first = network(batch[:1])
    kept = first.clone()
    network(batch[1:])
    assert torch.equal(first, kept)


@needs_openvino
def test_each_size_and_number_of_threads_is_compiled_once_and_few_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[int, ...]] = []
    real = openvino.Compiled

    def noted(network: nn.Module, shape: tuple[int, ...], threads: int) -> openvino.Compiled:
        made.append((*shape, threads))
        return real(network, shape, threads)

    monkeypatch.setattr(openvino, "Compiled", noted)
    (network,) = backend_networks([package(plan())], CPU, "openvino")
    for size in (16, 16, 24, 32, 32):
        network(torch.zeros(1, 1, size, 16, 16))
    assert [shape[1] for shape in made] == [16, 24, 32]
    assert len(network._compiled) == 2  # type: ignore[attr-defined]


# --- when ---------------------------------------------------------------------------------------------------


def multiply_adds(network: nn.Module, batch: Tensor) -> int:
    """Counted while it computes."""
    found = []

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        voxels = (inputs[0] if isinstance(module, nn.ConvTranspose3d) else output)[:, 0].numel()
        found.append(module.weight.numel() * voxels)  # type: ignore[operator, union-attr]

    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.register_forward_hook(count)
    network(batch)
    return sum(found)


@needs_openvino
def test_a_small_scan_is_left_to_torch_and_openvino_takes_over_when_it_pays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = package(plan())
    (network,) = backend_networks([made], CPU, "auto")
    assert isinstance(network, CpuNetwork)
    batch = window(made.plan, 1)
    network(batch)
    assert network.backend == "torch"
    assert network._done == pytest.approx(multiply_adds(made.build(), batch))
    # Three windows are worth it now.
    monkeypatch.setattr(backends, "WORTH", 2.5 * network._done / torch.get_num_threads())
    network(batch)
    assert network.backend == "torch"
    network(batch)
    assert network.backend.startswith("OpenVINO")


def test_torch_computes_where_it_is_asked_for_and_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    made = package(plan())
    assert isinstance(backend_networks([made], CPU, "torch")[0], nn.Module)
    monkeypatch.setattr(openvino, "installed", lambda: None)
    assert isinstance(backend_networks([made], CPU, "auto")[0], nn.Module)
    assert isinstance(backend_networks([made], torch.device("meta"), "auto")[0], nn.Module)


def test_backends_that_are_not_there_are_told_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, model_file: Path
) -> None:
    with pytest.raises(UsageError, match="choose one of: auto, openvino, torch"):
        load_model(model_file, backend="onnx")
    monkeypatch.setattr(openvino, "installed", lambda: None)
    with pytest.raises(UsageError, match=r"pip install 'vesal\[openvino\]'"):
        load_model(model_file, device="cpu", backend="openvino")
    with pytest.raises(UsageError, match="--device cpu"):
        backend_networks([package(plan())], torch.device("meta"), "openvino")


# --- where it cannot ----------------------------------------------------------------------------------------


def refused(network: nn.Module, batch: Tensor, caplog: pytest.LogCaptureFixture) -> str:
    """The backend's name after torch has taken over, once its logits are found right and the log to say so."""
    made = CpuNetwork(network, "1.2", backends._Turn(), 0.0, True)
    for _ in range(2):
        assert torch.equal(made(batch), network(batch).detach())
    assert len(caplog.records) == 1
    assert "torch predicts in place of OpenVINO 1.2" in caplog.text
    return made.backend


@needs_openvino
def test_other_numbers_than_torchs_are_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = openvino._inferred
    monkeypatch.setattr(openvino, "_inferred", lambda request, window: real(request, window) * 1.01)
    name = refused(package(plan()).build(), window(plan()), caplog)
    assert "differ" in name
    assert name.startswith("torch (not OpenVINO 1.2: ")


@needs_openvino
def test_a_network_that_cannot_be_converted_is_left_to_torch(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(np.sort(x.numpy(), axis=-1)) + torch.special.bessel_j0(x)

    assert "torch" in refused(Odd().eval(), window(plan()), caplog)


@needs_openvino
def test_windows_that_do_not_fit_the_strides_are_left_to_torch(caplog: pytest.LogCaptureFixture) -> None:
    network = package(plan()).build()
    name = refused(network, torch.randn(1, 1, 18, 16, 16), caplog)
    assert "no multiples" in name


def test_short_memory_leaves_the_rest_to_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def short(*_: object) -> None:
        raise openvino._brief(RuntimeError("Exception from src/core.cpp:1\nstd::bad_alloc"))

    monkeypatch.setattr(openvino, "Compiled", short)
    assert "memory does not suffice" in refused(package(plan()).build(), window(plan()), caplog)


# --- nothing is sent ----------------------------------------------------------------------------------------

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
        "PYTHONPATH": str(package.parent),
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
