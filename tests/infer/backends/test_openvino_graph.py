"""Rewrites of the OpenVINO graph keep the numbers: norms of large windows, joins, combined kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_model import needs_openvino, package, plan, window

from vesal.infer.backends import openvino
from vesal.infer.backends.openvino_graph import combined_kernel, without_joins
from vesal.planning.plan import Stage


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
    combined = torch.from_numpy(combined_kernel(up.numpy(), weights.numpy()))
    found = transposed(v, combined, stride=stride, padding=sides)
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
