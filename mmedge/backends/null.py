"""No hardware and no arithmetic: zeros of the declared shapes, so that the whole path runs anywhere in no time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from mmedge.runner import Candidate, Carried, Copied, Engine, Facts, Graph
from mmedge.tensors import Array, Feeds, check_feeds

if TYPE_CHECKING:
    from mmedge.target import Target


def probe(target: Target | None = None) -> Facts:
    return Facts(True, version="1", reason="computes nothing")


def options(target: Target) -> None:
    """There are none."""


def candidates(graph: Graph, target: Target) -> list[Candidate]:
    return [Candidate(graph, "fp32")]


def compile(candidate: Candidate, target: Target, out: Path) -> Engine:
    return Engine(candidate)


def open(engine: Engine, target: Target) -> NullRunner:
    return NullRunner(engine.candidate.graph)


def operators(engine: Engine, target: Target, feeds: Feeds, runs: int) -> None:
    """Nothing to tell apart."""
    return None


class NullRunner:
    """Checks its feeds like every runner, then answers with zeros; a dynamic size is the feed's of that name, else 1."""

    reuses_outputs = False

    def __init__(self, graph: Graph) -> None:
        self.inputs, self.outputs = graph.inputs, graph.outputs

    def run(self, feeds: Feeds) -> dict[str, Array]:
        checked = check_feeds(self.inputs, feeds)
        sizes = {name: size for spec in self.inputs for name, size in zip(spec.shape, checked[spec.name].shape)}
        return {
            spec.name: np.zeros(
                [size if isinstance(size, int) else sizes.get(size, 1) for size in spec.shape], spec.dtype if spec.dtype != "bfloat16" else "float32"
            )
            for spec in self.outputs
        }

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Carried:
        return Copied(self, pairs, start)

    def executed(self) -> dict[str, str]:
        return {"precision": "none: nothing is computed"}

    def __enter__(self) -> NullRunner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None
