"""A candidate opened where it can be: on its own backend, or for an accelerator that this machine lacks, by onnxruntime on the CPU."""

from __future__ import annotations

import contextlib
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmedge.features import cpu_flags
from mmedge.runner import Candidate, Engine, Runner, load_backend
from mmedge.target import Target

ON_CPU = {"ort": {"providers": ("CPUExecutionProvider",)}}
AS_WRITTEN = {"ort": {**ON_CPU["ort"], "fuse_pairs": False}}
"""In another's place: pairs are computed as they stand."""
STAND_IN = "judged by onnxruntime on the CPU"
"""What is noted of a candidate whose own backend cannot open it here."""


def runs_here(backend: str, target: Target) -> bool:
    """Whether this machine has what a backend runs on."""
    return load_backend(backend).probe(target).available


def stands_in(backend: str, target: Target) -> bool:
    """Whether onnxruntime takes a backend's place here: NVIDIA's graphs are standard ONNX."""
    return backend == "tensorrt" and not runs_here(backend, target)


def refused_by_runtime(error: Exception) -> bool:
    """Whether an error is a runtime's own: they have classes for theirs, without a common base, or raise RuntimeError."""
    return type(error).__module__.partition(".")[0] in ("onnxruntime", "openvino") or type(error) is RuntimeError


@contextlib.contextmanager
def opened(backend: str, candidate: Candidate, target: Target) -> Iterator[Runner]:
    """Compile and open a candidate.

    Raises:
        MmedgeError: the runtime is not installed, or refuses the graph.
    """
    if stands_in(backend, target):
        with load_backend("ort").open(Engine(candidate), target.model_copy(update={"options": AS_WRITTEN})) as runner:
            yield runner
        return
    module = load_backend(backend)
    with tempfile.TemporaryDirectory(prefix="mmedge-opening-") as folder, module.open(module.compile(candidate, target, Path(folder)), target) as runner:
        yield runner


def identity(backend: str, candidate: Candidate, target: Target) -> dict[str, Any]:
    """For the keys of steps: all that the outputs of an opened candidate depend on."""
    if stands_in(backend, target):
        backend, target = "ort", target.model_copy(update={"options": AS_WRITTEN})
    options = load_backend(backend).options(target)
    return {
        "backend": backend,
        "version": load_backend(backend).probe(target).version,
        "settings": options.model_dump(mode="json") if hasattr(options, "model_dump") else options,
        "options": {name: str(value) for name, value in candidate.options.items()},
        "precision": candidate.precision,
        "graph": [candidate.graph.sha256, candidate.graph.weights_sha256],
        "machine": [platform.machine(), *cpu_flags()],
    }
