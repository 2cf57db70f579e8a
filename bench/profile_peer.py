"""One side of ``profile_peers.py``, in a process of its own: mmedge, plain onnxruntime or OpenVINO's benchmark_app on one graph, or the graph's operators.

``python bench/profile_peer.py WHAT --bundle B --graph ROLE/NAME --backend B --seconds S``: a line of JSON for each line on stdin.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.bundle import Bundle
from mmedge.evaluate.golden import Golden
from mmedge.need import need
from mmedge.profile.modules import Modules
from mmedge.profile.operators import summed
from mmedge.profile.protocol import measure
from mmedge.profile.report import Rules
from mmedge.runner import Candidate, Engine, Graph, Runner, load_backend
from mmedge.target import Target
from mmedge.tensors import Feeds, TensorSpec

TARGETS = {"ort": "cpu", "openvino": "intel-cpu"}
LEAST = 10
"""Calls per process, at least."""
OPERATOR_RUNS = 40
CHAIN, SIDE = 65, 128
"""Operators, and rows and columns of what they compute on: some microseconds each, since OpenVINO counts no parts of one."""


@dataclass(frozen=True)
class Case:
    """One graph on one backend."""

    bundle: Path
    key: str
    backend: str

    @property
    def target(self) -> Target:
        return Target.load(TARGETS[self.backend])

    @property
    def graph(self) -> Graph:
        return Bundle.open(self.bundle).graph(*self.key.split("/"))

    @property
    def feeds(self) -> Feeds:
        role, name = self.key.split("/")
        return {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in Golden(Bundle.open(self.bundle), role).graph(name)[0].items()}

    def open(self) -> Runner:
        return load_backend(self.backend).open(Engine(Candidate(self.graph, "fp32")), self.target)


Block = Callable[[], Any]
"""What a process tells each time it is asked: the median milliseconds of a graph over some time, once warm."""
Serve = Callable[[Block], None]


def ours(case: Case, seconds: float, serve: Serve) -> None:
    """As a profile's row has it."""
    feeds, rules = case.feeds, Rules(seconds=seconds, samples=LEAST)
    with case.open() as runner:
        serve(lambda: statistics.median(measure(lambda: runner.run(feeds), rules).samples.latency_ms))


