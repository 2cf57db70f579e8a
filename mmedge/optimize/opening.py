"""A candidate opened where it can be: on its own backend, or for accelerators that this machine lacks, by onnxruntime on the CPU."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmedge.runner import Candidate, Engine, Runner, load_backend
from mmedge.target import Target

ON_CPU = {"ort": {"providers": ("CPUExecutionProvider",)}}


def runs_here(backend: str, target: Target) -> bool:
    """Whether this machine has what a backend runs on."""
    return load_backend(backend).probe(target).available


@contextlib.contextmanager
def opened(backend: str, candidate: Candidate, target: Target) -> Iterator[Runner]:
    """Compile and open a candidate. NVIDIA's graphs, which are standard ONNX, are opened by onnxruntime where there is no GPU.

    Raises:
        MmedgeError: the runtime is not installed, or refuses the graph.
    """
    if backend == "tensorrt" and not runs_here(backend, target):
        cpu = target.model_copy(update={"options": ON_CPU})
        with load_backend("ort").open(Engine(candidate), cpu) as runner:
            yield runner
        return
    module = load_backend(backend)
    with tempfile.TemporaryDirectory(prefix="mmedge-opening-") as folder, module.open(module.compile(candidate, target, Path(folder)), target) as runner:
        yield runner
