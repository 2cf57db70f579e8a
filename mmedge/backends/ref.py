"""ONNX's own reference evaluator: slow, and right by definition."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mmedge.need import have, need
from mmedge.runner import Candidate, Carried, Copied, Engine, Facts, Graph
from mmedge.tensors import Array, Feeds, check_feeds

if TYPE_CHECKING:
    from mmedge.target import Target


def probe(target: Target | None = None) -> Facts:
    if not have("onnx"):
        return Facts(False, reason="onnx is not installed", fix='pip install "mmedge[build]"')
    return Facts(True, version=need("onnx", extra="build").__version__, reason="numpy")


def options(target: Target) -> None:
    """There are none."""


def candidates(graph: Graph, target: Target) -> list[Candidate]:
    return [Candidate(graph, "fp32")]


def compile(candidate: Candidate, target: Target, out: Path) -> Engine:
    return Engine(candidate)


def open(engine: Engine, target: Target) -> RefRunner:
    return RefRunner(engine.candidate.graph)


def operators(engine: Engine, target: Target, feeds: Feeds, runs: int) -> None:
    """The evaluator keeps no times, and they would say nothing about a device."""
    return None


class RefRunner:
    """The graph in numpy, operator by operator."""

    reuses_outputs = False

    def __init__(self, graph: Graph) -> None:
        reference = need("onnx.reference", extra="build")
        self._evaluator = reference.ReferenceEvaluator(str(graph.path))
        self.inputs, self.outputs = graph.inputs, graph.outputs

    def run(self, feeds: Feeds) -> dict[str, Array]:
        return dict(zip((spec.name for spec in self.outputs), self._evaluator.run([spec.name for spec in self.outputs], check_feeds(self.inputs, feeds))))

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Carried:
        return Copied(self, pairs, start)

    def executed(self) -> dict[str, str]:
        return {"precision": "as the file declares every tensor", "evaluator": "onnx.reference, in numpy"}

    def __enter__(self) -> RefRunner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        del self._evaluator
