"""What a bundle needs of a board's memory, from the shapes that its graphs state: known before there is a board."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from mmedge import onnx_file
from mmedge.backends.tensorrt.published import constants
from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.need import have, need
from mmedge.profile.machine import memory_mb
from mmedge.runner import Graph
from mmedge.target import SYSTEM, Precision, Target, targets

NARROW: dict[Precision, int] = {"fp16": 16, "bf16": 16, "int8": 16, "int4": 16}
"""Bits of what is a float32 in the graph, between the nodes of one that computes in less."""

VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
"""What they give is what they were given, in another shape."""

PAST, PRESENT, LENGTH = "past_", "present_", "past_length"
"""A decoder's cache, see ``mmedge.generate.cache``."""

LONGEST_EXPRESSION = 300


class Need(Document):
    """Of one graph, at the largest sizes it is built for."""

    graph: str
    """``ROLE/GRAPH``."""
    weights_mb: float
    activations_mb: float
    """What lies between its nodes at the same time, and its inputs and outputs."""
    cache_mb: float
    """Twice what a decoder's cache holds: what it reads, and what it writes."""
    unknown: int
    """Tensors whose size depends on values: they are not counted."""

    @property
    def total_mb(self) -> float:
        return self.weights_mb + self.activations_mb + self.cache_mb


class Memory(Document):
    """Of a bundle on a target, every graph open at once. Not counted: the system, the runtime with its CUDA context and workspace, and the program itself."""

    graphs: tuple[Need, ...]

    @property
    def total_mb(self) -> float:
        return sum(one.total_mb for one in self.graphs)

    def parts(self) -> str:
        """``weights 12 MB, activations 3 MB, caches 1 MB``."""
        sums = {name: sum(getattr(one, f"{name}_mb") for one in self.graphs) for name in ("weights", "activations", "cache")}
        return ", ".join(f"{title} {mb(sums[name])} MB" for title, name in (("weights", "weights"), ("activations", "activations"), ("caches", "cache")))


def mb(size: float) -> str:
    """As many digits as an estimate deserves."""
    return f"{size:.0f}" if size >= 10 else f"{size:.1f}"


def estimate(graphs: Mapping[str, tuple[Graph, Precision]]) -> Memory:
    """What graphs need at the largest of their ranges.

    Args:
        graphs: ``ROLE/GRAPH`` -> the graph with its ranges, and the precision in which it is to run: that variant's weights count, where it has one.

    Raises:
        MmedgeError: a file is no ONNX.
    """
    return Memory(graphs=tuple(_need(name, graph, precision) for name, (graph, precision) in graphs.items()))


def limit_mb(target: Target, root: Path = SYSTEM) -> int | None:
    """The memory that a bundle may need: of the smallest of the target's boards; on one of them, what that board has. None: it is not known.

    A container hides a board's name, which leaves the least of all boards, but not what the kernel says of its memory. ``root`` is where the system's
    files are.
    """
    if target.memory_mb is None or not target.boards or not target.is_here(root):
        return target.memory_mb
    return memory_mb(root, "MemTotal") or target.memory_mb


def require(memory: Memory, limit: int, target: Target, bundle: str) -> None:
    """Raises MmedgeError: the target's boards have less memory. ``limit``: what they have, in MB."""
    if memory.total_mb <= limit:
        return
    largest = max(memory.graphs, key=lambda one: one.total_mb)
    larger = [
        one
        for one in targets().targets
        if one.backends[0] == target.backends[0] and one.name != target.name and one.memory_mb and one.memory_mb >= memory.total_mb
    ]
    roomy = min(larger, key=lambda one: one.memory_mb or 0, default=None)
    raise MmedgeError(
        f"{bundle} needs about {mb(memory.total_mb)} MB on {target.name} ({memory.parts()}; the largest is {largest.graph} with {mb(largest.total_mb)} MB), "
        f"which has {limit} MB",
        (
            ""
            if limit != target.memory_mb
            else f"a target that has it: {roomy.name} ({roomy.memory_mb} MB); or "
            if roomy
            else "no target that mmedge knows has as much: "
        )
        + "take a smaller model, or export it with a shorter context",
    )


