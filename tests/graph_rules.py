"""What every ONNX graph must keep to, whoever made it: read from the file alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import onnx


def faults(model: onnx.ModelProto) -> list[str]:
    """What is wrong with a graph: names used twice, outputs nobody named, outputs and inputs that nothing connects, training and foreign operators."""
    graph = model.graph
    wrong = [f"two outputs are named {name}" for name, count in Counter(_produced(graph)).items() if count > 1]
    wrong += [f"output {name} has no name of its own" for name in _unnamed([value.name for value in graph.output])]
    inputs, weights = {value.name for value in graph.input}, {tensor.name for tensor in graph.initializer}
    needs = _needs(graph)
    for value in graph.output:
        if not needs.get(value.name, {value.name}) & inputs:
            wrong.append(f"output {value.name} depends on no input")
    reached = set().union(*(needs.get(value.name, {value.name}) for value in graph.output))
    wrong += [f"input {name} reaches no output" for name in sorted(inputs - weights - reached)]
    wrong += [f"operator {node.op_type} is of the domain {node.domain}" for node in graph.node if node.domain not in ("", "ai.onnx")]
    return wrong


def _produced(graph: Any) -> Iterator[str]:
    """Every name that a node of the graph or of a graph inside it gives out, and every input and weight."""
    yield from (value.name for value in graph.input)
    yield from {tensor.name for tensor in graph.initializer} - {value.name for value in graph.input}
    for node in graph.node:
        yield from (name for name in node.output if name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _produced(attribute.g)


def _unnamed(names: list[str]) -> list[str]:
    """Names that count (present_key_0, present_key_1, ...) begin at 0 and leave nothing out; an exporter's own (linear_25, val_12) do not."""
    counted: dict[str, list[int]] = {}
    for name in names:
        if found := re.fullmatch(r"(.*?)[_.]?(\d+)", name):
            counted.setdefault(found[1], []).append(int(found[2]))
    strays = {stem for stem, numbers in counted.items() if sorted(numbers) != list(range(len(numbers))) or not re.search(r"[A-Za-z]{2}", stem)}
    return [name for name in names if (found := re.fullmatch(r"(.*?)[_.]?(\d+)", name)) and found[1] in strays]


def _needs(graph: Any) -> dict[str, set[str]]:
    """Tensor -> the graph's inputs that it depends on. Nodes come in an order in which everything is there before it is used."""
    needs: dict[str, set[str]] = {value.name: {value.name} for value in graph.input}
    for node in graph.node:
        used = [*node.input, *(name for attribute in node.attribute if attribute.HasField("g") for name in _outer(attribute.g))]
        together = set().union(*(needs.get(name, set()) for name in used))
        needs.update(dict.fromkeys(node.output, together))
    return needs


def _outer(graph: Any) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _outer(attribute.g)
    yield from (value.name for value in graph.output)
