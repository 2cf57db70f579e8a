"""Weights alone in 8 or 4 bits for TensorRT: a DequantizeLinear behind each matrix and table, none on activations. The rest as ``nvidia_half`` has it.

4 bits need opset 21, whatever the graph was exported in: the variant has its own.
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
from mmedge.optimize.lookups import Table, tables
from mmedge.optimize.made import Feeding, Made, hold, refusing
from mmedge.optimize.nvidia_static import channel_axis, instead, weight_in_8_bits
from mmedge.quantization import Quantize, WeightOnly, name_of
from mmedge.runner import Graph
from mmedge.tensors import Array

Floats = NDArray[np.floating]

LARGEST = 7
BLOCKED_OPSET = 21
"""The first in which weights of 4 bits have a scale for every block."""


def make(graph: Graph, feeds: Feeding, out: Path, options: Quantize, keep: Collection[str] = ()) -> Made:
    """``feeds`` are not looked at. Raises MmedgeError as ``Maker.make``."""
    assert isinstance(options, WeightOnly)
    begin = time.perf_counter()
    with refusing("onnx", graph):
        model = nvidia_half.load(graph, BLOCKED_OPSET if options.bits == 4 else 0)
        weighted = weights_of(model)
        chosen = [name for table in tables(model, keep) for name in _table(model, table, options)]
        for node in [node for node in model.graph.node if node.name in weighted and node.name not in keep and node.op_type in ("MatMul", "Gemm")]:
            axis = channel_axis(model, node)
            made = _weight(model, node.input[1], axis, options) if axis is not None else ""
            if made:
                node.input[1] = made
                chosen.append(node.name)
        file, weights = nvidia_half.save(model, graph, out, f"nvidia-{name_of(options)}")
    still = weights_of(model)
    left = tuple(name for name in weighted if name in still)
    precision = "int4" if options.bits == 4 else "int8"
    return hold(Made(file, weights, precision, name_of(options), left, len(chosen), time.perf_counter() - begin), graph)  # type: ignore[arg-type]


def _table(model: Any, table: Table, options: WeightOnly) -> list[str]:
    """Store a table once, for lookups and for products by its transpose; returns the names of what uses it."""
    made = _weight(model, table.name, 0, options)
    if made:
        instead(model, table.name, made)
    return [node.name for node in (*table.looked_up, *table.products) if made]


def _weight(model: Any, weight: str, channels: int, options: WeightOnly) -> str:
    """Store a matrix; returns what it then is called, empty where it is no whole number of blocks, or of bytes in a row."""
    if options.bits == 8:
        return weight_in_8_bits(model, weight, channels)
    onnx = need("onnx", extra="build")
    back = f"{weight}_dequantized"
    if any(back in node.output for node in model.graph.node):
        return back
    array = onnx.numpy_helper.to_array(next(one for one in model.graph.initializer if one.name == weight))
    axis = 1 - channels
    if array.shape[axis] % options.block_size or array.shape[1] % 2:
        return ""
    numbers, scales = blocked(array, axis, options.block_size)
    name = proto.constant(model, f"{weight}_scale", scales)
    flat = numbers.reshape(-1).view(np.uint8)
    halves = (flat[0::2] & 15) | (flat[1::2] << 4)
    packed = onnx.helper.make_tensor(f"{weight}_quantized", onnx.TensorProto.INT4, array.shape, halves.tobytes(), raw=True)
    model.graph.initializer.append(packed)
    attributes = {"axis": axis, "block_size": options.block_size}
    model.graph.node.append(onnx.helper.make_node("DequantizeLinear", [packed.name, name], [back], name=f"{weight}_DequantizeLinear", **attributes))
    return back


def blocked(matrix: Floats, axis: int, block_size: int) -> tuple[Array, Array]:
    """Numbers from -7 to 7 as int8, of the same shape, and float32 scales: one for every ``block_size`` numbers along the axis."""
    turned = matrix if axis == 1 else matrix.T
    blocks = turned.reshape(turned.shape[0], -1, block_size)
    largest = np.abs(blocks).max(axis=2)
    scales = nvidia_half.scales_for(largest, LARGEST)
    numbers = np.clip(np.rint(blocks / scales[:, :, None]), -LARGEST, LARGEST).astype(np.int8).reshape(turned.shape)
    return (numbers, scales) if axis == 1 else (np.ascontiguousarray(numbers.T), np.ascontiguousarray(scales.T))