def _need(name: str, graph: Graph, precision: Precision) -> Need:
    model = onnx_file.read(graph.path).graph
    made = graph.variants.get(precision)
    weights = sum(map(onnx_file.size_bytes, _weights(onnx_file.read(made.path).graph if made else model)))
    sizes = {dimension: most for dimension, (_, _, most) in graph.ranges.items()}
    values = _Values(model.value_info or _inferred(graph.path), sizes, NARROW.get(precision, 32))
    given = [one for one in model.input if one.name not in {tensor.name for tensor in model.initializer}]
    caches = [one for one in given if one.name.startswith(PAST) and one.name != LENGTH]
    held = sum(values.declared(one) for one in caches)
    others = sum(values.declared(one) for one in [*given, *model.output] if not one.name.startswith((PAST, PRESENT)))
    own = {one.name for one in [*given, *model.output]}
    return Need(
        graph=name,
        weights_mb=round(weights / 1e6, 3),
        activations_mb=round((_peak(model, values, own) + others) / 1e6, 3),
        cache_mb=round(2 * held / 1e6, 3),
        unknown=values.unknown,
    )


def _weights(graph: Any) -> list[Any]:
    found = []
    for one in onnx_file.graphs(graph):
        found += [*one.initializer, *(said.t for node in one.node if node.op_type == "Constant" for said in node.attribute if said.HasField("t"))]
    return found


def _inferred(path: Path) -> Sequence[Any]:
    """The shapes of a file that states none, where the package onnx can find them out."""
    if not have("onnx"):
        return ()
    onnx = need("onnx", extra="build")
    found: Sequence[Any] = onnx.shape_inference.infer_shapes(onnx.load(str(path), load_external_data=False)).graph.value_info
    return found


@dataclass
class _Values:
    """How large the tensors between the nodes are, as the file states their shapes."""

    stated: Sequence[Any]
    sizes: Mapping[str, int]
    float_bits: int
    unknown: int = 0

    def __post_init__(self) -> None:
        self._stated = {one.name: one for one in self.stated}

    def bytes(self, name: str) -> int:
        """Of a tensor between nodes, in the precision that the graph computes in; 0 where the file does not tell."""
        return self._size(self._stated.get(name), self.float_bits)

    def declared(self, value: Any) -> int:
        """Of an input or an output, in the type that it is declared in."""
        return self._size(value, 32)

    def _size(self, value: Any, float_bits: int) -> int:
        shape = None if value is None else shape_of(value, self.sizes)
        if shape is None:
            self.unknown += 1
            return 0
        kind = value.type.tensor_type.elem_type
        return prod(shape) * (float_bits if kind == onnx_file.FLOAT else onnx_file.BITS.get(kind, 0)) // 8


def _peak(graph: Any, values: _Values, own: set[str]) -> int:
    """The most that lies between the nodes at any one of them, in the file's order, when each tensor goes after its last reader.

    Args:
        own: the graph's inputs and outputs, which lie elsewhere.
    """
    root: dict[str, str] = {}
    last: dict[str, int] = {}
    fixed = constants(graph)
    for index, node in enumerate(graph.node):
        read = [*node.input, *(name for inner in onnx_file.inside(node) for one in onnx_file.graphs(inner) for step in one.node for name in step.input)]
        for name in read:
            last[root.get(name, name)] = index
        if node.op_type in VIEWS:
            root[node.output[0]] = root.get(node.input[0], node.input[0])
    live: dict[str, int] = {}
    most = 0
    for index, node in enumerate(graph.node):
        if node.op_type not in VIEWS:
            live.update({name: values.bytes(name) for name in node.output if name and name not in own and name not in fixed})
        most = max(most, sum(live.values()))
        live = {name: size for name, size in live.items() if last.get(name, index) > index}
    return most


def shape_of(value: Any, sizes: Mapping[str, int]) -> tuple[int, ...] | None:
    """The shape that a file states for a tensor, where its dynamic dimensions have these sizes; None where it is not told.

    Exporters state sizes as sums and products of dimensions, such as ``past + tokens``.
    """
    if not value.type.tensor_type.HasField("shape"):
        return None
    shape = []
    for dim in value.type.tensor_type.shape.dim:
        size = _evaluated(dim.dim_param, sizes) if dim.dim_param else dim.dim_value if dim.HasField("dim_value") else None
        if size is None:
            return None
        shape.append(size)
    return tuple(shape)


OPERATIONS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
CHOICES: dict[str, Callable[[Sequence[int]], int]] = {"Min": min, "Max": max, "min": min, "max": max}


def _evaluated(text: str, sizes: Mapping[str, int]) -> int | None:
    if text in sizes:
        return sizes[text]
    if len(text) > LONGEST_EXPRESSION:
        return None
    try:
        return _value(ast.parse(text, mode="eval").body, sizes)
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr, sizes: Mapping[str, int]) -> int:
    """Raises ValueError or KeyError: it is something else than arithmetic on known sizes."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return sizes[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        return OPERATIONS[type(node.op)](_value(node.left, sizes), _value(node.right, sizes))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CHOICES and node.args and not node.keywords:
        return CHOICES[node.func.id]([_value(one, sizes) for one in node.args])
    raise ValueError(ast.dump(node))
