"""What ``mmedge profile`` says of a graph, against what others say of it: OpenVINO's benchmark_app, and a plain loop over onnxruntime.

``python bench/profile_peers.py [--bundle B] [--processes N] [--blocks N] [--seconds S] [--graph ROLE/NAME]``. For every graph of the shipped assistant on the
runtimes that its family wants it on, in fp32, on golden feeds and with the same threads. Each side is a process of its own; the two wait for each other and
take turns of a second or so, since a shared machine changes its speed within seconds; then two others, since what differs between processes (memory, where
threads land) must fall on both. Last, the time of each graph's operators against its whole. Writes ``bench/results/profile_peers.md``. Exit status 3 when a
bar is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import assistant_model
import environment
import numpy as np

from mmedge.bundle import Bundle
from mmedge.evaluate.golden import Golden
from mmedge.family import load_family
from mmedge.need import need
from mmedge.profile.estimates import ratio_of_medians
from mmedge.profile.modules import Modules
from mmedge.profile.operators import summed
from mmedge.profile.protocol import measure
from mmedge.profile.report import Rules
from mmedge.runner import Candidate, Engine, Graph, Runner, load_backend
from mmedge.target import Target
from mmedge.tensors import Feeds, TensorSpec

PEERS = {"ort": "plain onnxruntime", "openvino": "benchmark_app"}
TARGETS = {"ort": "cpu", "openvino": "intel-cpu"}
RATIO_BAR, SUM_BAR = (0.93, 1.07), 0.1
LEAST = 10
"""Calls per process, at least."""
PAUSE_S = 0.05
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


class Worker:
    """A process that measures when it is asked to."""

    def __init__(self, what: str, case: Case, seconds: float) -> None:
        options = ["--worker", what, "--bundle", case.bundle, "--graph", case.key, "--backend", case.backend, "--seconds", str(seconds)]
        self._what = f"{what} on {case.key}"
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        command = [sys.executable, __file__, *map(str, options)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True)

    def ask(self) -> Any:
        assert self._process.stdin and self._process.stdout
        time.sleep(PAUSE_S)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        if not (answer := self._process.stdout.readline()):
            self._log.seek(0)
            raise RuntimeError(f"{self._what}: {self._log.read().strip()[-500:]}")
        return json.loads(answer)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()
        self._log.close()


def pairs_of(case: Case, processes: int, blocks: int, seconds: float) -> tuple[list[float], list[float]]:
    """(ours, the peer's), milliseconds of each block."""
    found: dict[str, list[float]] = {"mmedge": [], PEERS[case.backend]: []}
    for _ in range(processes):
        with contextlib.ExitStack() as stack:
            workers = {who: stack.enter_context(Worker(who, case, seconds)) for who in found}
            for worker in workers.values():
                worker.ask()  # opened, and warm
            for block in range(blocks):
                for who in list(found) if block % 2 else reversed(list(found)):
                    found[who].append(workers[who].ask())
        print(f"{case.key} {case.backend}: {', '.join(f'{who} {statistics.median(ms[-blocks:]):.3f} ms' for who, ms in found.items())}", file=sys.stderr)
    return found["mmedge"], found[PEERS[case.backend]]


def report(cases: list[Case], processes: int, blocks: int, seconds: float) -> tuple[str, bool]:
    """(a text, whether the bars are kept)."""
    low_bar, high_bar = RATIO_BAR
    medians = ["| graph | peer | mmedge ms | peer ms | ratio | 95 % | |", "|---|---|---|---|---|---|---|"]
    sums = ["| graph | backend | operators | whole ms | sum ms | sum / whole | overhead by chains, ms | with it | |", "|---|---|---|---|---|---|---|---|---|"]
    kept = True
    for case in cases:
        mine, theirs = pairs_of(case, processes, blocks, seconds)
        ratio, low, high = ratio_of_medians(mine, theirs, paired=True)
        good = low_bar <= low and high <= high_bar
        figures = f"{statistics.median(mine):.3f} | {statistics.median(theirs):.3f} | {ratio:.3f} | {low:.3f} to {high:.3f}"
        medians.append(f"| {case.key} | {PEERS[case.backend]} | {figures} | {'kept' if good else 'MISSED'} |")
        with Worker("operators", case, seconds) as worker:
            whole_ms, sum_ms, count, other_ms = worker.ask()
        share, explained = sum_ms / whole_ms, (sum_ms + other_ms) / whole_ms
        within = abs(1 - share) <= SUM_BAR or abs(1 - explained) <= SUM_BAR
        figures = f"{count} | {whole_ms:.3f} | {sum_ms:.3f} | {share:.3f} | {other_ms:.3f} | {explained:.3f}"
        sums.append(f"| {case.key} | {case.backend} | {figures} | {'kept' if within else 'MISSED'} |")
        kept = kept and good and within
    lines = ["# A profile against its peers", "", environment.machine("mmedge", "onnxruntime", "openvino", "numpy"), ""]
    lines += [
        f"fp32, golden feeds, the same threads; {processes} pairs of processes, {blocks} pairs of blocks each, {seconds:g} s a block once warm.",
        "",
        *medians,
        "",
    ]
    lines += [f"Bar: the interval of the ratio of medians inside [{low_bar}, {high_bar}].", ""]
    lines += [
        "benchmark_app counts within OpenVINO; mmedge's figure has the checks of the feeds and the copies of the outputs that its users pay for.",
        "",
        *sums,
    ]
    lines += [
        "",
        f"Bar: operators sum to the whole within {SUM_BAR:.0%}, or do so with the overhead that the runtime and its profiler have on a chain of as many",
    ]
    lines += ["operators that compute next to nothing.", "", f"Bars: {'kept' if kept else 'MISSED'}."]
    return "\n".join(lines) + "\n", kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="default: the shipped assistant, exported into the cache of the benchmarks")
    parser.add_argument("--processes", type=int, default=5, help="pairs of them")
    parser.add_argument("--blocks", type=int, default=8, help="of each process")
    parser.add_argument("--seconds", type=float, default=0.3, help="of a block")
    parser.add_argument("--graph", help="only this one, ROLE/NAME")
    parser.add_argument("--backend", choices=list(PEERS), help="only this one")
    parser.add_argument("--worker", choices=list(WORK), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, Case(options.bundle, options.graph, options.backend), options.seconds)
        return 0
    path = options.bundle or assistant_model.bundle([Target.load(name) for name in TARGETS.values()])
    models = Bundle.open(path).manifest.models
    cases = [
        Case(path, f"{role}/{name}", backend)
        for role, model in models.items()
        for backend, target in TARGETS.items()
        for name in model.graphs_for(Target.load(target)).values()
        if options.graph in (None, f"{role}/{name}") and options.backend in (None, backend)
        if backend in getattr(load_family(model.family), "PREFER", {}).get(name, (backend,))
    ]
    text, kept = report(cases, options.processes, options.blocks, options.seconds)
    print(text)
    if not (options.graph or options.backend):
        (Path(__file__).parent / "results" / "profile_peers.md").write_text(text, encoding="utf-8")
    return 0 if kept else 3


if __name__ == "__main__":
    sys.exit(main())
