"""The CPU's own functions give torch's numbers, forward and backward."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vesal.nn.blocks import Bricks, ConvNormAct
from vesal.nn.cpu import instance_norm as cpu

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN; its own modules are used"
)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 8, 4, 6, 2), (1, 1, 3, 5, 3), (2, 70, 1, 2, 2)])
@pytest.mark.parametrize("slope", [0.01, 0.0, 1.0])
def test_the_gradient_of_norm_and_activation_is_that_of_finite_differences(
    shape: tuple[int, ...], slope: float
) -> None:
    torch.manual_seed(0)
    norm = {4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}[len(shape)](shape[1], affine=True).double()
    inputs = [
        torch.randn(shape).double(),
        torch.rand(shape[1]).double() + 0.5,
        torch.randn(shape[1]).double(),
    ]

    def function(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return cpu._InstanceNormAct.apply(x, weight, bias, norm.eps, slope)

    assert torch.autograd.gradcheck(function, [tensor.requires_grad_() for tensor in inputs], fast_mode=True)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("offset", [0, 100])
def test_norm_and_activation_are_torchs_up_to_rounding(
    memory_format: torch.memory_format, offset: float
) -> None:
    torch.manual_seed(0)
    norm = nn.InstanceNorm3d(6, affine=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    ours = (torch.randn(2, 6, 12, 9, 16) + offset).to(memory_format=memory_format).requires_grad_()
    theirs = ours.detach().double().requires_grad_()
    exact = nn.InstanceNorm3d(6, affine=True).double()
    exact.load_state_dict(norm.state_dict())
    y, expected = cpu.instance_norm_act(ours, norm, 0.01), F.leaky_relu(exact(theirs), 0.01)
    close = 2e-6 if offset == 0 else 3e-5  # 1e-7 of the offset is lost before anyone could help
    assert (y - expected).abs().max() < close
    gradient = torch.randn(y.shape)
    y.backward(gradient)
    expected.backward(gradient.double())
    for mine, true in [(ours, theirs), (norm.weight, exact.weight), (norm.bias, exact.bias)]:
        assert mine.grad is not None
        assert true.grad is not None
        assert (mine.grad - true.grad).norm() / true.grad.norm() < 1e-3 * (1 + offset / 10)


def test_other_ways_of_computing_take_torchs_modules() -> None:
    x = torch.zeros(1, 2, 4, 4)
    assert cpu.applies(x)
    assert not cpu.applies(x.bfloat16())
    assert not cpu.applies(x.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not cpu.applies(x)


@pytest.mark.parametrize("activation", ["leaky_relu", "relu"])
def test_a_block_gives_the_same_with_and_without(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block = ConvNormAct(Bricks(3, activation=activation), 3, 8, (3, 3, 3))
    x = cpu.channels_last(torch.randn(2, 3, 6, 5, 4))
    before = x.clone()
    fast = block(x)
    with torch.no_grad():
        torch.testing.assert_close(block(x), fast, rtol=0, atol=0)
    assert torch.equal(x, before)
    monkeypatch.setattr(cpu, "applies", lambda x: False)
    torch.testing.assert_close(fast, block(x))


def test_keeping_memory_is_possible_with_glibc_and_harmless_elsewhere() -> None:
    code = (
        "from vesal.nn.cpu.instance_norm import keep_memory; import torch; "
        "print(keep_memory(), torch.ones(1 << 20).sum().item())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert out[0] == str(platform.libc_ver()[0] == "glibc")
    assert float(out[1]) == 1 << 20
