"""What a maker of quantized graphs is given and gives back.

A maker is a module ``optimize/RUNTIME_METHOD.py`` with ``make(graph, feeds, out, options) -> Made``: it reads the fp32 graph, never changes it, and writes one
file into the folder ``out``, or two where the weights lie beside it. The same graph, feeds and options give the same files.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError, first_line
from mmedge.manifest import Variant
from mmedge.quantization import MODULES, Quantize
from mmedge.runner import Graph
from mmedge.target import Precision
from mmedge.tensors import Feeds

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
    """Names of the nodes that could have integer weights, and stayed in fp32."""
    integer: int
    """Nodes that compute with integer weights."""
    seconds: float

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(path.stat().st_size for path in (self.file, self.weights) if path)


class Maker(Protocol):
    """One method for one runtime."""

    def make(self, graph: Graph, feeds: Feeding, out: Path, options: Quantize) -> Made:
        """Raises MmedgeError: the graph has nothing to quantize, there are no feeds where they are needed, or the tool refuses the graph."""
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
    """What a tool raises becomes an error of two lines with the tool's own words, which name the node where it knows one."""
    try:
        yield
    except MmedgeError:
        raise
    except Exception as error:  # the tools' exceptions share no base but Exception
        raise MmedgeError(f"{tool} does not quantize {graph.path.name}: {first_line(error)}", "leave this method out for this graph") from error


def hold(made: Made, graph: Graph) -> Made:
    """Hold a made graph to what its name says.

    Raises:
        MmedgeError: less than half of it computes with integer weights, or it is no smaller than the graph in fp32.
    """
    if not made.integer:
        raise MmedgeError(f"{graph.path.name} by {made.method} would still be fp32: no node has integer weights", "leave this method out for this graph")
    if made.integer < len(made.kept_float):
        share = f"{len(made.kept_float)} of {made.integer + len(made.kept_float)} nodes with weights"
        raise MmedgeError(f"{graph.path.name} by {made.method} would mostly be fp32: {share}", "leave this method out for this graph")
    if made.size_bytes >= graph.size_bytes:
        raise MmedgeError(
            f"{graph.path.name} by {made.method} takes {made.size_bytes / 1e6:.1f} MB, and {graph.size_bytes / 1e6:.1f} MB in fp32",
            "leave this method out for this graph",
        )
    return made


def keep(bundle: Bundle, role: str, key: str, made: Made, backend: str, drift: float) -> Variant:
    """Store a quantized graph in the bundle; the manifest is the caller's to change."""
    name = made.file.name.partition(".")[0]
    weights = bundle.add(role, f"{name}{made.weights.suffix}", made.weights) if made.weights else None
    file = bundle.add(role, f"{name}{made.file.suffix}", made.file)
    return Variant(precision=made.precision, backend=backend, file=file, weights=weights, method=made.method, kept_float=made.kept_float, drift=min(drift, 1e9))
