"""The first part of an ONNX graph as a graph of its own, without the package onnx: a device lacks it. What the file says and we do not read stays in it.

Weights lie in a file beside it and are never in memory: a cut is small, however large the model.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmedge import onnx_file
from mmedge.errors import MmedgeError
from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

SMALL_BYTES = 1024
"""Stays in the file: shapes and the like, which runtimes want to see."""
ALIGN_BYTES = 4096
EXTERNAL = 1
"""ONNX's number of ``data_location`` for a tensor in another file."""


class Net:
    """A graph whose nodes are in an order in which they can run.

    Args:
        scratch: where weights that are in the file itself are to lie, and what is cut from it. Where they have a file of their own, a cut lies beside that for
            as long as it is needed: a runtime takes weights from a model's own folder only, and some from no file with two names.

    Raises:
        MmedgeError: no ONNX file, or nodes that wait for each other.
    """

    def __init__(self, graph: Graph, scratch: Path) -> None:
        self.graph, self._folder, self._weights = graph, graph.path.parent, graph.weights
        self._model = onnx_file.read(graph.path)
        if graph.weights is None:
            self._folder = scratch
            self._model, self._weights = _without_weights(self._model, scratch / f"{graph.sha256[:16]}.weights")
        whole = self._model.graph
        self.nodes = _ordered(whole, graph.path)
        self.maker = {name: index for index, node in enumerate(self.nodes) for name in node.output if name}
        self.ends = tuple(value.name for value in whole.output)
        self._last = {name: index for index, node in enumerate(self.nodes) for name in reads(node)} | dict.fromkeys(self.ends, len(self.nodes))

    def live(self, count: int) -> list[str]:
        """The tensors that the first ``count`` nodes make for those after them, or as the graph's own outputs."""
        return [name for name, made in self.maker.items() if made < count <= self._last.get(name, -1)]

    def before(self, outputs: Sequence[str]) -> set[int]:
        """The indexes of all nodes that ``outputs`` depend on."""
        found: set[int] = set()
        waiting = [self.maker[name] for name in outputs if name in self.maker]
        while waiting:
            if (index := waiting.pop()) not in found:
                found.add(index)
                waiting += [self.maker[name] for name in reads(self.nodes[index]) if name in self.maker]
        return found

    @contextlib.contextmanager
    def cut(self, outputs: Sequence[str], specs: Mapping[str, TensorSpec]) -> Iterator[Graph]:
        """The part of the graph that ``outputs`` depend on, as a file for as long as the block lasts.

        Args:
            specs: what is known of the outputs. A runtime other than ONNX Runtime wants at least their types.
        """
        kept = sorted(self.before(outputs))
        used = {taken for index in kept for taken in reads(self.nodes[index])} | set(outputs)
        model = type(self._model)()
        model.CopyFrom(self._model)
        part = model.graph
        del part.node[:], part.output[:], part.value_info[:]
        part.node.extend(self.nodes[index] for index in kept)
        for values in (part.initializer, part.input):
            wanted = [value for value in values if value.name in used]
            del values[:]
            values.extend(wanted)
        for output in outputs:
            value = part.output.add(name=output)
            if output in specs:
                value.type.tensor_type.elem_type = onnx_file.NUMBERS[specs[output].dtype]
        content = model.SerializeToString()
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._folder / f"{self.graph.path.name.partition('.')[0]}.cut-{sha256[:8]}.onnx"
        path.write_bytes(content)
        inputs = tuple(spec for spec in self.graph.inputs if spec.name in used)
        known = tuple(specs[output] for output in outputs if output in specs)
        try:
            yield replace(self.graph, path=path, sha256=sha256, inputs=inputs, outputs=known, weights=self._weights, variants={})
        finally:
            path.unlink(missing_ok=True)


def reads(node: Any) -> Iterator[str]:
    """The names of the tensors that a node reads; by the graphs inside it too, whose own names are among them."""
    yield from filter(None, node.input)
    for inner in onnx_file.inside(node):
        yield from (value.name for value in inner.output)
        for one in inner.node:
            yield from reads(one)


def _ordered(graph: Any, path: Path) -> list[Any]:
    """The nodes, each after those it reads from, else as they stand: converters leave them in another order."""
    makers = {name for node in graph.node for name in node.output if name}
    ordered: list[Any] = []
    made: set[str] = set()
    waiting = list(graph.node)
    while waiting:
        late = []
        for node in waiting:
            if any(name in makers and name not in made for name in reads(node)):
                late.append(node)
                continue
            ordered.append(node)
            made.update(node.output)
        if len(late) == len(waiting):
            raise MmedgeError(f"{path} has nodes that wait for each other, {late[0].name or late[0].op_type} for one", "export the bundle again")
        waiting = late
    return ordered


def _without_weights(model: Any, path: Path) -> tuple[Any, Path | None]:
    """The model with its large tensors in a file at ``path`` and no more in memory, and that file; None where it has none."""
    large = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) > SMALL_BYTES]
    if not large:
        return model, None
    with path.open("wb") as file:
        for tensor in large:
            file.write(b"\0" * (-file.tell() % ALIGN_BYTES))
            place = {"location": path.name, "offset": file.tell(), "length": len(tensor.raw_data)}
            file.write(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = EXTERNAL
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
    light = type(model)()  # protobuf frees nothing of a message but the whole
    light.ParseFromString(model.SerializeToString())
    return light, path
