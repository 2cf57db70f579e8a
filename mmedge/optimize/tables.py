"""Tables that a graph looks up in and multiplies by, as a decoder's words: with rows of zeros behind them, so that one copy serves both.

TensorRT-RTX 1.7 keeps such a table twice where the number of its rows is odd, as Whisper's 51865 is; 8 suits every GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mmedge.need import need
from mmedge.optimize.half_weights import ROWS, with_rows


def pad(graph: Any) -> None:
    """Give every such table of an ``onnx_ir`` graph rows up to a multiple of ``ROWS``. What is multiplied by it is cut to its width again.

    What is looked up stays the same: no number of a row is negative, which would count from the end.
    """
    for table in list(graph.initializers.values()):
        products = _products(table)
        for product in products:
            _cut(graph, product.outputs[0], table.shape[0])
        if products:
            rows = table.shape[0] + -table.shape[0] % ROWS
            table.const_value = with_rows(table.const_value, rows)
            table.shape = table.const_value.shape
            for node, _ in table.uses():
                if node.op_type == "Transpose":
                    node.outputs[0].shape = need("onnx_ir", extra="build").Shape(reversed(table.shape))


def _products(table: Any) -> list[Any]:
    """The nodes that multiply by a table, its rows their columns; none where it is not looked up in as well, or used in another way, or needs no rows."""
    if table.const_value is None or len(table.shape) != 2 or table.shape[0] % ROWS == 0:
        return []
    uses = [(node, index) for node, index in table.uses()]
    looked_up = [node for node, index in uses if node.op_type == "Gather" and index == 0 and node.attributes.get_int("axis", 0) == 0]
    turned = [node.outputs[0] for node, _ in uses if node.op_type == "Transpose" and tuple(node.attributes.get_ints("perm", (1, 0))) == (1, 0)]
    products = [use for value in turned for use in value.uses()]
    other = len(looked_up) + len(turned) != len(uses) or table.is_graph_output() or any(value.is_graph_output() for value in turned)
    if other or not looked_up or any(node.op_type != "MatMul" or index != 1 for node, index in products):
        return []
    return [node for node, _ in products]


def _cut(graph: Any, product: Any, columns: int) -> None:
    """Let what follows a product take its first ``columns``."""
    ir = need("onnx_ir", extra="build")
    name = product.name
    bounds = [_constant(graph, f"{name} {what}", value) for what, value in (("from", 0), ("to", columns), ("axis", -1))]
    node = ir.node("Slice", [product, *bounds], name=f"{name} cut")
    graph.insert_after(product.producer(), node)
    cut = node.outputs[0]
    cut.dtype, cut.shape = product.dtype, product.shape
    for user, index in [use for use in product.uses() if use[0] is not node]:
        user.replace_input_with(index, cut)
    for index, value in enumerate(graph.outputs):
        if value is product:
            graph.outputs[index] = cut
    product.name, cut.name = f"{name} padded", name
    if product.shape is not None:  # of what was reshaped by a computed shape nothing is known
        product.shape = ir.Shape([*product.shape[:-1], columns + -columns % ROWS])


def _constant(graph: Any, name: str, value: int) -> Any:
    ir = need("onnx_ir", extra="build")
    tensor = ir.tensor(np.array([value], np.int64), name=name)
    made = ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
    graph.register_initializer(made)
    return made
