"""Rewrites the OpenVINO graph of a network, for digits and for memory. The numbers stay the same up to rounding.

Norms. OpenVINO's instance norm adds the voxels of a channel up in one float32: over the 2.5 million of a window of
80x192x160 it loses all but three digits, and thousands of voxels of a mask change. `exact_norms` takes means of small
blocks first, in about the same time.

Joins. A decoder's stage upsamples v to u by a transposed convolution, joins u with the skip s, and convolves: W [u, s].
That is W_u u + W_s s, which needs no copy of both; and W_u u, the convolution of a transposed convolution, is one
transposed convolution of v with a larger kernel, which needs no u at all and, for kernels of 3 and strides of 2, a
little over half of the multiplications: 8 of v's channels in place of 27 of u's and 1 of v's, where v has twice as
many. After `without_joins` the largest tensors in memory at once are two of the highest resolution's, not four.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

#: Numbers from which on a norm is rewritten: below, OpenVINO's own has an error of 5e-6 or less (AVX2).
_MANY = 1 << 15

#: Along each axis of the blocks whose means are taken first, at most; and means that may be summed up as they are.
_BLOCK, _FEW = 8, 512

#: A join is taken apart where it holds so many times the numbers of the weights, of which new ones are made.
_LARGE = 4


class ConversionError(Exception):
    """Why OpenVINO cannot take a network's place, in some words."""


def exact_norms(model: Any, above: int = _MANY) -> None:
    """Let the norms over more than `above` numbers of an openvino.Model of static shapes keep their digits, in place.

    Raises:
        ConversionError: a large norm is no instance norm, or its size has no small divisors.
    """
    from openvino.passes import ConstantFolding, Manager

    # Axes are computed from the number of axes.
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    for node in model.get_ordered_ops():
        name = node.get_type_name()
        if name not in ("MVN", "GroupNormalization"):
            continue
        shape = list(node.input_value(0).shape)
        count = int(np.prod(shape[2:]))
        if name == "GroupNormalization":
            count = count * shape[1] // node.get_attributes()["num_groups"]
        if count <= above:
            continue
        if name != "MVN" or not _over_space(node, len(shape)):
            raise ConversionError(f"its norm over {count} numbers loses digits")
        blocks = _blocks(shape[2:])
        if count // int(np.prod(blocks)) > max(above, _MANY):
            raise ConversionError(
                f"its norm over {shape[2:]} loses digits; such a size has no small divisors"
            )
        _normalise_by_blocks(node, blocks)
    model.validate_nodes_and_infer_types()


def _over_space(norm: Any, axes: int) -> bool:
    """Whether an MVN is what instance norm does, before its weights."""
    known = norm.get_attributes()
    given = norm.input_value(1).get_node()
    return (
        known["normalize_variance"]
        and known["eps_mode"].lower() == "inside_sqrt"
        and given.get_type_name() == "Constant"
        and sorted(int(axis) % axes for axis in given.data.ravel()) == list(range(2, axes))
    )


def _blocks(sizes: list[int]) -> list[list[int]]:
    """Sizes of blocks, and of blocks of their means, until few numbers are left, as far as they fit.

    >>> _blocks([96, 80, 64])
    [[8, 8, 8], [6, 5, 8]]
    """
    found = []
    while int(np.prod(sizes)) > _FEW:
        block = [max(n for n in range(1, _BLOCK + 1) if size % n == 0) for size in sizes]
        if max(block) == 1:
            break
        found.append(block)
        sizes = [size // n for size, n in zip(sizes, block, strict=True)]
    return found


def _normalise_by_blocks(norm: Any, blocks: list[list[int]]) -> None:
    from openvino import opset11

    x = norm.input_value(0)
    zeros = [0] * (len(x.shape) - 2)
    space = opset11.constant(np.arange(2, len(x.shape)))

    def mean(values: Any) -> Any:
        for block in blocks:
            values = opset11.avg_pool(values, block, zeros, zeros, block, True)
        return opset11.reduce_mean(values, space, True)

    center = mean(x)
    variance = opset11.subtract(mean(opset11.multiply(x, x)), opset11.multiply(center, center))
    # Rounded, that of a constant may be below zero.
    shifted = opset11.add(opset11.relu(variance), opset11.constant(np.float32(norm.get_attributes()["eps"])))
    deviation = opset11.sqrt(shifted)
    norm.output(0).replace(opset11.divide(opset11.subtract(x, center), deviation).output(0))


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


def _take_apart(convolution: Any, join: Any, weights: Weights) -> None:
    from openvino import opset11

    known = convolution.get_attributes()
    settings = [known[name] for name in ("strides", "pads_begin", "pads_end", "dilations")]
    total, first = None, 0
    for part in join.input_values():
        last = first + part.shape[1]
        own = np.ascontiguousarray(weights[:, first:last])
        up = part.get_node()
        if _can_be_combined(up, known, weights.shape[2:]):
            combined = combined_kernel(up.input_value(1).get_node().data, own)
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


def combined_kernel(up: Weights, weights: Weights) -> Weights:
    """The kernel of one transposed convolution that does what a transposed convolution and a convolution do.

    Args:
        up: (C, M, *stride) of the transposed convolution, whose kernels do not overlap.
        weights: (K, M, *size) of the convolution behind it, with odd sizes, padded by size // 2.

    Returns:
        (C, K, *(stride + size - 1)), to be used with the same strides and a padding of size // 2.
    """
    strides, size = up.shape[2:], weights.shape[2:]
    every = np.tensordot(up, weights, axes=([1], [1]))  # (C, *stride, K, *size)
    lengths = [step + taps - 1 for step, taps in zip(strides, size, strict=True)]
    combined = np.zeros((len(up), len(weights), *lengths), dtype=up.dtype)
    for tap in np.ndindex(*size):
        where = [slice(n - 1 - i, n - 1 - i + step) for i, n, step in zip(tap, size, strides, strict=True)]
        combined[(slice(None), slice(None), *where)] += np.moveaxis(every[(..., *tap)], -1, 1)
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
