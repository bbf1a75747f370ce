"""What computes the networks: the same masks whatever it is, nothing sent, and torch where OpenVINO cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import CPU, needs_openvino, package, plan, scan, window
from torch import Tensor, nn

from vesal.errors import UsageError
from vesal.infer.backends import openvino
from vesal.infer.backends import registry as backends
from vesal.infer.backends.registry import CpuNetwork, backend_networks, in_bfloat16
from vesal.infer.model import backend_name
from vesal.infer.predictor import load_model
from vesal.nn.cpu.bfloat16 import computes_bfloat16
from vesal.nn.model_file import save_package
from vesal.volume.io import read_volume

# --- the same numbers -------------------------------------------------------------------------------------


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
def test_each_size_and_number_of_threads_is_compiled_once_and_few_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[int, ...]] = []
    real = openvino.Compiled

    def noted(
        network: nn.Module, shape: tuple[int, ...], threads: int, *, bfloat16: bool
    ) -> openvino.Compiled:
        made.append((*shape, threads))
        return real(network, shape, threads, bfloat16=bfloat16)

    monkeypatch.setattr(openvino, "Compiled", noted)
    (network,) = backend_networks([package(plan())], CPU, "openvino")
    for size in (16, 16, 24, 32, 32):
        network(torch.zeros(1, 1, size, 16, 16))
    assert [shape[1] for shape in made] == [16, 24, 32]
    assert network._compile.cache_info().currsize == 2  # type: ignore[attr-defined]


# --- bfloat16 ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not computes_bfloat16(), reason="this processor does not compute bfloat16")
@pytest.mark.parametrize("backend", ["torch", pytest.param("openvino", marks=needs_openvino)])
def test_in_bfloat16_logits_are_those_of_float32_to_three_digits(backend: str) -> None:
    made = package(plan())
    (network,) = backend_networks([made], CPU, backend, [True])
    batch = window(made.plan)
    with torch.inference_mode():
        expected = made.build()(batch)
    found = network(batch)
    assert found.dtype is torch.float32
    assert backend_name([network]).endswith(" in bfloat16")
    difference = float((found - expected).abs().max() / (expected.max() - expected.min()))
    assert 1e-4 < difference < 0.05


@pytest.mark.parametrize(
    ("able", "precision", "agrees", "narrow"),
    [
        (True, "auto", True, True),
        (True, "auto", False, False),
        (True, "32", True, False),
        (True, "bf16", False, True),
        (False, "auto", True, False),
    ],
)
def test_the_processor_the_model_and_the_person_decide_about_bfloat16(
    monkeypatch: pytest.MonkeyPatch, able: bool, precision: str, agrees: bool, narrow: bool
) -> None:
    monkeypatch.setattr(backends, "computes_bfloat16", lambda: able)
    assert in_bfloat16(package(plan()), CPU, precision, agrees) == narrow


def test_bfloat16_is_refused_where_it_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = package(plan())
    monkeypatch.setattr(backends, "computes_bfloat16", lambda: False)
    with pytest.raises(UsageError, match=r"This processor does not .*; leave out --precision"):
        in_bfloat16(made, CPU, "bf16", True)
    monkeypatch.setattr(backends, "computes_bfloat16", lambda: True)
    with pytest.raises(UsageError, match="Vesal on meta does not"):
        in_bfloat16(made, torch.device("meta"), "bf16", True)
    with pytest.raises(UsageError, match="choose one of: 32, auto, bf16"):
        in_bfloat16(made, CPU, "half", True)


@pytest.mark.skipif(not computes_bfloat16(), reason="this processor does not compute bfloat16")
def test_a_locator_and_networks_that_vote_follow_the_record_of_their_own_file(tmp_path: Path) -> None:
    coarse = plan(spacing_mm=(2.0, 2.0, 2.0))
    made = package(plan(locator=coarse, margin_mm=5.0))
    agreed = {"version": 1, "cases": 2, "backends": [], "dice": {"dim": 1.0}, "lost": {}}
    files = []
    for name, record in (("a", agreed), ("b", None)):
        files.append(tmp_path / f"{name}.vesal")
        weights = package(coarse).weights
        save_package(files[-1], replace(made, bfloat16=record, locator_weights=weights))
    model = load_model(files, device="cpu", backend="torch")
    assert model.locator is not None
    for group in (model, model.locator):
        assert [getattr(network, "in_bfloat16", False) for network in group.networks] == [True, False]
    assert model.digest != load_model(files, device="cpu", backend="torch", precision="32").digest
    assert model.predict(scan()).label.array.shape == (30, 40, 26)


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
    real = openvino.inferred
    monkeypatch.setattr(openvino, "inferred", lambda request, window: real(request, window) * 1.01)
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
    def short(*_: object, **__: object) -> None:
        raise RuntimeError("Exception from src/core.cpp:1\nstd::bad_alloc")

    monkeypatch.setattr(openvino, "Compiled", short)
    assert "memory does not suffice" in refused(package(plan()).build(), window(plan()), caplog)
