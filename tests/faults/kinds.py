"""Ways to change a bundle a little, drawn at random: its graphs, its files and its configuration.

Each takes the bundle's folder and a random generator, and returns what it did, or None where the bundle has nothing of the kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from faults import planting
from onnx import TensorProto, helper, numpy_helper

Random = np.random.Generator
Kind = Callable[[Path, Random], "str | None"]
INSTEAD = {"Add": "Sub", "Sub": "Add", "Mul": "Div", "Tanh": "Sigmoid", "Sigmoid": "Tanh", "Erf": "Tanh", "Relu": "Sigmoid", "Softmax": "LogSoftmax"}
"""An operator, and one that takes and gives as much."""
HALVES = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


def graphs(bundle: Path) -> list[str]:
    """Those that a target with a growing cache runs."""
    names = planting.manifest(bundle)["models"][planting.role_of(bundle)]["graphs"]
    return [name for name in names if not name.endswith(("-scatternd", "-tensorscatter"))]


def _floats(model: Any) -> list[Any]:
    return [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT and any(tensor.dims)]


def _weight(alter: Callable[[Any, Random], str | None], holds: Callable[[Any], bool] = lambda array: True) -> Kind:
    """A kind that changes one of a graph's weights: ``alter(array, random)`` does so in place, or returns None."""

    def kind(bundle: Path, random: Random) -> str | None:
        name = str(random.choice(graphs(bundle)))

        def change(model: Any) -> str | None:
            held = [tensor for tensor in _floats(model) if holds(numpy_helper.to_array(tensor))]
            if not held:
                return None
            tensor = held[random.integers(len(held))]
            array = np.array(numpy_helper.to_array(tensor))
            said = alter(array, random)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
            return said and f"{name}: {tensor.name} {said}"

        return planting.graph(bundle, name, change)

    return kind


def _scaled(array: Any, random: Random) -> str:
    share = 10 ** random.uniform(-6, 0)
    array *= 1 + np.float32(share)
    return f"larger by {share:.1g}"


def _noised(array: Any, random: Random) -> str:
    share = 10 ** random.uniform(-7, 0)
    array += (share * array.std() * random.standard_normal(array.shape)).astype(np.float32)
    return f"with noise of {share:.1g} of its deviation"


def _row_gone(array: Any, random: Random) -> str:
    row = random.integers(len(array))
    array[row] = 0
    return f"row {row} zero"


def _rows_exchanged(array: Any, random: Random) -> str:
    first, second = random.choice(len(array), 2, replace=False)
    array[[first, second]] = array[[second, first]]
    return f"rows {first} and {second} exchanged"


def _bit(array: Any, random: Random) -> str:
    """As memory or a disk fails."""
    at, bit = random.integers(array.size), random.integers(32)
    array.reshape(-1).view(np.uint32)[at] ^= np.uint32(1 << int(bit))
    return f"bit {bit} of number {at} turned"


def _zero(array: Any, random: Random) -> str:
    array[...] = 0
    return "zero"


def _node(alter: Callable[[Any, Any, Random], str | None]) -> Kind:
    """A kind that changes one node of a graph: ``alter(model, node, random)`` does so, or returns None; nodes are tried in random order."""

    def kind(bundle: Path, random: Random) -> str | None:
        name = str(random.choice(graphs(bundle)))

        def change(model: Any) -> str | None:
            for index in random.permutation(len(model.graph.node)):
                node = model.graph.node[index]
                if said := alter(model, node, random):
                    return f"{name}: {node.op_type} {node.name}: {said}"
            return None

        return planting.graph(bundle, name, change)

    return kind


def _attribute(model: Any, node: Any, random: Random) -> str | None:
    held = [one for one in node.attribute if one.type in (onnx.AttributeProto.INT, onnx.AttributeProto.FLOAT, onnx.AttributeProto.INTS) and one.name != "to"]
    if not held:
        return None
    one = held[random.integers(len(held))]
    if one.type == onnx.AttributeProto.FLOAT:
        one.f *= 1.5
    elif one.type == onnx.AttributeProto.INT:
        one.i += int(random.choice([-1, 1]))
    elif len(one.ints) > 1:
        first, second = random.choice(len(one.ints), 2, replace=False)
        one.ints[first], one.ints[second] = one.ints[second], one.ints[first]
    else:
        return None
    return f"{one.name} {helper.get_attribute_value(one)}"


def _epsilon(model: Any, node: Any, random: Random) -> str | None:
    for one in node.attribute:
        if one.name == "epsilon":
            factor = 10 ** random.uniform(-3, 3)
            one.f *= factor
            return f"epsilon times {factor:.2g}"
    return None


def _instead(model: Any, node: Any, random: Random) -> str | None:
    if node.op_type not in INSTEAD or node.domain:
        return None
    node.op_type = INSTEAD[node.op_type]
    return f"now {node.op_type}"


