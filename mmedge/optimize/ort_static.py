"""8 bits for ONNX Runtime with measured ranges, as Q/DQ pairs: activations unsigned and asymmetric, weights signed and per channel (U8S8, fast on x86).

In a transformer only products with constant matrices are rounded, and give fp32: attention, norms and what follows them stay as they are. In a convolutional
graph everything that has an integer kernel is, so that tensors stay in 8 bits from one operator to the next.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.optimize import proto
from mmedge.optimize.integer import is_transformer, ort_operators, saturates, weights_of
from mmedge.optimize.lookups import rest_in_8_bits, rows_in_8_bits
from mmedge.optimize.made import Feeding, Made, hold, refusing
from mmedge.optimize.ranges import ranges
from mmedge.quantization import Quantize, Static, name_of
from mmedge.runner import Graph

PRODUCTS = ["MatMul", "Gemm"]
CONVOLUTIONAL = [*PRODUCTS, "Conv", "ConvTranspose", "Add", "Mul", "Clip", "Relu", "LeakyRelu", "Sigmoid", "MaxPool", "AveragePool", "GlobalAveragePool"]
CONVOLUTIONAL += ["Concat", "Resize", "Pad", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"]
FUSED = {"Add", "Clip", "Relu"}
"""What ONNX Runtime makes one with the product before it: of both together it has no kernel with integer weights that gives fp32."""
UNROUNDED = {"Clip", "Relu", "MaxPool", "Pad", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"}
"""What gives the numbers that it takes adds no error of its own, and hands on that of what it takes."""


def make(graph: Graph, feeds: Feeding, out: Path, options: Quantize, keep: Collection[str] = ()) -> Made:
    """Raises MmedgeError as ``Maker.make``."""
    assert isinstance(options, Static)
    begin = time.perf_counter()
    tool, quantizers = need("onnxruntime.quantization", extra="build"), need("onnxruntime.quantization.qdq_quantizer", extra="build")
    model = proto.load(graph)
    weighted = weights_of(model)
    rows_in_8_bits(model, keep)
    proto.tidy(model)
    with refusing("onnxruntime", graph):
        types, every = able(model)
        exact, beside = _exact(model, keep)
        nodes = [node for node in every if node.name not in exact | beside]
        if not nodes:
            raise MmedgeError(f"{graph.path.name} has no weights to quantize", "leave this method out for this graph")
        constants = {tensor.name for tensor in model.graph.initializer}
        touched = {name for node in nodes for name in (*node.input, *node.output)}
        found = ranges(model, touched, feeds, options)
        nodes = [node for node in nodes if all(name in found or name in constants for name in (node.input[0], node.output[0]))]  # others reckon with shapes
        inferred = need("onnxruntime.quantization.quant_utils", extra="build").save_and_reload_model_with_shape_infer(model)
        settings: dict[str, Any] = {"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": PRODUCTS if types == PRODUCTS else []}
        unsigned, signed, names = tool.QuantType.QUInt8, tool.QuantType.QInt8, [node.name for node in nodes]
        quantizer = quantizers.QDQQuantizer(inferred, True, saturates(), signed, unsigned, found, names, [], types, settings)
        quantizer.quantize_model()
        made = quantizer.model.model
        _unrounded(made, names, exact)
        proto.unmark(made)
        stored = rest_in_8_bits(made, keep)
        file, weights = proto.save(made, graph, out, name_of(options))
        operators = ort_operators(file)
    still = weights_of(made)
    left = tuple(name for name in weighted if name in {*still, *stored})
    return hold(Made(file, weights, "int8", name_of(options), left, operators.total(), time.perf_counter() - begin), graph)


def able(model: Any) -> tuple[list[str], list[Any]]:
    """The operators that are rounded in a graph of its kind, and the nodes."""
    weighted, transformer = weights_of(model), is_transformer(model)
    products = transformer and any(node.op_type in PRODUCTS for node in model.graph.node if node.name in weighted)
    types = PRODUCTS if products else CONVOLUTIONAL
    return types, [node for node in model.graph.node if node.op_type in types and (node.name in weighted or not transformer)]


def _exact(model: Any, keep: Collection[str]) -> tuple[set[str], set[str]]:
    """(nodes that take what they take as it is: those that are kept, and what hands numbers on to them; what is in float too, so that it gives them so).

    Products give fp32 with integer weights, but for those before ``FUSED``; of nothing else has ONNX Runtime a kernel for that.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    exact, beside = set(keep), set[str]()
    waiting = [node for node in model.graph.node if node.name in keep]
    while waiting:
        node = waiting.pop()
        for maker in filter(None, map(makers.get, node.input)):
            if maker.op_type in UNROUNDED and maker.name not in exact:
                exact.add(maker.name)
                waiting.append(maker)
            elif maker.op_type not in PRODUCTS or node.op_type in FUSED:
                beside.add(maker.name)
    return exact, beside


def _unrounded(model: Any, integer: Collection[str], exact: Collection[str]) -> None:
    """Let what stays in fp32 take what stays in fp32 as it is: the tool lets all that take a tensor take it rounded, where one of them does.

    Args:
        integer: nodes that were quantized.
        exact: nodes that take what those give before it is rounded, too.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.name in integer or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for index, name in enumerate(node.input):
            back = makers.get(name)
            there = makers.get(back.input[0]) if back is not None and back.op_type == "DequantizeLinear" else None
            if there is not None and (node.name in exact or there.input[0] not in makers or makers[there.input[0]].name not in integer):
                node.input[index] = there.input[0]
