"""Small graphs that press one thing to its limit: the arithmetic of a machine, or its memory.

A runtime's own kernels are measured, opened by the backend as any graph is: what a runtime cannot do here, no graph of its can either.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from mmedge.errors import MmedgeError
from mmedge.onnx_file import Node, small_model
from mmedge.runner import Backend, Candidate, Engine, Graph, Runner
from mmedge.tensors import Array, TensorSpec

if TYPE_CHECKING:
    from mmedge.target import Precision, Target

ROW = 1024
"""Elements in a row of the matrices that are streamed."""
STREAMS_MB = (0.5, 2, 8, 32, 128, 512)
"""Working sets, in float32: within the L2 cache of a small core up to beyond the L3 of a large processor."""
CONSTANT_MB = 32
"""Up to here a matrix is also measured as a weight, which takes a file of that size; in half precision, where only weights are halved, four times as far."""
SHARE_OF_MEMORY = 1 / 8
"""A working set takes at most this much of what is free: a runtime may hold it several times."""
HALVES = ("bf16", "fp16")
FEWEST_RUNS, MOST_S = 3, 1.0
"""A kernel whose run takes longer than ``MOST_S`` runs once after its warm-up."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A graph of a few nodes, what it is fed, and what it has to do. Streams of one name differ in their working set."""

    name: str
    nodes: Sequence[Node]
    inputs: dict[str, Array]
    output: tuple[str, str, tuple[int, ...]]
    weights: dict[str, Array] = field(default_factory=dict)
    flops: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _StandIn(Graph):
    """A graph that counts as large as another: backends choose threads by size."""

    of_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        return self.of_bytes


def every(precision: Precision) -> Iterator[Kernel]:
    """All that press one limit of a machine in this precision."""
    yield from compute(precision)
    yield from streams(precision)


