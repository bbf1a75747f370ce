"""Convolutions of the CPU give torch's numbers, whichever way they are computed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from vesal.nn.cpu import instance_norm as cpu
from vesal.nn.cpu import winograd
from vesal.nn.cpu.convolution import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN; its own modules are used"
)

MODULES: dict[str, tuple[Callable[[], nn.Module], type[nn.Module], tuple[int, ...]]] = {
    "3d": (lambda: Conv3d(16, 32, 3, padding=1), nn.Conv3d, (2, 16, 8, 8, 20)),
    "single volume": (lambda: Conv3d(4, 8, 3, padding=1), nn.Conv3d, (1, 4, 8, 8, 20)),
    "flat single volume": (
        lambda: Conv3d(4, 8, (1, 3, 3), padding=(0, 1, 1), bias=False),
        nn.Conv3d,
        (1, 4, 8, 8, 20),
    ),
    "flat 3d": (lambda: Conv3d(32, 16, (1, 3, 3), padding=(0, 1, 1)), nn.Conv3d, (1, 32, 5, 8, 20)),
    "2d": (lambda: Conv2d(32, 32, 3, padding=1, bias=False), nn.Conv2d, (2, 32, 16, 20)),
    "wide 2d": (lambda: Conv2d(64, 64, 3, padding=1), nn.Conv2d, (2, 64, 16, 20)),
    "strided": (lambda: Conv3d(16, 32, 3, padding=1, stride=2), nn.Conv3d, (1, 16, 8, 8, 20)),
    "groups": (lambda: Conv3d(64, 64, 3, padding=1, groups=2), nn.Conv3d, (1, 64, 8, 8, 20)),
    "dilated": (lambda: Conv2d(32, 32, 3, padding=1, dilation=2), nn.Conv2d, (2, 32, 16, 20)),
    "no padding": (lambda: Conv2d(32, 32, 3), nn.Conv2d, (2, 32, 16, 20)),
    "pointwise": (lambda: Conv3d(16, 3, 1), nn.Conv3d, (2, 16, 4, 6, 5)),
    "pointwise 2d": (lambda: Conv2d(16, 3, 1), nn.Conv2d, (2, 16, 6, 5)),
    "up": (lambda: ConvTranspose3d(32, 16, 2, stride=2), nn.ConvTranspose3d, (2, 32, 3, 4, 5)),
    "up unevenly": (
        lambda: ConvTranspose3d(16, 32, (1, 2, 3), stride=(1, 2, 3), bias=False),
        nn.ConvTranspose3d,
        (2, 16, 3, 4, 5),
    ),
    "up 2d": (lambda: ConvTranspose2d(32, 16, 2, stride=2), nn.ConvTranspose2d, (2, 32, 4, 5)),
    "up overlapping": (lambda: ConvTranspose2d(32, 16, 3, stride=2), nn.ConvTranspose2d, (2, 32, 4, 5)),
}


@pytest.mark.parametrize(("build", "theirs", "shape"), MODULES.values(), ids=MODULES)
def test_a_module_gives_torchs_outputs_and_gradients(
    build: Callable[[], nn.Module], theirs: type[nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    module = build().double()
    results = []
    for forward in (type(module).forward, theirs.forward):
        x = cpu.channels_last(torch.randn(shape, generator=torch.Generator().manual_seed(1)).double())
        x.requires_grad_()
        module.zero_grad()
        y = forward(module, x)
        y.square().sum().backward()
        with torch.no_grad():
            torch.testing.assert_close(forward(module, x), y)
        results.append([y.detach(), x.grad, *(parameter.grad for parameter in module.parameters())])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(
    "module",
    [Conv3d(4, 8, 3, padding=1), Conv3d(4, 8, 3, padding=1, stride=2, bias=False), Conv3d(4, 8, (1, 3, 3))],
)
def test_a_small_volume_alone_is_computed_as_a_batch_is(
    module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, where torch has a slow way of its own; and its gradients are those of a batch."""
    slow, real = [], nn.Conv3d.forward
    monkeypatch.setattr(nn.Conv3d, "forward", lambda *a: (slow.append(1), real(*a))[1])
    x = cpu.channels_last(torch.randn(1, 4, 12, 10, 8))
    results = []
    for forward, batch in ((type(module).forward, x), (real, torch.cat([x, x]))):
        batch = batch.clone().requires_grad_()
        module.zero_grad()
        y = forward(module, batch)
        y[:1].square().sum().backward()
        results.append([y.detach()[:1], batch.grad[:1], *(of.grad.clone() for of in module.parameters())])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(module(x), results[0][0])
    assert not slow
    module(cpu.channels_last(torch.randn(1, 4, 80, 80, 4)))
    assert slow, "torch itself takes oneDNN for a larger one"


