"""Weights alone in blocks of 4 or 8 bits for ONNX Runtime: constant matrices by MatMulNBits, tables by the same bytes with a lookup that unpacks its rows."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.backends.ort import nbits
from mmedge.need import need
from mmedge.optimize import proto
from mmedge.optimize.integer import ort_operators, weights_of
from mmedge.optimize.lookups import Table, rest_in_8_bits, tables
from mmedge.optimize.made import Feeding, Made, hold, refusing
from mmedge.quantization import Quantize, WeightOnly, name_of
from mmedge.runner import Graph

LEAST = 16
"""Matrices that are narrower on one side have nothing to gain."""
WIDE = 64
"""Numbers with a common scale, of 8 bits: for fewer the scales take an eighth of the file, and nothing is nearer."""


def make(graph: Graph, feeds: Feeding, out: Path, options: Quantize, keep: Collection[str] = ()) -> Made:
    """``feeds`` are not looked at. Raises MmedgeError as ``Maker.make``."""
    assert isinstance(options, WeightOnly)
    begin, method = time.perf_counter(), name_of(options)
    if options.bits == 8:
        options = options.model_copy(update={"block_size": max(options.block_size, WIDE)})
    model = proto.load(graph)
    with refusing("onnxruntime", graph):
        model = proto.as_products(model)
        weighted = weights_of(model)
        for table in tables(model, keep):
            _in_blocks(model, table, options)
        shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        constant = {node.name: node.input[1] for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in shapes}
        chosen = {name for name, factor in constant.items() if name not in keep and len(shapes[factor]) == 2 and min(shapes[factor]) >= LEAST}
        model = nbits.in_blocks(model, chosen, options.bits, options.block_size)
        stored = rest_in_8_bits(model, keep)
        file, weights = proto.save(model, graph, out, method)
        operators = ort_operators(file)
    still = weights_of(model)
    left = tuple(name for name in weighted if name in {*still, *stored})
    precision = "int4" if options.bits == 4 else "int8"
    return hold(Made(file, weights, precision, method, left, operators.total(), time.perf_counter() - begin), graph)  # type: ignore[arg-type]


def _in_blocks(model: Any, table: Table, options: WeightOnly) -> None:
    """Store a table once, for lookups and for products by its transpose. One whose rows are no whole number of blocks stays as it is."""
    onnx = need("onnx", extra="build")
    array = onnx.numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == table.name))
    rows, width = array.shape
    if width % options.block_size:
        return
    packed, scales = nbits.blocks_of(np.ascontiguousarray(array.T), options.bits, options.block_size)
    names = proto.constant(model, f"{table.name}_Q{options.bits}", packed), proto.constant(model, f"{table.name}_scales", scales)
    made: list[Any] = []
    for node in table.looked_up:
        made += _look_up(model, node, names, width, options)
    for node in table.products:
        made.append(nbits.product(node.name, node.input[0], *names, node.output[0], (width, rows), options.bits, options.block_size))
    gone = {node.name for node in (*table.looked_up, *table.products)}
    for node in [node for node in model.graph.node if node.name in gone]:
        model.graph.node.remove(node)
    model.graph.node.extend(made)
    if not any(one.domain == "com.microsoft" for one in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    proto.tidy(model)


def _look_up(model: Any, node: Any, names: tuple[str, str], width: int, options: WeightOnly) -> list[Any]:
    """Rows of a packed table as fp32, by standard operators: two numbers of 4 bits are parted by a division."""
    onnx = need("onnx", extra="build")
    ids, out = node.input[1], node.output[0]
    steps: list[Any] = []

    def then(kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{out} step {len(steps)}"
        steps.append(onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def number(name: str, value: Any, dtype: type = np.float32) -> str:
        return proto.constant(model, f"{out} {name}", np.asarray(value, dtype))

    blocks = [width // options.block_size, options.block_size]
    shape = then("Shape", [ids])
    packed = then("Cast", [then("Gather", [names[0], ids], axis=0)], to=proto.FLOAT)
    if options.bits == 4:
        upper = then("Floor", [then("Div", [packed, number("sixteen", 16)])])
        lower = then("Sub", [packed, then("Mul", [upper, number("sixteen", 16)])])
        last = number("last", [-1], np.int64)
        packed = then("Concat", [then("Unsqueeze", [half, last]) for half in (lower, upper)], axis=-1)
        packed = then("Reshape", [packed, then("Concat", [shape, number("blocks", blocks, np.int64)], axis=0)])
    centred = then("Sub", [packed, number("zero", 1 << (options.bits - 1))])
    scales = then("Unsqueeze", [then("Gather", [names[1], ids], axis=0), number("behind", [-1], np.int64)])
    flat = then("Concat", [shape, number("width", [width], np.int64)], axis=0)
    rows = then("Mul", [centred, scales])
    return [*steps, onnx.helper.make_node("Reshape", [rows, flat], [out], name=node.name)]
