"""Tables that a graph looks rows up in, as the vectors of words, in 8 bits with a scale for each row: most of the bytes of a small language model.

The tools leave them in fp32, or give a whole table one scale. What is multiplied by such a table as well (an output matrix tied to it) uses the same bytes.
Standard ONNX operators alone, so every runtime takes it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from mmedge.need import need
from mmedge.optimize.integer import LARGE_BYTES
from mmedge.optimize.proto import FLOAT, constant
from mmedge.tensors import Array


@dataclass(frozen=True, slots=True)
class Table:
    """A constant of two dimensions that rows are looked up in."""

    name: str
    looked_up: tuple[Any, ...]
    """The Gather nodes."""
    products: tuple[Any, ...]
    """MatMul nodes whose second factor is its transpose."""


def tables(model: Any, keep: Collection[str] = ()) -> list[Table]:
    """The large tables of a graph that are used for nothing but lookups and products by their transpose, and by none of the nodes to keep in fp32."""
    outputs = {value.name for value in model.graph.output}
    users: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    found = []
    for tensor in model.graph.initializer:
        if tensor.data_type != FLOAT or len(tensor.dims) != 2 or tensor.dims[0] * tensor.dims[1] * 4 < LARGE_BYTES or tensor.name in outputs:
            continue
        uses = users.get(tensor.name, [])
        gathers = [node for node in uses if node.op_type == "Gather" and node.input[0] == tensor.name and _attribute(node, "axis", 0) == 0]
        turns = [node for node in uses if node.op_type == "Transpose" and _attribute(node, "perm", [1, 0]) == [1, 0]]
        products = [user for turn in turns for user in users.get(turn.output[0], [])]
        tied = all(node.op_type == "MatMul" and node.input[0] not in {turn.output[0] for turn in turns} for node in products)
        kept = {node.name for node in (*gathers, *products)} & set(keep)
        if gathers and len(gathers) + len(turns) == len(uses) and tied and not kept and not outputs & {turn.output[0] for turn in turns}:
            found.append(Table(tensor.name, tuple(gathers), tuple(products)))
    return found


def rows_in_8_bits(model: Any, keep: Collection[str] = ()) -> list[Any]:
    """Store every large table in 8 bits, once; a product by it rounds its other factor in that run too, as dynamic quantization does.

    Returns:
        The nodes that look up in it or multiply by it.
    """
    onnx = need("onnx", extra="build")
    made: list[Any] = []
    for table in tables(model, keep):
        tensor = next(one for one in model.graph.initializer if one.name == table.name)
        numbers, scales = by_rows(onnx.numpy_helper.to_array(tensor))
        name, scale = constant(model, f"{table.name}_int8", numbers), constant(model, f"{table.name}_scale", scales)
        for node in table.looked_up:
            made += _look_up(onnx, node, name, scale)
        for node in table.products:
            made += _multiply(onnx, model, node, name, scales)
        gone = {node.name for node in (*table.looked_up, *table.products)}
        for node in [node for node in model.graph.node if node.name in gone]:
            model.graph.node.remove(node)
    model.graph.node.extend(made)
    return [node for node in made if node.op_type in ("Gather", "MatMulInteger")]


def rest_in_8_bits(model: Any, keep: Collection[str] = ()) -> list[str]:
    """Store what else is large in 8 bits: kernels of convolutions that are computed in fp32, positions. The runtime turns them back when it opens the graph.

    Returns:
        The names of those convolutions.
    """
    onnx = need("onnx", extra="build")
    stored: list[str] = []
    for tensor in [one for one in model.graph.initializer if one.data_type == FLOAT and 4 * prod(one.dims) >= LARGE_BYTES]:
        users = [node for node in model.graph.node if tensor.name in node.input]
        kinds = {node.op_type for node in users}
        if kinds not in ({"Conv"}, {"Add"}, {"Slice"}) or {node.name for node in users} & set(keep):
            continue
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
        rows, scales = by_rows(array.reshape(len(array), -1) if kinds == {"Conv"} else array.reshape(-1, array.shape[-1]))
        spread = (len(array), *[1] * (array.ndim - 1)) if kinds == {"Conv"} else (*array.shape[:-1], 1)
        name, back = tensor.name, f"{tensor.name} turned back"
        taken = constant(model, f"{name}_int8", rows.reshape(array.shape)), constant(model, f"{name}_scale", scales.reshape(spread))
        model.graph.node.append(onnx.helper.make_node("Cast", [taken[0]], [f"{name} rows"], name=f"{name} rows", to=FLOAT))
        model.graph.node.append(onnx.helper.make_node("Mul", [f"{name} rows", taken[1]], [back], name=back))
        for node in users:
            node.input[:] = [back if one == name else one for one in node.input]
        stored += [node.name for node in users if node.op_type == "Conv"]
    return stored


def by_rows(array: Array) -> tuple[Array, Array]:
    """Symmetric 8 bits: int8 of the same shape, and a float32 scale for every row [rows, 1]."""
    scales = np.maximum(np.abs(array).max(axis=1, keepdims=True) / np.float32(127), np.finfo(np.float32).tiny).astype(np.float32)
    return np.clip(np.rint(array / scales), -127, 127).astype(np.int8), scales


def _look_up(onnx: Any, node: Any, numbers: str, scales: str) -> list[Any]:
    ids, out = node.input[1], node.output[0]
    names = [f"{out} {part}" for part in ("int8", "rows", "scale")]
    return [
        onnx.helper.make_node("Gather", [numbers, ids], [names[0]], name=f"{node.name} int8", axis=0),
        onnx.helper.make_node("Cast", [names[0]], [names[1]], name=f"{node.name} rows", to=FLOAT),
        onnx.helper.make_node("Gather", [scales, ids], [names[2]], name=f"{node.name} scale", axis=0),
        onnx.helper.make_node("Mul", [names[1], names[2]], [out], name=f"{node.name} scaled"),
    ]


def _multiply(onnx: Any, model: Any, node: Any, numbers: str, scales: Array) -> list[Any]:
    out = node.output[0]
    names = {part: f"{out} {part}" for part in ("uint8", "step", "zero", "turned", "sum", "float", "scale")}
    columns = constant(model, f"{numbers} columns", scales.reshape(-1))
    return [
        onnx.helper.make_node("DynamicQuantizeLinear", [node.input[0]], [names[part] for part in ("uint8", "step", "zero")], name=f"{node.name} rounded"),
        onnx.helper.make_node("Transpose", [numbers], [names["turned"]], name=f"{node.name} turned", perm=[1, 0]),
        onnx.helper.make_node("MatMulInteger", [names["uint8"], names["turned"], names["zero"]], [names["sum"]], name=f"{node.name} int8"),
        onnx.helper.make_node("Cast", [names["sum"]], [names["float"]], name=f"{node.name} float", to=FLOAT),
        onnx.helper.make_node("Mul", [names["step"], columns], [names["scale"]], name=f"{node.name} scale"),
        onnx.helper.make_node("Mul", [names["float"], names["scale"]], [out], name=f"{node.name} scaled"),
    ]


def _attribute(node: Any, name: str, default: Any) -> Any:
    onnx = need("onnx", extra="build")
    return next((onnx.helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)
