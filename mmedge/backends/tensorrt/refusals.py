"""Why NVIDIA's parser does not take a graph, in its own words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmedge import onnx_file
from mmedge.errors import MmedgeError

UNSORTED = "sort the model topologically"
"""What the parser says of a graph in which two nodes give an output of the same name, too: it looks the giver of an input up by that name."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One complaint; node and operator are empty where it is about the whole graph."""

    node: str
    operator: str
    reason: str

    def __str__(self) -> str:
        return f"{self.node or '(no node)'} ({self.operator or 'no operator'}): {self.reason}"


def refusals(parser: Any, path: Path) -> tuple[Refusal, ...]:
    """All that a parser complained of in the graph at ``path``."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    found = [Refusal(error.node_name(), error.node_operator(), _reason(error)) for error in errors]
    if any(UNSORTED in one.reason for one in found):
        found = [*_same_outputs(path), *found]
    return tuple(found)


def _reason(error: Any) -> str:
    """Where the words are only that something is ``false``, the name of the error: ``UNSUPPORTED_NODE``."""
    words = " ".join(error.desc().split())
    return f"{error.code().name}, by {error.func()}" if words == "false" else words


def _same_outputs(path: Path) -> list[Refusal]:
    """The nodes that give what another one gives already."""
    try:
        model = onnx_file.read(path)
    except MmedgeError:
        return []
    found = []
    for graph in onnx_file.graphs(model.graph):
        givers = Counter(name for node in graph.node for name in node.output if name)
        for node in graph.node:
            for name in node.output:
                if givers[name] > 1:
                    found.append(Refusal(node.name, node.op_type, f"its output {name!r} has the name of another node's output"))
    return found
