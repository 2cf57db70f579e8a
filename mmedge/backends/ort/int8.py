"""A graph's output matrix in 8 bits: what a decoder reads most of in every step is the matrix over its vocabulary.

Weights are stored in blocks of 32 with a scale each. Every other matrix stays as it is, so that the caches,
which feed back, carry no error of it. The result must hold the bound of half precision against fp32.
"""

from __future__ import annotations

import os
import shutil
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.backends.ort import nbits
from mmedge.need import need
from mmedge.runner import Graph

LARGE_BYTES = 16 << 20
"""Below this size reading a matrix costs too little to be worth a rounding error."""
FLOAT, FLOAT_BYTES = 1, 4
"""ONNX's number of float32, and its size."""
BLOCK = 32


def has_large_matrix(graph: Graph) -> bool:
    """Whether there is anything in the graph that 8 bits would make faster. A file that is no ONNX has nothing."""
    if graph.size_bytes < LARGE_BYTES:
        return False
    return bool(_large(need("onnx", extra="build").load(str(graph.path), load_external_data=False)))


def quantize(graph: Graph, out: Path) -> None:
    """Write the graph to ``out``, its large matrices in 8 bits. What else lies in a weights file stays there: a link to it is put beside ``out``."""
    onnx = need("onnx", extra="build")
    model = onnx.load(str(graph.path), load_external_data=False)
    nodes = _large(model)
    for node in nodes:
        _own_factor(onnx, model, node, graph.path.parent)
    quantized = nbits.in_blocks(model, {node.name for node in nodes}, 8, BLOCK)
    outputs = {value.name for value in quantized.graph.output}
    used = {name for node in quantized.graph.node for name in node.input}
    for unused in [node for node in quantized.graph.node if not (used | outputs) & set(node.output)]:
        quantized.graph.node.remove(unused)
    used = {name for node in quantized.graph.node for name in node.input}
    for weight in [tensor for tensor in quantized.graph.initializer if tensor.name not in used]:
        quantized.graph.initializer.remove(weight)
    onnx.save(quantized, str(out))
    if graph.weights and not (beside := out.parent / graph.weights.name).exists():
        try:
            os.link(graph.weights, beside)
        except OSError:  # a file system without links
            shutil.copyfile(graph.weights, beside)


def _large(model: Any) -> list[Any]:
    """The MatMul nodes whose second factor is a large constant, or the transpose of one (an output matrix tied to the embedding)."""
    sizes = {tensor.name: prod(tensor.dims) * FLOAT_BYTES for tensor in model.graph.initializer if tensor.data_type == FLOAT}
    sizes |= {node.output[0]: sizes[node.input[0]] for node in model.graph.node if node.op_type == "Transpose" and node.input[0] in sizes}
    return [node for node in model.graph.node if node.op_type == "MatMul" and sizes.get(node.input[1], 0) >= LARGE_BYTES]


def _own_factor(onnx: Any, model: Any, node: Any, folder: Path) -> None:
    """Give ``node`` its factor as a constant of its own: the tool takes no computed one, and none from another file."""
    source = next((other for other in model.graph.node if node.input[1] in other.output), None)
    name = source.input[0] if source else node.input[1]
    order = next((tuple(attribute.ints) for attribute in source.attribute if attribute.name == "perm"), None) if source else (0, 1)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    matrix = onnx.numpy_helper.to_array(weight, base_dir=str(folder)).transpose(order)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(matrix), f"{node.name}_weight"))
    node.input[1] = f"{node.name}_weight"
