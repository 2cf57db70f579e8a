"""8 bits for TensorRT, as Q/DQ pairs by its own rules: signed and symmetric throughout (zero point 0), weights per channel, activations per tensor.

TensorRT does what the pairs say: one that is missing leaves an operator in high precision, one too many costs time. So they stand before operators with weights
alone, and where a convolution's result is added to a shortcut, on the shortcut, which makes the sum a part of the convolution; none stands around attention,
norms and activation functions (NVIDIA, "Working with quantized types"), nor around what ModelOpt finds no kernels for: narrow matrices and some small
convolutions. ModelOpt leaves out vectors times matrices, too: here they are in, since their time goes to reading weights. A table that rows are looked up in is
stored in 8 bits, and looked up in what that is turned back into. The rest is in fp16 where the graph can be, see ``nvidia_half``.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.need import need
from mmedge.optimize import nvidia_half, proto
from mmedge.optimize.integer import weights_of
from mmedge.optimize.lookups import tables
from mmedge.optimize.made import Feeding, Made, hold, refusing
from mmedge.optimize.ranges import ranges
from mmedge.quantization import Quantize, Static, name_of
from mmedge.runner import Graph
from mmedge.tensors import Array

Floats = NDArray[np.floating]

LEAST = 16
"""Channels, or rows and columns: below, tensor cores have nothing to do."""
LARGEST = 127
STEP, SIDE = 8, 3
"""A convolution with fewer channels has kernels where one number of them is a multiple of ``STEP``; in groups, from a kernel of this side on."""


def make(graph: Graph, feeds: Feeding, out: Path, options: Quantize, keep: Collection[str] = ()) -> Made:
    """Raises MmedgeError as ``Maker.make``."""
    assert isinstance(options, Static)
    begin = time.perf_counter()
    with refusing("onnx", graph):
        model = nvidia_half.load(graph)
    weighted = weights_of(model)
    with refusing("mmedge", graph):
        stored = tables(model, keep)
        able = [node for node in model.graph.node if node.name in weighted and node.name not in keep]
        chosen = {node.name: node for node in able if channel_axis(model, node) is not None}
        tied = [node for table in stored for node in table.products]
        shortcuts = {tensor: node for node in model.graph.node if (tensor := _shortcut(model, node, set(chosen)))}
        tensors = {node.input[0] for node in (*chosen.values(), *tied)} | set(shortcuts)
        found = ranges(model, tensors, feeds, options, symmetric=True)
        pairs = {name: _pair(model, name, float(np.abs(found[name].range_value).max())) for name in sorted(tensors)}
        for node in chosen.values():
            node.input[0] = pairs[node.input[0]]
            node.input[1] = weight_in_8_bits(model, node.input[1], channel_axis(model, node) or 0)
        for node in tied:
            node.input[0] = pairs[node.input[0]]
        for table in stored:
            instead(model, table.name, weight_in_8_bits(model, table.name, 0))
        for tensor, node in shortcuts.items():
            node.input[:] = [pairs[tensor] if name == tensor else name for name in node.input]
        file, weights = nvidia_half.save(model, graph, out, f"nvidia-{name_of(options)}")
    still = weights_of(model)
    left = tuple(name for name in weighted if name in still)
    integer = len(chosen) + len(tied)
    return hold(Made(file, weights, "int8", name_of(options), left, integer, time.perf_counter() - begin), graph)


def channel_axis(model: Any, node: Any) -> int | None:
    """Which axis of a node's weight its output channels are; None of what is not worth rounding, or no constant of the file."""
    onnx = need("onnx", extra="build")
    shape = next((tuple(tensor.dims) for tensor in model.graph.initializer if tensor.name == node.input[1]), None)
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if shape is None:
        return None
    if node.op_type == "Conv":
        return 0 if _has_kernels(shape[:2], shape[2:], attributes.get("group", 1)) else None
    if node.op_type in ("MatMul", "Gemm") and len(shape) == 2 and min(shape) >= LEAST and not attributes.get("transA", 0):
        return 0 if attributes.get("transB", 0) else 1
    return None


def _has_kernels(channels: tuple[int, ...], sides: tuple[int, ...], groups: int) -> bool:
    """Whether TensorRT has kernels of integers for a convolution (ModelOpt, ``find_nodes_from_convs_to_exclude``)."""
    if min(channels) >= LEAST:
        return True
    if groups == 1:
        return max(channels) >= LEAST and any(count % STEP == 0 for count in channels) and len(set(sides)) == 1
    return channels[0] % STEP == 0 and min(sides) >= SIDE


def _shortcut(model: Any, node: Any, chosen: set[str]) -> str:
    """The other summand, where one of two is the result of a convolution that nothing else takes; empty otherwise."""
    if node.op_type != "Add":
        return ""
    constants = {tensor.name for tensor in model.graph.initializer}
    sums = [name for name in node.input if _only_for(model, name, chosen)]
    others = [name for name in node.input if name not in sums and name not in constants]
    return others[0] if len(sums) == 1 and len(others) == 1 else ""


def _only_for(model: Any, tensor: str, chosen: set[str]) -> bool:
    """Whether a tensor is the result of a chosen convolution, and taken once."""
    made = any(tensor in node.output and node.op_type == "Conv" and node.name in chosen for node in model.graph.node)
    return made and sum(list(node.input).count(tensor) for node in model.graph.node) == 1


def _pair(model: Any, tensor: str, largest: float) -> str:
    """Round a tensor to 8 bits and back; returns what it then is called."""
    onnx = need("onnx", extra="build")
    scale = proto.constant(model, f"{tensor}_scale", nvidia_half.scales_for(np.float32(largest), LARGEST))
    zero = proto.constant(model, f"{tensor}_zero_point", np.int8(0))
    integer, back = f"{tensor}_quantized", f"{tensor}_dequantized"
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", [tensor, scale, zero], [integer], name=f"{tensor}_QuantizeLinear"))
    model.graph.node.append(onnx.helper.make_node("DequantizeLinear", [integer, scale, zero], [back], name=f"{tensor}_DequantizeLinear"))
    return back


def weight_in_8_bits(model: Any, weight: str, axis: int) -> str:
    """Store a weight as int8 with a DequantizeLinear behind it, one for all its users; returns what that gives."""
    onnx = need("onnx", extra="build")
    back = f"{weight}_dequantized"
    if any(back in node.output for node in model.graph.node):
        return back
    tensor = next(one for one in model.graph.initializer if one.name == weight)
    numbers, scales = symmetric(onnx.numpy_helper.to_array(tensor), axis)
    names = [
        proto.constant(model, f"{weight}_{part}", array)
        for part, array in (("quantized", numbers), ("scale", scales), ("zero_point", scales.astype(np.int8) * 0))
    ]
    model.graph.node.append(onnx.helper.make_node("DequantizeLinear", names, [back], name=f"{weight}_DequantizeLinear", axis=axis))
    return back


def instead(model: Any, weight: str, made: str) -> None:
    """Let all that takes a weight take ``made``."""
    for node in model.graph.node:
        node.input[:] = [made if name == weight else name for name in node.input]


def symmetric(weight: Floats, axis: int) -> tuple[Array, Array]:
    """int8 of the same shape, and a float32 scale for every channel of an axis."""
    others = tuple(number for number in range(weight.ndim) if number != axis)
    largest = np.abs(weight).max(axis=others)
    scales = nvidia_half.scales_for(largest, LARGEST)
    spread = scales.reshape([-1 if number == axis else 1 for number in range(weight.ndim)])
    return np.clip(np.rint(weight / spread), -LARGEST, LARGEST).astype(np.int8), scales
