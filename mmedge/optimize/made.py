"""What a maker of quantized graphs is given and gives back.

A maker is a module ``optimize/RUNTIME_METHOD.py`` with ``make(graph, feeds, out, options, keep) -> Made``: it reads the fp32 graph, never changes it, and
writes one file into the folder ``out``, or two where the weights lie beside it. The same graph, feeds, options and kept nodes give the same files.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import Protocol

from mmedge import onnx_file
from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError, first_line
from mmedge.manifest import File, Variant
from mmedge.quantization import MODULES, Quantize
from mmedge.runner import Graph
from mmedge.target import Precision
from mmedge.tensors import Feeds

WORTH = 0.75
"""Of the bytes in fp32, at most."""

EXTERNAL = 1
"""ONNX's number of a tensor that lies in another file."""

Feeding = Callable[[], Iterator[Feeds]]
"""Calibration feeds of one graph, from the beginning each time, one at a time."""


@dataclass(frozen=True, slots=True)
class Made:
    """A graph once more with integer weights, by one method."""

    file: Path
    """ONNX, or OpenVINO's IR (``.xml``)."""
    weights: Path | None
    """The file beside it that holds its tensors, by its name in the same folder."""
    precision: Precision
    """Of its weights."""
    method: str
    kept_float: tuple[str, ...]
    """Names of the fp32 graph's nodes that could have integer weights, look-ups in large tables among them, and stayed in fp32."""
    integer: int
    """Nodes that compute with integer weights."""
    seconds: float

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(path.stat().st_size for path in (self.file, self.weights) if path)


class Maker(Protocol):
    """One method for one runtime."""

    def make(self, graph: Graph, feeds: Feeding, out: Path, options: Quantize, keep: Collection[str] = ()) -> Made:
        """Make one.

        Args:
            keep: names of nodes, as ``proto.load`` gives them, that stay in fp32. A table stays with every node that uses it where one of them does.

        Raises:
            MmedgeError: the graph has nothing to quantize, there are no feeds where they are needed, or the tool refuses the graph.
        """
        ...


def maker(backend: str, options: Quantize) -> Maker:
    """What makes a method's graphs for a backend. Raises MmedgeError: nothing does."""
    name = MODULES.get((backend, options.method))
    if name is None:
        raise MmedgeError(f"nothing makes graphs by the method {options.method} for {backend}", "leave it out of the target's quantize table")
    module: Maker = importlib.import_module(f"mmedge.optimize.{name}")
    return module


@contextlib.contextmanager
def refusing(tool: str, graph: Graph) -> Iterator[None]:
    """What a tool raises becomes an error of two lines: its own words, and the node that they are about where they name one."""
    try:
        yield
    except MmedgeError:
        raise
    except Exception as error:  # the tools' exceptions share no base but Exception
        # OpenVINO's begin with where in its own code they arose.
        words = [line.strip() for line in str(error).splitlines() if line.strip() and not line.lstrip().startswith(("Exception from", "Check '"))]
        said = f"{tool} does not quantize {graph.path.name}{_place(str(error), graph)}: {words[0] if words else first_line(error)}"
        raise MmedgeError(said, "leave this method out for this graph") from error


def _place(said: str, graph: Graph) -> str:
    """The node that words are about: the one with the longest name, of itself or of what it gives, that is among them; else the only one of its operator."""
    nodes = list(onnx_file.read(graph.path).graph.node)
    kinds = Counter(node.op_type for node in nodes)
    named = {name: node for node in nodes for name in (node.name, *node.output, *([node.op_type] if kinds[node.op_type] == 1 and node.domain else []))}
    among = [name for name in named if name and (f"'{name}'" in said or (len(name) > 2 and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said)))]
    found = max(among, key=len, default="")
    return f" at {named[found].name or found} ({named[found].op_type})" if found else ""


def hold(made: Made, graph: Graph) -> Made:
    """Hold a made graph to what its name says.

    Raises:
        MmedgeError: less than half of it computes with integer weights, or it is not worth its bytes: a large table in fp32 may stay beside them.
    """
    if not made.integer:
        raise MmedgeError(f"{graph.path.name} by {made.method} would still be fp32: no node has integer weights", "leave this method out for this graph")
    if made.integer < len(made.kept_float):
        share = f"{len(made.kept_float)} of {made.integer + len(made.kept_float)} nodes with weights"
        raise MmedgeError(f"{graph.path.name} by {made.method} would mostly be fp32: {share}", "leave this method out for this graph")
    if made.size_bytes > WORTH * (before := own_bytes(graph)):
        raise MmedgeError(
            f"{graph.path.name} by {made.method} takes {made.size_bytes / 1e6:.1f} MB, and {before / 1e6:.1f} MB in fp32",
            "leave this method out for this graph",
        )
    return made


def own_bytes(graph: Graph) -> int:
    """What a graph takes without what else is in its weights file, which other graphs of its model may share."""
    tensors = onnx_file.read(graph.path).graph.initializer
    apart = sum(prod(tensor.dims) * onnx_file.BITS[tensor.data_type] // 8 for tensor in tensors if tensor.data_location == EXTERNAL)
    return graph.path.stat().st_size + apart


def keep(bundle: Bundle, role: str, key: str, made: Made, backend: str, drift: float) -> Variant:
    """Store a quantized graph in the bundle; the manifest is the caller's to change. A weights file that it shares with its graph in fp32 is there already."""
    name = made.file.name.partition(".")[0]
    shared = bundle.manifest.models[role].graphs[key].weights if key in bundle.manifest.models[role].graphs else None
    if made.weights and shared and made.weights.name == PurePosixPath(shared.path).name:
        weights: File | None = shared
    else:
        weights = bundle.add(role, f"{name}{made.weights.suffix}", made.weights) if made.weights else None
    file = bundle.add(role, f"{name}{made.file.suffix}", made.file)
    return Variant(precision=made.precision, backend=backend, file=file, weights=weights, method=made.method, kept_float=made.kept_float, drift=min(drift, 1e9))