def compute(precision: Precision) -> Iterator[Kernel]:
    """Kernels bound by arithmetic in this precision."""
    if precision == "int8":
        for size in (512, 1024):
            x, w = _some(np.uint8, size, size), _some(np.int8, size, size)
            yield Kernel(f"MatMulInteger {size}", [("MatMulInteger", ["x", "w"], "y", {})], {"x": x}, ("y", "int32", (size, size)), {"w": w}, 2 * size**3)
        yield _in_blocks(512, 1024, 1024)
        yield _quantized_convolution(64, 56, 3)
        return
    for size in (512, 1024):
        x, w = _some(np.float32, size, size), _some(np.float32, size, size)
        yield Kernel(f"MatMul {size}", [("MatMul", ["x", "w"], "y", {})], {"x": x}, ("y", "float32", (size, size)), {"w": w}, 2 * size**3)
    for channels, side, kernel in ((64, 56, 3), (256, 28, 1)):
        x, w = _some(np.float32, 1, channels, side, side), _some(np.float32, channels, channels, kernel, kernel)
        flops = 2 * (channels * side * kernel) ** 2
        nodes: list[Node] = [("Conv", ["x", "w"], "y", {"pads": [kernel // 2] * 4})]
        yield Kernel(f"Conv {channels} {kernel}x{kernel}", nodes, {"x": x}, ("y", "float32", x.shape), {"w": w}, flops)


def streams(precision: Precision) -> Iterator[Kernel]:
    """Kernels bound by memory, each over several working sets. Reading alone: what is written too moves twice."""
    if precision == "int8":
        for columns in (2048, 32768, 114688):
            yield _in_blocks(1, ROW, columns)
        return
    half = precision in HALVES
    free_mb = psutil.virtual_memory().available / 2**20
    for size_mb in STREAMS_MB:
        if size_mb > free_mb * SHARE_OF_MEMORY:
            continue
        rows = int(size_mb * 2**20) // (4 * ROW)
        matrix = _some(np.float32, rows, ROW)
        if size_mb <= CONSTANT_MB * (4 if half else 1):
            size = matrix.nbytes // (2 if half else 1)
            nodes: list[Node] = [("Gemm", ["x", "w"], "y", {"transB": 1})]
            yield Kernel("Gemm of a weight", nodes, {"x": _some(np.float32, 1, ROW)}, ("y", "float32", (1, rows)), {"w": matrix}, bytes=size)
        if not half:
            nodes = [("MatMul", ["w", "x"], "y", {})]
            column = {"w": matrix, "x": _some(np.float32, ROW, 1)}
            yield Kernel("MatMul of an input", nodes, column, ("y", "float32", (rows, 1)), bytes=matrix.nbytes)
        nodes = [("ReduceMax", ["w"], "y", {"axes": [1], "keepdims": 1})]
        yield Kernel("ReduceMax", nodes, {"w": matrix}, ("y", "float32", (rows, 1)), bytes=matrix.nbytes)


def _in_blocks(rows: int, depth: int, columns: int) -> Kernel:
    """A matrix in blocks of 32 with a scale each, as ``mmedge.backends.ort.int8`` makes them."""
    weights = {"w": _some(np.uint8, columns, depth // 32, 32), "scales": _some(np.float32, columns * depth // 32)}
    nodes: list[Node] = [("com.microsoft:MatMulNBits", ["x", "w", "scales"], "y", {"K": depth, "N": columns, "bits": 8, "block_size": 32, "accuracy_level": 4})]
    x = {"x": _some(np.float32, rows, depth)}
    size = sum(weight.nbytes for weight in weights.values()) if rows == 1 else 0
    flops = 2 * rows * depth * columns if rows > 1 else 0
    return Kernel("MatMulNBits", nodes, x, ("y", "float32", (rows, columns)), weights, flops, size)


def _quantized_convolution(channels: int, side: int, kernel: int) -> Kernel:
    """As quantized files have it: every runtime fuses the pairs in its own way."""
    weights = {
        "w": _some(np.int8, channels, channels, kernel, kernel),
        "scale": np.array(0.01, np.float32),
        "zero": np.array(128, np.uint8),
        "middle": np.array(0, np.int8),
        "wide": np.array(100.0, np.float32),
    }
    nodes: list[Node] = [
        ("DequantizeLinear", ["x", "scale", "zero"], "a", {}),
        ("DequantizeLinear", ["w", "scale", "middle"], "b", {}),
        ("Conv", ["a", "b"], "c", {"pads": [kernel // 2] * 4}),
        ("QuantizeLinear", ["c", "wide", "zero"], "y", {}),
    ]
    x = _some(np.uint8, 1, channels, side, side)
    return Kernel(f"quantized Conv {channels} {kernel}x{kernel}", nodes, {"x": x}, ("y", "uint8", x.shape), weights, 2 * (channels * side * kernel) ** 2)


def _some(dtype: Any, *shape: int) -> Array:
    """Numbers without a pattern that a runtime could use: a short series, repeated."""
    few = np.random.default_rng(0).integers(1, 100, 4099)
    values = few.astype(dtype) if np.issubdtype(dtype, np.integer) else (few / 100).astype(dtype)
    return np.resize(values, shape)


def opened(backend: Backend, precision: Precision, target: Target, size_bytes: int, kernel: Kernel, use: Callable[[Runner], Any]) -> Any:
    """What ``use`` makes of the kernel, opened like a graph of ``size_bytes``. Raises MmedgeError: the backend does not take it."""
    domains = {"": 17, "com.microsoft": 1} if any(":" in node[0] for node in kernel.nodes) else {"": 17}
    written = small_model(kernel.nodes, kernel.inputs, kernel.output, kernel.weights, domains)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.onnx"
        path.write_bytes(written)
        inputs = tuple(TensorSpec(name, array.dtype.name, array.shape) for name, array in kernel.inputs.items())
        graph = _StandIn(path, hashlib.sha256(written).hexdigest(), inputs, (TensorSpec(*kernel.output),), of_bytes=size_bytes)
        del written
        with backend.open(Engine(Candidate(graph, precision)), target) as runner:
            return use(runner)


def fastest_s(runner: Runner, kernel: Kernel, effort_s: float, now_s: Callable[[], float] = time.perf_counter) -> float | None:
    """The shortest run within ``effort_s``: what disturbs can only make it longer. None where the runtime computed nothing."""
    least, spent, runs = inf, 0.0, -1
    while runs < FEWEST_RUNS or spent < effort_s:
        before = now_s()
        outputs = runner.run(kernel.inputs)
        took = now_s() - before
        if runs < 0:  # the first: caches are cold, buffers are allocated
            if not np.any(outputs[kernel.output[0]]):
                return None
        else:
            least, spent = min(least, took), spent + took
        runs += 1
        if runs and took > MOST_S:
            break
    return least


def timed(
    kernels: Iterable[Kernel], backend: Backend, precision: Precision, target: Target, size_bytes: int, effort_s: float
) -> Iterator[tuple[Kernel, float]]:
    """Every kernel that the backend takes, with the seconds of its fastest run."""
    for kernel in kernels:
        try:
            took_s = opened(backend, precision, target, size_bytes, kernel, partial(fastest_s, kernel=kernel, effort_s=effort_s))
        except MmedgeError:  # an operator that this runtime lacks
            continue
        if took_s:
            yield kernel, took_s


SMALLEST = Kernel("Relu", [("Relu", ["x"], "y", {})], {"x": _some(np.float32, 1)}, ("y", "float32", (1,)))
"""To ask a runtime how it opens graphs."""