def plain(case: Case, seconds: float, serve: Serve) -> None:
    """onnxruntime as its own examples use it: a session with default options, but as many threads as ours has."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    with case.open() as runner:
        threads = runner.executed()["threads"]
    settings.intra_op_num_threads = int(threads) if threads.isdigit() else 0
    session, feeds = onnxruntime.InferenceSession(case.graph.path, settings, providers=["CPUExecutionProvider"]), case.feeds

    def block() -> float:
        spent: list[float] = []
        until = time.perf_counter() + 2 * seconds
        while time.perf_counter() < until or len(spent) < 2 * LEAST:
            begin = time.perf_counter()
            session.run(None, feeds)
            spent.append((time.perf_counter() - begin) * 1e3)
        return statistics.median(spent[len(spent) // 2 :])  # the first half is warm-up

    serve(block)


def benchmark_app(case: Case, seconds: float, serve: Serve) -> None:
    """OpenVINO's own tool, as its command sets itself up; its loop is entered once for each block, and once before it to warm up.

    It counts from within OpenVINO's request: neither feeds nor outputs pass through Python.
    """
    from openvino.tools.benchmark import main as tool

    class Served(Exception):
        """Nothing is left to do: the tool need not report."""

    def main_loop(app: Any, requests: Any, data: Any, *_: Any) -> None:
        def block() -> float:
            app.duration_seconds = seconds
            app.sync_inference(requests[0], data)
            return statistics.median(app.sync_inference(requests[0], data)[0])

        serve(block)
        raise Served

    tool.Benchmark.main_loop = main_loop
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(Served, SystemExit):
        sys.argv = ["benchmark_app", *tool_options(case, seconds, Path(scratch))]
        tool.main()


def tool_options(case: Case, seconds: float, scratch: Path) -> list[str]:
    """The same file, feeds, shapes and types. Threads follow from the hint, which is ours too; the tool takes no number of them beside it."""
    types = {"float32": "f32", "int64": "i64", "int32": "i32", "bool": "boolean", "float64": "f64", "float16": "f16"}
    inputs, shapes = [], []
    for index, (name, array) in enumerate(case.feeds.items()):
        np.save(scratch / f"{index}.npy", array)
        inputs.append(f"{name}:{scratch / f'{index}.npy'}")
        shapes.append(f"{name}[{','.join(map(str, array.shape))}]")
    options = ["-m", str(case.graph.path), "-d", "CPU", "-hint", "latency", "-api", "sync", "-infer_precision", "f32"]
    options += ["-t", str(max(1, round(seconds))), "-i", ",".join(inputs), "-data_shape", ",".join(shapes)]
    return [*options, "-iop", ",".join(f"{spec.name}:{types[spec.dtype]}" for spec in (*case.graph.inputs, *case.graph.outputs))]


def operators(case: Case, _: float, serve: Serve) -> None:
    """Its answer: [graph ms, sum ms, how many, what as many operators of nothing leave unexplained, ms]."""
    backend, target = load_backend(case.backend), case.target
    operated = backend.operators(Engine(Candidate(case.graph, "fp32")), target, case.feeds, OPERATOR_RUNS)
    assert operated is not None
    said = summed(operated, Modules())
    dynamic = any(isinstance(size, str) for spec in case.graph.inputs for size in spec.shape)
    count = len(operated.operators)
    left_ms = overhead(case, dynamic)(count)
    serve(lambda: [said.graph_ms, said.sum_ms, count, left_ms])


def overhead(case: Case, dynamic: bool) -> Callable[[int], float]:
    """Operators -> milliseconds of a run that the runtime's profiler gives to none of them, from chains of small operators."""
    onnx = need("onnx", extra="build")
    size: int | str = "n" if dynamic else SIDE
    left = {}
    for length in (1, CHAIN):
        names = ["x", *(f"v{step}" for step in range(1, length)), "y"]
        nodes = [onnx.helper.make_node("Softmax", [before], [after]) for before, after in itertools.pairwise(names)]
        values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [size, SIDE]) for name in ("x", "y")]
        model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "chain", values[:1], values[1:]), opset_imports=[onnx.helper.make_opsetid("", 18)])
        model.ir_version = 10
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "chain.onnx"
            onnx.save(model, str(path))
            graph = Graph(path, "", (TensorSpec("x", "float32", (size, SIDE)),), (TensorSpec("y", "float32", (size, SIDE)),))
            feeds = {"x": np.ones((SIDE, SIDE), np.float32)}
            operated = load_backend(case.backend).operators(Engine(Candidate(graph, "fp32")), case.target, feeds, 10 * OPERATOR_RUNS)
        assert operated is not None
        left[length] = operated.graph_ms - sum(one.ms for one in operated.operators)
    return lambda count: left[1] + (left[CHAIN] - left[1]) / (CHAIN - 1) * (count - 1)


WORK = {"mmedge": ours, "plain onnxruntime": plain, "benchmark_app": benchmark_app, "operators": operators}


def work(what: str, case: Case, seconds: float) -> None:
    """In a process of its own: a line of JSON for each line on stdin. Whatever a runtime prints goes to stderr."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def serve(block: Block) -> None:
        for _ in sys.stdin:
            lines.write(json.dumps(block()) + "\n")
            lines.flush()

    WORK[what](case, seconds, serve)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=list(WORK))
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--graph", required=True, help="ROLE/NAME")
    parser.add_argument("--backend", choices=list(TARGETS), required=True)
    parser.add_argument("--seconds", type=float, required=True, help="of a block")
    options = parser.parse_args()
    work(options.what, Case(options.bundle, options.graph, options.backend), options.seconds)


if __name__ == "__main__":
    main()
