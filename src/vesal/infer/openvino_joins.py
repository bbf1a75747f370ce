"""Rewrites an OpenVINO graph so that the large joins of a U-Net's decoder are computed without being joined.

A decoder's stage upsamples v to u by a transposed convolution, joins u with the skip s, and convolves: W * [u, s].
That is W_u * u + W_s * s, which needs no copy of both; and W_u * (U ^ v), a convolution of a transposed convolution,
is one transposed convolution of v with a larger kernel, which needs no u at all and, for kernels of 3 and strides of
2, a little over half of its multiplications: 8 of v's channels in place of 27 of u's and 1 of v's, where v has twice
as many. The largest tensors in memory at once are two of the highest resolution's in place of four. The numbers are
the same up to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: A join is taken apart where it holds so many times the numbers of the weights, of which new ones are made.
_LARGE = 4


def without_joins(model: Any) -> None:
    """Take the large joins in an openvino.Model of static shapes apart, in place."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        join, weights = (node.input_value(index).get_node() for index in (0, 1))
        if join.get_type_name() != "Concat" or weights.get_type_name() != "Constant":
            continue
        if not _single(join) or join.get_attributes()["axis"] != 1:
            continue
        if int(np.prod(join.output(0).shape)) >= _LARGE * weights.data.size:
            _take_apart(node, join, weights.data)
    model.validate_nodes_and_infer_types()


def _take_apart(convolution: Any, join: Any, weights: NDArray[np.float32]) -> None:
    from openvino import opset11

    known = convolution.get_attributes()
    settings = [known[name] for name in ("strides", "pads_begin", "pads_end", "dilations")]
    total, first = None, 0
    for part in join.input_values():
        last = first + part.shape[1]
        own = np.ascontiguousarray(weights[:, first:last])
        up = part.get_node()
        if _can_be_combined(up, known, weights.shape[2:]):
            combined = combined_kernel(_tensor(up.input_value(1).get_node().data), _tensor(own)).numpy()
            sides = [size // 2 for size in weights.shape[2:]]
            strides = list(up.get_attributes()["strides"])
            term = opset11.convolution_backprop_data(
                up.input_value(0), opset11.constant(combined), strides, None, sides, sides, [1] * len(sides)
            )
        else:
            term = opset11.convolution(part, opset11.constant(own), *settings, known["auto_pad"].lower())
        total = term if total is None else opset11.add(total, term)
        first = last
    assert total is not None
    convolution.output(0).replace(total.output(0))


def combined_kernel(up: Tensor, weights: Tensor) -> Tensor:
    """The kernel of one transposed convolution that does what a transposed convolution and a convolution do.

    Args:
        up: (C, M, *stride) of the transposed convolution, whose kernels do not overlap.
        weights: (K, M, *size) of the convolution behind it, with odd sizes, padded by size // 2.

    Returns:
        (C, K, *(stride + size - 1)), to be used with the same strides and a padding of size // 2.
    """
    strides, size = up.shape[2:], weights.shape[2:]
    every = torch.tensordot(up, weights, dims=([1], [1]))  # (C, *stride, K, *size)
    lengths = [step + taps - 1 for step, taps in zip(strides, size, strict=True)]
    combined = up.new_zeros((len(up), len(weights), *lengths))
    for tap in np.ndindex(*size):
        where = [slice(n - 1 - i, n - 1 - i + step) for i, n, step in zip(tap, size, strides, strict=True)]
        combined[(slice(None), slice(None), *where)] += every[(..., *tap)].movedim(-1, 1)
    return combined


def _can_be_combined(up: Any, convolution: dict[str, Any], size: tuple[int, ...]) -> bool:
    """Whether `up` is a transposed convolution without overlap for this convolution alone, which keeps the size."""
    if up.get_type_name() != "ConvolutionBackpropData" or up.get_input_size() != 2 or not _single(up):
        return False
    kernel = up.input_value(1).get_node()
    if kernel.get_type_name() != "Constant":
        return False
    known = up.get_attributes()
    return (
        list(kernel.data.shape[2:]) == list(known["strides"])
        and not any([*known["pads_begin"], *known["pads_end"], *known["output_padding"]])
        and {*known["dilations"], *convolution["strides"], *convolution["dilations"]} == {1}
        and known["auto_pad"].lower() == convolution["auto_pad"].lower() == "explicit"
        and all(count % 2 for count in size)
        and list(convolution["pads_begin"]) == list(convolution["pads_end"]) == [n // 2 for n in size]
    )


def _single(node: Any) -> bool:
    """Whether one node alone reads this one."""
    return len(node.output(0).get_target_inputs()) == 1


def _tensor(weights: NDArray[np.float32]) -> Tensor:
    # A copy: the library's constants are read-only.
    return torch.from_numpy(np.array(weights))
