"""NVIDIA's own parser as a judge of graphs: TensorRT for RTX reads and builds them without a GPU or a driver. Running needs both, so nothing here runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import tensorrt_rtx_libs  # noqa: F401  its shared libraries, which the bindings look for

# isort: split
import tensorrt_rtx_bindings as trt

from mmedge.tensors import Feeds, TensorSpec

GROWS = {"batch": (1, 2, 4), "tokens": (1, 2, 16), "past": (0, 4, 32)}
"""Dimension -> least, likeliest and largest size to build for. Every other dimension is built for its golden size."""


class _Log(trt.ILogger):
    """What TensorRT says. It takes the first logger of a process for good."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        if severity <= trt.ILogger.ERROR and "Cuda Runtime" not in message:  # there is no driver here
            self.errors.append(message)


@cache
def _builder() -> tuple[_Log, Any]:
    log = _Log()
    return log, trt.Builder(log)


def refusals(path: Path) -> list[str]:
    """Why the parser does not take a graph: node, operator and reason of each complaint. Empty where it takes it."""
    return _parse(path)[1]


def build(path: Path, inputs: Sequence[TensorSpec], golden: Feeds) -> list[str]:
    """Build an engine with one optimization profile over every dynamic dimension. Returns what went wrong; empty where it was built."""
    dynamic = [spec for spec in inputs if any(isinstance(size, str) for size in spec.shape)]
    ranges = {spec.name: [_range(size, golden[spec.name].shape[axis]) for axis, size in enumerate(spec.shape)] for spec in dynamic}
    return build_for(path, {name: tuple(zip(*sizes)) for name, sizes in ranges.items()})


def build_for(path: Path, shapes: Mapping[str, Sequence[Sequence[int]]]) -> list[str]:
    """Build an engine for the least, likeliest and largest shapes of every dynamic input. Returns what went wrong."""
    network, wrong = _parse(path)
    if wrong:
        return wrong
    log, builder = _builder()
    log.errors.clear()
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    for name, sizes in shapes.items():
        profile.set_shape(name, *sizes)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    return [] if engine is not None and engine.nbytes and not log.errors else log.errors or ["no engine, and no reason given"]


def _range(size: int | str, golden: int) -> tuple[int, int, int]:
    if isinstance(size, int):
        return (size,) * 3
    least, likely, most = GROWS.get(size, (golden,) * 3)
    return least, max(likely, golden), max(most, golden)


def _parse(path: Path) -> tuple[Any, list[str]]:
    log, builder = _builder()
    log.errors.clear()
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    taken = parser.parse_from_file(str(path))
    complaints = [_words(parser.get_error(index)) for index in range(parser.num_errors)]
    return network, complaints or ([] if taken else log.errors or ["refused, and no reason given"])


def _words(error: Any) -> str:
    return f"{error.node_name() or '(no node)'} ({error.node_operator() or 'no operator'}): {error.desc()}"


def may_run(prefer: Mapping[str, tuple[str, ...]], graph: str) -> bool:
    """Whether a family leaves a graph to NVIDIA where there is one."""
    return graph not in prefer or "tensorrt" in prefer[graph]