def _rounded(model: Any, node: Any, random: Random) -> str | None:
    """Its result goes through a type of half the width, as where a graph in fp16 is passed off as one in fp32."""
    if node.op_type not in ("MatMul", "Gemm", "Conv", "LayerNormalization"):
        return None
    kind = str(random.choice(sorted(HALVES)))
    result, place = node.output[0], list(model.graph.node).index(node)
    node.output[0] = f"{result} wide"
    casts = [
        helper.make_node("Cast", [f"{result} wide"], [f"{result} half"], f"{result} narrows", to=HALVES[kind]),
        helper.make_node("Cast", [f"{result} half"], [result], f"{result} widens", to=TensorProto.FLOAT),
    ]
    nodes = [*model.graph.node[: place + 1], *casts, *model.graph.node[place + 1 :]]
    made = [onnx.NodeProto.FromString(one.SerializeToString()) for one in nodes]
    del model.graph.node[:]
    model.graph.node.extend(made)
    return f"rounded to {kind}"


def _same_shapes(bundle: Path, random: Random) -> str | None:
    name = str(random.choice(graphs(bundle)))

    def change(model: Any) -> str | None:
        by_shape: dict[tuple[int, ...], list[Any]] = {}
        for tensor in _floats(model):
            by_shape.setdefault(tuple(tensor.dims), []).append(tensor)
        pairs = [tensors for tensors in by_shape.values() if len(tensors) > 1]
        if not pairs:
            return None
        tensors = pairs[random.integers(len(pairs))]
        first, second = (tensors[index] for index in random.choice(len(tensors), 2, replace=False))
        first.name, second.name = second.name, first.name
        return f"{name}: {first.name} and {second.name} exchanged"

    return planting.graph(bundle, name, change)


def _whole_number(bundle: Path, random: Random) -> str | None:
    """A shape, an axis, an index, or a bound of a slice."""
    name = str(random.choice(graphs(bundle)))

    def change(model: Any) -> str | None:
        held = [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT64 and 0 < np.prod(tensor.dims, dtype=int) < 100]
        if not held:
            return None
        tensor = held[random.integers(len(held))]
        array = np.array(numpy_helper.to_array(tensor))
        at, step = random.integers(array.size), int(random.choice([-1, 1]))
        array.reshape(-1)[at] += step
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        return f"{name}: {tensor.name}[{at}] {step:+d}"

    return planting.graph(bundle, name, change)


def _tokens_exchanged(bundle: Path, random: Random) -> str | None:
    said = []

    def change(content: bytes) -> bytes:
        made = json.loads(content)
        words = made["model"]["vocab"]
        plain = [word for word in words if word.isascii() and any(map(str.isalnum, word))]
        first, second = (plain[index] for index in random.choice(len(plain), 2, replace=False))
        words[first], words[second] = words[second], words[first]
        said.append(f"tokenizer.json: {first!r} and {second!r} exchanged")
        return json.dumps(made).encode()

    planting.asset(bundle, "tokenizer.json", change)
    return said[0]


def _merge_gone(bundle: Path, random: Random) -> str | None:
    """As in another version of a tokenizer; where it has no merges, a word is missing, and the last one takes its place."""
    said = []

    def change(content: bytes) -> bytes:
        made = json.loads(content)
        if merges := made["model"].get("merges"):
            at = int(random.integers(len(merges)))
            said.append(f"tokenizer.json: without the merge {merges.pop(at)}")
        else:
            words = made["model"]["vocab"]
            gone, last = list(words)[random.integers(len(words))], max(words, key=lambda word: int(words[word]))
            words[last] = words.pop(gone) if gone != last else words[last]
            said.append(f"tokenizer.json: without {gone!r}")
        return json.dumps(made).encode()

    planting.asset(bundle, "tokenizer.json", change)
    return said[0]


def _numbers(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Every number of a configuration and where it is."""
    if isinstance(value, dict):
        return [found for key, one in value.items() for found in _numbers(one, (*where, key))]
    if isinstance(value, list):
        return [found for index, one in enumerate(value) for found in _numbers(one, (*where, index))]
    return [(where, value)] if isinstance(value, (bool, int, float)) else []


def _setting(bundle: Path, random: Random) -> str | None:
    found = _numbers(planting.manifest(bundle)["models"][planting.role_of(bundle)]["config"])
    where, value = found[random.integers(len(found))]
    if isinstance(value, bool):
        now: Any = not value
    elif isinstance(value, int):
        now = value + int(random.choice([-1, 1])) * max(1, round(0.03 * value))
    else:
        now = value * (1 + random.uniform(-0.05, 0.05))
    planting.config(bundle, *where, value=now)
    return f"config: {'.'.join(map(str, where))} {value} is {now}"


def _matrix(array: Any) -> bool:
    return bool(array.ndim == 2 and len(array) > 1)


HARMFUL: dict[str, Kind] = {
    "a weight scaled": _weight(_scaled),
    "noise on a weight": _weight(_noised),
    "a row of a weight zero": _weight(_row_gone),
    "two rows exchanged": _weight(_rows_exchanged, _matrix),
    "one bit turned": _weight(_bit),
    "a bias zero": _weight(_zero, lambda array: array.ndim == 1),
    "two weights exchanged": _same_shapes,
    "an attribute changed": _node(_attribute),
    "an epsilon changed": _node(_epsilon),
    "another operator": _node(_instead),
    "rounded on the way": _node(_rounded),
    "a whole number changed": _whole_number,
    "two tokens exchanged": _tokens_exchanged,
    "a merge or a word gone": _merge_gone,
    "a setting changed": _setting,
}
