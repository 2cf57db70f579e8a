"""An ONNX graph in half precision (fp16), strongly typed: every tensor has one type, and a Cast stands wherever two meet.

Inputs and outputs stay as they are declared. Nodes compute in fp16 unless an operator's schema has no fp16 there (Range, the scales of Resize), they reckon
with positions and masks (see ``_reckoned``), or the caller keeps their type or name in fp32. ``mmedge/optimize/variants.py`` finds out what must be kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.errors import MmedgeError, first_line
from mmedge.need import need
from mmedge.optimize import tables
from mmedge.optimize.half_weights import HalfWeights, read, to_half
from mmedge.tensors import Array

HALF_MAX = 65504.0
MASKED = HALF_MAX / 8
"""What hides a key from attention: a score may be added to it, and e to its negative is 0. fp32's -3.4e38 would become -inf, and a row of nothing else NaN."""
MASKERS = ("Add", "Sub", "Where")
"""Take a constant beyond fp16's range as a mask; elsewhere, as a bound of Clip, it becomes the largest number there is."""

LOOKUPS = ("Gather", "GatherND", "GatherElements", "DequantizeLinear")
"""Give numbers of a table: no reckoning, however small it is."""
TYPED_BY_ATTRIBUTE = ("ConstantOfShape", "EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
"""Stay in fp32: their type is not that of an input."""
CACHE_WRITERS = ("Concat", "ScatterElements", "ScatterND", "TensorScatter")
TURNS = ("Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Both stay in fp32 where they make a declared output of a declared input, as a decoder's cache is: it is not rounded over and over, and NVIDIA's own cache
layer, which TensorScatter becomes, takes nothing but an input of the network."""
WEIGHTY = ("MatMul", "Gemm", "Conv", "ConvTranspose", "LSTM", "GRU", "RNN", "Einsum", "Attention")
"""What the time goes to: never drawn into fp32 by its neighbours."""
SMALL = 1024
"""Elements of a constant that may be a part of reckoning: more are a table of weights."""


@dataclass(frozen=True, slots=True)
class Half:
    """What a conversion made."""

    kept_float: tuple[str, ...]
    """Of what was to be kept in fp32: the types and names that the graph has."""
    reckoned: int
    """Nodes in fp32 because they reckon with positions and masks."""
    caches: int
    """Nodes in fp32 because they write a cache."""
    nodes_half: int
    nodes_float: int
    casts: int


def half(path: Path, out: Path, *, keep_float: Collection[str] = (), weights: HalfWeights | None = None) -> Half:
    """Write the graph at ``path`` to ``out`` in fp16.

    Args:
        keep_float: types or names of nodes that stay in fp32; a node without a name has that of its first output.
        weights: holds the large tensors in fp16 in a file beside ``out``; without it they are all in ``out``, which protobuf limits to 2 GB.

    Raises:
        MmedgeError: it is no ONNX, or has what this does not convert: subgraphs, functions, operators or tensors of unknown type.
    """
    model = load(path)
    kept = set(_kept(model, frozenset(keep_float)))
    reckoned, masks = _reckoned(model)
    caches = _caches(model)
    made = _Conversion(model, kept | reckoned | caches, masks, weights).run()
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, _ir().ExternalTensor) and value.const_value.dtype != _ir().DataType.FLOAT16:
            value.const_value = _ir().tensor(read(value.const_value), name=value.name)
    tables.pad(model.graph)
    _ir().save(model, str(out))
    _assert_unique(out)
    asked = set(keep_float)
    there = {node.op_type if node.op_type in asked else name_of(node) for node in kept - reckoned - caches if any(_floats(node.outputs))}
    return Half(tuple(sorted(there & asked)), len(reckoned), len(caches), *made)


def load(path: Path) -> Any:
    """An ``onnx_ir.Model`` in which every tensor's type is known and every constant is an initializer. Raises MmedgeError as ``half`` does."""
    passes = need("onnx_ir.passes.common", extra="build")
    try:
        model = _ir().load(str(path))
    except Exception as error:  # protobuf's DecodeError and onnx_ir's SerdeError share no base but Exception
        raise MmedgeError(f"{path} is not a valid ONNX file: {first_line(error)}", "get an undamaged copy") from error
    if model.functions or any(isinstance(attribute.value, _ir().Graph) for node in model.graph for attribute in node.attributes.values()):
        raise MmedgeError(f"{path.name} holds subgraphs or functions, which are not converted to fp16", "leave it in fp32")
    if foreign := next((node for node in model.graph if node.domain not in ("", "ai.onnx")), None):
        raise MmedgeError(f"{path.name} holds {foreign.op_type} of {foreign.domain}, which is not converted to fp16", "leave it in fp32")
    passes.RemoveInitializersFromInputsPass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)(model)
    model.graph.sort()
    if unknown := next((value for node in model.graph for value in node.outputs if value.name and value.dtype is None), None):
        raise MmedgeError(f"{path.name} has a tensor of unknown type: {unknown.name}", "leave it in fp32")
    return model


def name_of(node: Any) -> str:
    """What a node is called in ``keep_float``."""
    return str(node.name or node.outputs[0].name)


def _ir() -> Any:
    return need("onnx_ir", extra="build")


def _floats(values: Any) -> Iterator[Any]:
    return (value for value in values if value is not None and value.dtype == _ir().DataType.FLOAT)


def _kept(model: Any, keep_float: frozenset[str]) -> Iterator[Any]:
    """The nodes that are to stay, and those between them: what only adds an epsilon to a mean that is kept, or squares what it is the mean of."""
    kept: set[Any] = set()
    for node in model.graph:
        inputs = list(_floats(node.inputs))
        among = [value for value in inputs if value.producer() in kept]
        between = bool(among) and node.op_type not in WEIGHTY and all(value in among or _size(value) == 1 for value in inputs)
        squares = (
            node.op_type == "Mul"
            and node.inputs[0] is node.inputs[1]
            and any(user.op_type in keep_float and user.op_type.startswith("Reduce") for user in node.outputs[0].consumers())
        )
        if node.op_type in keep_float or name_of(node) in keep_float or between or squares:
            kept.add(node)
            yield node


def _size(value: Any) -> int | None:
    """Elements of a constant; None of anything else."""
    return int(value.const_value.size) if value.const_value is not None else None


def _reckoned(model: Any) -> tuple[set[Any], set[Any]]:
    """Nodes that reckon in fp32 with integers and small constants alone: positions, frequencies, masks. They cost nothing; in fp16 angles are wrong by radians.

    Returns:
        The nodes; and of their results those that a constant beyond fp16's range went into.
    """
    nodes: set[Any] = set()
    masks: set[Any] = set()
    for node in model.graph:
        inputs, outputs = list(_floats(node.inputs)), list(_floats(node.outputs))
        constants = [value for value in inputs if _size(value) is not None]
        table = constants and (node.op_type in LOOKUPS or any((_size(value) or 0) > SMALL for value in constants))
        if not (inputs or outputs) or table or any(value.producer() not in nodes for value in inputs if value not in constants):
            continue
        nodes.add(node)
        if any(value in masks for value in inputs) or any(_beyond(read(value.const_value)) for value in constants):
            masks.update(outputs)
    return nodes, masks


def _caches(model: Any) -> set[Any]:
    """What lies on a way from an input to an output that only turns it and writes into it."""
    moves = [node for node in model.graph if node.op_type in (*CACHE_WRITERS, *TURNS)]
    given: set[Any] = set()
    for node in moves:
        if any(value.is_graph_input() or value.producer() in given for value in _floats(node.inputs)):
            given.add(node)
    taken: set[Any] = set()
    for node in reversed(moves):
        if any(value.is_graph_output() or not taken.isdisjoint(value.consumers()) for value in _floats(node.outputs)):
            taken.add(node)
    return given & taken


def _beyond(array: Array) -> bool:
    """Whether a finite value lies outside fp16's range; what is infinite was meant to be."""
    return bool((np.isfinite(array) & (np.abs(array) > HALF_MAX)).any())


class _Conversion:
    """Types every tensor, then puts casts and constants of the other type where they are wanted: one of each, whoever wants it."""

    def __init__(self, model: Any, kept: set[Any], masks: set[Any], weights: HalfWeights | None) -> None:
        self._graph, self._kept, self._masks, self._weights = model.graph, kept, masks, weights
        self._opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
        self._half: set[Any] = set()
        self._made: dict[tuple[Any, Any], Any] = {}
        self._names = {value.name for node in self._graph for value in node.outputs} | {node.name for node in self._graph}
        self._names |= {value.name for value in (*self._graph.inputs, *self._graph.initializers.values())}
        self._ir, self._schemas = _ir(), need("onnx.defs", extra="build")

    def run(self) -> tuple[int, int, int]:
        """Returns how many nodes compute in fp16, how many in fp32, and the casts between them."""
        nodes = list(self._graph)
        float_nodes = [node for node in nodes if any(_floats((*node.inputs, *node.outputs)))]
        halved = {node for node in float_nodes if self._type(node)}
        for index, value in enumerate(self._graph.outputs):
            if value in self._half:
                self._graph.outputs[index] = self._returned(value)
        for node in nodes:
            for index, value in enumerate(node.inputs):
                if not self._was_float(value):
                    continue
                wanted = self._takes_half(node, index)
                if value.is_initializer():
                    if wanted:
                        node.replace_input_with(index, self._constant(value, MASKED if node.op_type in MASKERS else HALF_MAX))
                elif wanted != (value in self._half):
                    node.replace_input_with(index, self._cast(value, wanted))
        for name in [name for name, value in self._graph.initializers.items() if not value.uses() and not value.is_graph_output()]:
            del self._graph.initializers[name]
        return len(halved), len(float_nodes) - len(halved), sum(node.op_type == "Cast" for node in self._graph) - sum(node.op_type == "Cast" for node in nodes)

    def _type(self, node: Any) -> bool:
        """Give a node's results their types. Returns whether it computes in fp16."""
        took = any(self._was_float(value) and self._takes_half(node, index) for index, value in enumerate(node.inputs))
        results = [value for index, value in enumerate(node.outputs) if value.dtype == self._ir.DataType.FLOAT and self._gives_half(node, index)]
        for value in results:
            value.dtype = self._ir.DataType.FLOAT16
            self._half.add(value)
        if results and node.op_type == "Cast":
            node.attributes["to"] = self._ir.AttrInt64("to", self._ir.DataType.FLOAT16)
        return bool(took or results)

    def _was_float(self, value: Any) -> bool:
        return value is not None and (value.dtype == self._ir.DataType.FLOAT or value in self._half)

    def _takes_half(self, node: Any, index: int) -> bool:
        return not self._stays(node) and self._allows(node, "inputs", index)

    def _gives_half(self, node: Any, index: int) -> bool:
        return not self._stays(node) and self._allows(node, "outputs", index)

    def _stays(self, node: Any) -> bool:
        return node in self._kept or node.op_type in TYPED_BY_ATTRIBUTE

    def _allows(self, node: Any, side: str, index: int) -> bool:
        """Whether ONNX's schema of the operator has fp16 there."""
        schema = self._schemas.get_schema(node.op_type, self._opset, "")
        formal = getattr(schema, side)
        kind = formal[min(index, len(formal) - 1)].type_str  # the last one may repeat
        allowed = next((one.allowed_type_strs for one in schema.type_constraints if one.type_param_str == kind), [kind])
        return "tensor(float16)" in allowed

    def _cast(self, value: Any, to_half: bool) -> Any:
        if (value, to_half) not in self._made:
            source = value
            if to_half and value in self._masks:
                bounds = [self._register(np.array(bound, np.float32), f"{value.name}_{side}") for side, bound in (("least", -MASKED), ("most", MASKED))]
                source = self._insert("Clip", [value, *bounds], self._unique(f"{value.name}_within"), self._ir.DataType.FLOAT)
            dtype, suffix = (self._ir.DataType.FLOAT16, "fp16") if to_half else (self._ir.DataType.FLOAT, "fp32")
            self._made[value, to_half] = self._insert("Cast", [source], self._unique(f"{value.name}_{suffix}"), dtype, to=dtype)
        return self._made[value, to_half]

    def _returned(self, value: Any) -> Any:
        """The declared output of a tensor that is fp16 now, under its own name."""
        if (value, False) not in self._made:
            name, value.name = value.name, self._unique(f"{value.name}_fp16")
            self._made[value, False] = self._insert("Cast", [value], name, self._ir.DataType.FLOAT, to=self._ir.DataType.FLOAT)
        return self._made[value, False]

    def _insert(self, kind: str, inputs: list[Any], name: str, dtype: Any, **attributes: Any) -> Any:
        node = self._ir.node(kind, inputs, attributes=attributes, name=self._unique(f"{name}_{kind.lower()}"))
        result = node.outputs[0]
        result.name, result.dtype, result.shape = name, dtype, inputs[0].shape
        after = inputs[0].producer()
        self._graph.insert_before(self._graph[0], node) if after is None else self._graph.insert_after(after, node)
        return result

    def _constant(self, value: Any, limit: float) -> Any:
        tensor = value.const_value
        limit = limit if tensor.size == 1 else HALF_MAX
        if (value, limit) not in self._made:
            content = self._weights.place(tensor) if self._weights else None
            if content is None:
                content = to_half(read(tensor), limit)
            self._made[value, limit] = self._register(content, f"{value.name}_fp16")
        return self._made[value, limit]

    def _register(self, content: Any, name: str) -> Any:
        tensor = self._ir.tensor(content) if isinstance(content, np.ndarray) else content
        value = self._ir.Value(name=self._unique(name), const_value=tensor, shape=tensor.shape, type=self._ir.TensorType(tensor.dtype))
        self._graph.register_initializer(value)
        return value

    def _unique(self, name: str) -> str:
        found = next(one for one in (name, *(f"{name}_{number}" for number in range(1, len(self._names) + 2))) if one not in self._names)
        self._names.add(found)
        return found


def _assert_unique(path: Path) -> None:
    """NVIDIA's parser reports a name of two outputs as a failed topological sort."""
    graph = need("onnx", extra="build").load(str(path), load_external_data=False).graph
    names = [*(one.name for one in (*graph.initializer, *graph.input)), *(name for node in graph.node for name in node.output if name)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"the conversion of {path} named two tensors {twice[0]}")