def test_the_ways_are_chosen_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    real = winograd.convolve, winograd.gradients
    monkeypatch.setattr(winograd, "convolve", lambda *a: (taken.append("forward"), real[0](*a))[1])
    monkeypatch.setattr(winograd, "gradients", lambda *a, **k: (taken.append("back"), real[1](*a, **k))[1])

    def ways(module: nn.Module, *shape: int) -> list[str]:
        taken.clear()
        module(cpu.channels_last(torch.randn(shape))).sum().backward()
        return list(taken)

    assert ways(Conv3d(32, 32, 3, padding=1), 1, 32, 8, 8, 40) == ["forward", "back"]
    assert ways(Conv2d(32, 32, 3, padding=1), 1, 32, 40, 40) == ["back"]
    assert ways(Conv2d(64, 64, 3, padding=1), 1, 64, 40, 40) == ["forward", "back"]
    assert ways(Conv3d(8, 32, 3, padding=1), 1, 8, 8, 8, 40) == []
    assert ways(Conv3d(32, 32, 3, padding=1), 1, 32, 5, 5, 40) == []  # 39 % of the tiles lie inside
    assert ways(Conv3d(32, 32, 3, padding=1), 1, 32, 8, 8, 20) == []
    monkeypatch.setattr(cpu, "applies", lambda x: False)
    assert ways(Conv3d(32, 32, 3, padding=1), 1, 32, 8, 8, 40) == []


@pytest.mark.parametrize(
    ("shape", "kernel", "stride"),
    [
        ((1, 8, 2, 3, 2), (3, 3, 3), 1),
        ((1, 8, 2, 6, 5), (3, 3, 1), 1),
        ((2, 8, 2, 4, 4), (3, 3, 3), 1),
        ((1, 8, 4, 2, 2), (3, 3, 3), 2),
        ((1, 8, 4, 3, 7), (5, 3, 1), 1),
        ((2, 8, 3, 9, 5), (5, 3, 3), 2),
        ((1, 8, 5, 1), (3, 3), 2),
        ((1, 8, 6, 6, 6), (3, 3, 3), 1),
    ],
)
def test_gradients_in_bfloat16_are_right_where_few_voxels_are_left(
    shape: tuple[int, ...], kernel: tuple[int, ...], stride: int
) -> None:
    """As over a depth of 2, where oneDNN's own are not, whatever lay in memory before."""
    torch.manual_seed(0)
    kind = {4: Conv2d, 5: Conv3d}[len(shape)]
    module = kind(8, 16, kernel, stride=stride, padding=tuple(size // 2 for size in kernel), bias=False)
    x = torch.randn(shape, requires_grad=True)
    expected = module(x)
    gradient = torch.randn(expected.shape).bfloat16().float()
    right = torch.autograd.grad(expected, (x, module.weight), gradient)
    for _ in range(8):
        rubbish = [torch.full((1 << size,), float("nan")) for size in range(8, 18)]
        del rubbish
        with torch.autocast("cpu", torch.bfloat16):
            y = module(x)
        assert y.dtype is torch.bfloat16
        found = torch.autograd.grad(y, (x, module.weight), gradient.bfloat16())
        for mine, theirs in zip(found, right, strict=True):
            assert (mine - theirs).norm() <= 0.02 * theirs.norm()
