"""From a runtime's operator back to the torch module: by what torch's exporter left in the ONNX file, and what runtimes do to its names."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmedge import onnx_file
from mmedge.runner import OperatorTime

TORCH = "pytorch"
"""The producer that torch's exporters write into a file."""
SCOPES, CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"
"""Python lists, outermost module first; the last entry is the operation itself."""
NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"
"""What torch writes for a computed size, which no module asked for."""
ADDED = re.compile(r"(_nchwc|_Q\d+|/WithoutBiases|/\w+Fusion/?)$")
"""What ONNX Runtime and OpenVINO append to the name of a node, or of its output, that they rewrote."""
STEPS = 3
"""So far back a fused activation or addition may lie from the operator that it was fused with."""


@dataclass(frozen=True)
class Node:
    """A node of the ONNX file."""

    kind: str
    module: str | None
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Modules:
    """The nodes of an ONNX file that torch exported, by their names and by their outputs'."""

    nodes: Mapping[str, Node] = field(default_factory=dict)
    made: Mapping[str, Node] = field(default_factory=dict)
    missing: str = ""
    """Why no module can be named."""

    @classmethod
    def read(cls, path: Path) -> Modules:
        """Its weights are left where they are, if they are in a file of their own."""
        model = onnx_file.read(path)
        if model.producer_name != TORCH:
            return cls(missing=f"modules are not named: the file was written by {model.producer_name or 'an unnamed producer'}, not exported by torch")
        weights = {tensor.name for tensor in model.graph.initializer}
        nodes = [(node, Node(node.op_type, _module(node, weights), tuple(node.input))) for node in model.graph.node]
        return cls({node.name: read for node, read in nodes if node.name}, {output: read for node, read in nodes for output in node.output if output})

    def of(self, operator: OperatorTime) -> str | None:
        """The module that an operator came from; of several nodes fused into one, that of the node which gives the operator its name."""
        for name in (operator.name, *operator.nodes):
            while name not in self.nodes and name not in self.made and (cut := ADDED.sub("", name)) != name:
                name = cut
            if found := self.nodes.get(name) or self._worker(name, operator.kind):
                return found.module
        return None

    def _worker(self, output: str, kind: str) -> Node | None:
        """Of an operator that is named by its output: the node of its kind at or before that output, such as the Conv before a Clip."""
        last = self.made.get(output)
        reached = [last] if last else []
        for _ in range(STEPS + 1):
            if same := next((node for node in reached if node.kind in kind), None):
                return same
            reached = [self.made[name] for node in reached for name in node.inputs if name in self.made]
        return last


def _module(node: Any, weights: set[str]) -> str | None:
    """The owner of the node's first weight, which survives the fusion of a norm into a convolution; else the innermost scope.

    Torch's former exporter left neither, but named a node by its scope: ``/encoder/layers.0/MatMul``.
    """
    if owned := next((name for name in node.input if name in weights and "." in name), None):
        return owned.rpartition(".")[0]
    left = {entry.key: _list(entry.value) for entry in node.metadata_props if entry.key in (SCOPES, CLASSES)}
    if len(scopes := left.get(SCOPES, [])) > 1:
        if scopes[-2] == NO_MODULE:
            return None
        return scopes[-2] or left.get(CLASSES, [""])[0].rpartition(".")[2] or None  # the outermost has no name but its class
    return ".".join(node.name.split("/")[1:-1]) or None if node.name.startswith("/") else None


def _list(text: str) -> list[str]:
    try:
        entries = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []
    return [str(entry) for entry in entries] if isinstance(entries, list) else []
