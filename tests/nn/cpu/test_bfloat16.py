"""In bfloat16 norm and activation are float64's up to the rounding of what goes in and comes out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vesal.nn.blocks import Bricks, ConvNormAct
from vesal.nn.cpu import bfloat16
from vesal.nn.cpu.bfloat16 import bfloat16_norm_act, computes_bfloat16

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN; its own modules are used"
)

#: Half a unit in the last place of bfloat16's eight digits.
ROUNDING = 2.0**-8


@pytest.mark.parametrize("shape", [(3, 8, 12, 9), (2, 6, 12, 9, 16), (1, 40, 2, 3, 5)])
@pytest.mark.parametrize("slope", [0.01, 0.0, 1.0])
def test_norm_and_activation_are_exact_up_to_the_last_digit(shape: tuple[int, ...], slope: float) -> None:
    torch.manual_seed(0)
    norm = {4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}[len(shape)](shape[1], affine=True)
    nn.init.normal_(norm.weight, 1.0, 0.2)
    nn.init.normal_(norm.bias, 0.0, 0.2)
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}[len(shape)]
    x = (3 * torch.randn(shape) + 5).bfloat16().to(memory_format=layout).requires_grad_()
    exact = type(norm)(shape[1], affine=True).double()
    exact.load_state_dict(norm.state_dict())
    true = x.detach().double().requires_grad_()
    y = bfloat16_norm_act(x, norm, slope)
    expected = F.leaky_relu(exact(true), slope)
    assert y.dtype is torch.bfloat16
    assert y.is_contiguous(memory_format=layout)
    assert ((y - expected).abs() <= ROUNDING * expected.abs() + 1e-3).all()
    gradient = torch.randn(shape).bfloat16()
    y.backward(gradient)
    expected.backward(gradient.double())
    for mine, right in [(x, true), (norm.weight, exact.weight), (norm.bias, exact.bias)]:
        assert mine.grad is not None
        assert right.grad is not None
        assert mine.grad.dtype is mine.dtype
        assert (mine.grad - right.grad).norm() <= 4 * ROUNDING * right.grad.norm()


def test_a_block_under_autocast_keeps_channels_last_and_float32_s_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    block = ConvNormAct(Bricks(3), 16, 8, (3, 3, 3))
    x = torch.randn(2, 16, 8, 8, 6).to(memory_format=torch.channels_last_3d)
    used = []
    monkeypatch.setattr(
        "vesal.nn.blocks.bfloat16_norm_act", lambda *of: used.append(of) or bfloat16_norm_act(*of)
    )
    exact = block(x)
    assert not used
    with torch.autocast("cpu", torch.bfloat16):
        narrow = block(x)
    assert used
    assert narrow.dtype is torch.bfloat16
    assert narrow.is_contiguous(memory_format=torch.channels_last_3d)
    assert (narrow - exact).norm() <= 4 * ROUNDING * exact.norm()


@pytest.mark.parametrize(
    ("amx", "avx512", "onednn", "expected"),
    [
        (True, False, True, True),
        (False, True, True, True),
        (False, False, True, False),
        (True, True, False, False),
    ],
)
def test_a_processor_has_it_by_amx_or_avx512_and_with_onednn(
    amx: bool, avx512: bool, onednn: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(bfloat16, "_onednn_may", lambda: onednn)
    assert computes_bfloat16() is expected


@pytest.mark.parametrize("there", [True, False])
def test_onednn_is_asked_whether_it_may(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: there)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    assert bfloat16._onednn_may() is there
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False, raising=False)
    assert not bfloat16._onednn_may()


def test_a_torch_that_does_not_tell_has_it_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert bfloat16.computes_bfloat16() is False
