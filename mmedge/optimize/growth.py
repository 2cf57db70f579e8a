"""What a process grows by that opens a candidate and runs it, read in one of its own: ``python -m mmedge.optimize.growth``."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

from mmedge.documents import Document, dump_json, read_json
from mmedge.manifest import Tensor
from mmedge.optimize import npz
from mmedge.optimize.opening import opened
from mmedge.profile.processes import resident, run_module, tell
from mmedge.runner import Candidate, Graph, load_backend
from mmedge.target import Precision, Target
from mmedge.tensors import Feeds, TensorSpec

RUNS = 3
"""What a runtime sets aside, it has set aside by then."""


class Asked(Document):
    """A candidate as another process can open it."""

    backend: str
    target: Target
    path: str
    sha256: str
    weights: str | None
    weights_sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ranges: dict[str, tuple[int, int, int]]
    stored: Precision
    """Of the file."""
    precision: Precision
    """It is opened in."""
    options: dict[str, Any]
    feeds: str
    """npz."""

    def candidate(self) -> Candidate:
        inputs, outputs = (tuple(TensorSpec(one.name, one.dtype, one.shape) for one in side) for side in (self.inputs, self.outputs))
        weights = Path(self.weights) if self.weights else None
        graph = Graph(Path(self.path), self.sha256, inputs, outputs, weights, self.ranges, precision=self.stored, weights_sha256=self.weights_sha256)
        return Candidate(graph, self.precision, self.options)


def memory_mb(backend: str, candidate: Candidate, target: Target, feeds: Feeds, scratch: Path) -> float | None:
    """Megabytes of 2^20 bytes that a process grows by; None where the system does not tell.

    Args:
        scratch: an empty folder.

    Raises:
        MmedgeError: the runtime refuses the candidate, or the process was killed.
    """
    path = scratch / "feeds.npz"
    npz.write(path, feeds)
    graph = candidate.graph
    inputs, outputs = (tuple(Tensor(name=one.name, dtype=one.dtype, shape=one.shape) for one in side) for side in (graph.inputs, graph.outputs))
    asked = Asked(
        backend=backend,
        target=target,
        path=str(graph.path),
        sha256=graph.sha256,
        weights=str(graph.weights) if graph.weights else None,
        weights_sha256=graph.weights_sha256,
        inputs=inputs,
        outputs=outputs,
        ranges=dict(graph.ranges),
        stored=graph.precision,
        precision=candidate.precision,
        options=dict(candidate.options),
        feeds=str(path),
    )
    (scratch / "asked.json").write_text(dump_json(asked), encoding="utf-8")
    grown: float | None = run_module("mmedge.optimize.growth", [str(scratch / "asked.json")], f"opened {graph.path.name} by {backend} in {candidate.precision}")
    return grown


def growth(asked: Asked) -> float | None:
    """Of this process, from when the runtime is there to when the candidate has run: shared pages count in part where the system tells."""
    load_backend(asked.backend).probe(asked.target)
    feeds = npz.read(Path(asked.feeds))
    gc.collect()
    before = resident()
    with opened(asked.backend, asked.candidate(), asked.target) as runner:
        for _ in range(RUNS):
            runner.run(feeds)
        gc.collect()
        after = resident()
    if before.pss_mb is not None and after.pss_mb is not None:
        return round(max(0.0, after.pss_mb - before.pss_mb), 1)
    return round(max(0.0, after.rss_mb - before.rss_mb), 1)


if __name__ == "__main__":
    tell(lambda: growth(read_json(Path(sys.argv[1]), Asked, fix="")))
