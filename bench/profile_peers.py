"""What ``mmedge profile`` says of a graph, against what others say of it: OpenVINO's benchmark_app, and a plain loop over onnxruntime.

``python bench/profile_peers.py [--bundle B] [--pairs N] [--seconds S] [--graph ROLE/NAME]``. For every graph of the shipped assistant, in fp32, on golden feeds
and with the same threads. Every figure comes from a process of its own, the two of a pair in alternating order, so that what differs between processes
(memory, where threads land) falls on both. Then the time of each graph's operators against its whole. Writes ``bench/results/profile_peers.md``.
Exit status 3 when a bar is missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
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
PAUSE_S = 0.2
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


def ours(case: Case, seconds: float) -> float:
    """Median milliseconds, as a profile's row has it."""
    feeds = case.feeds
    with case.open() as runner:
        measured = measure(lambda: runner.run(feeds), Rules(seconds=seconds, samples=LEAST))
    return statistics.median(measured.samples.latency_ms)


def plain(case: Case, seconds: float) -> float:
    """onnxruntime as its own examples use it: a session with default options, but as many threads as ours has."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    with case.open() as runner:
        threads = runner.executed()["threads"]
    settings.intra_op_num_threads = int(threads) if threads.isdigit() else 0
    session, feeds = onnxruntime.InferenceSession(case.graph.path, settings, providers=["CPUExecutionProvider"]), case.feeds
    spent: list[float] = []
    until = time.perf_counter() + 2 * seconds
    while time.perf_counter() < until or len(spent) < 2 * LEAST:
        begin = time.perf_counter()
        session.run(None, feeds)
        spent.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(spent[len(spent) // 2 :])  # the first half is warm-up


def benchmark_app(case: Case, seconds: float) -> float:
    """OpenVINO's own tool, as its command runs it; only its median is taken before it is rounded to 0.01 ms for the screen.

    It counts from within OpenVINO's request: neither feeds nor outputs pass through Python.
    """
    from openvino.tools.benchmark import main as tool

    medians: list[float] = []
    loop = tool.Benchmark.main_loop

    def watched(*arguments: Any) -> Any:
        result = loop(*arguments)
        medians.append(result[1])
        return result

    tool.Benchmark.main_loop = watched
    with tempfile.TemporaryDirectory() as scratch:
        sys.argv = ["benchmark_app", *tool_options(case, seconds, Path(scratch))]
        tool.main()
    return medians[-1]


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


def operators(case: Case, seconds: float) -> list[Any]:
    """[graph ms, sum ms, how many, what the report notes, what as many operators of nothing leave unexplained, ms]."""
    backend, target = load_backend(case.backend), case.target
    operated = backend.operators(Engine(Candidate(case.graph, "fp32")), target, case.feeds, OPERATOR_RUNS)
    assert operated is not None
    said = summed(operated, Modules())
    dynamic = any(isinstance(size, str) for spec in case.graph.inputs for size in spec.shape)
    count = len(operated.operators)
    return [said.graph_ms, said.sum_ms, count, said.note, overhead(case, dynamic)(count)]


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


WORK: dict[str, Callable[[Case, float], Any]] = {"mmedge": ours, "plain onnxruntime": plain, "benchmark_app": benchmark_app, "operators": operators}


def apart(what: str, case: Case, seconds: float) -> Any:
    """The answer of ``WORK[what]`` in a process of its own."""
    time.sleep(PAUSE_S)
    command = [sys.executable, __file__, "--worker", what, "--bundle", case.bundle, "--graph", case.key, "--backend", case.backend, "--seconds", str(seconds)]
    told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode:
        raise RuntimeError(f"{what} on {case.key}: {(told.stderr or told.stdout).strip()[-500:]}")
    return json.loads(told.stdout.splitlines()[-1])


def pairs_of(case: Case, pairs: int, seconds: float) -> tuple[list[float], list[float]]:
    """(ours, the peer's), milliseconds."""
    found: dict[str, list[float]] = {"mmedge": [], PEERS[case.backend]: []}
    for pair in range(pairs):
        for who in list(found) if pair % 2 else reversed(list(found)):
            found[who].append(apart(who, case, seconds))
        print(f"{case.key} {case.backend}: {', '.join(f'{who} {values[-1]:.3f} ms' for who, values in found.items())}", file=sys.stderr)
    return found["mmedge"], found[PEERS[case.backend]]


def report(cases: list[Case], pairs: int, seconds: float) -> tuple[str, bool]:
    """(a text, whether the bars are kept)."""
    low_bar, high_bar = RATIO_BAR
    medians = ["| graph | peer | mmedge ms | peer ms | ratio | 95 % | |", "|---|---|---|---|---|---|---|"]
    sums = ["| graph | backend | operators | whole ms | sum ms | sum / whole | overhead by chains, ms | with it | |", "|---|---|---|---|---|---|---|---|---|"]
    kept = True
    for case in cases:
        mine, theirs = pairs_of(case, pairs, seconds)
        ratio, low, high = ratio_of_medians(mine, theirs, paired=True)
        good = low_bar <= low and high <= high_bar
        figures = f"{statistics.median(mine):.3f} | {statistics.median(theirs):.3f} | {ratio:.3f} | {low:.3f} to {high:.3f}"
        medians.append(f"| {case.key} | {PEERS[case.backend]} | {figures} | {'kept' if good else 'MISSED'} |")
        whole_ms, sum_ms, count, _, other_ms = apart("operators", case, seconds)
        share, explained = sum_ms / whole_ms, (sum_ms + other_ms) / whole_ms
        within = abs(1 - share) <= SUM_BAR or abs(1 - explained) <= SUM_BAR
        figures = f"{count} | {whole_ms:.3f} | {sum_ms:.3f} | {share:.3f} | {other_ms:.3f} | {explained:.3f}"
        sums.append(f"| {case.key} | {case.backend} | {figures} | {'kept' if within else 'MISSED'} |")
        kept = kept and good and within
    lines = ["# A profile against its peers", "", environment.machine("mmedge", "onnxruntime", "openvino", "numpy"), ""]
    lines += [f"fp32, golden feeds, the same threads; {pairs} pairs of processes, {seconds:g} s each.", "", *medians, ""]
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
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--graph", help="only this one, ROLE/NAME")
    parser.add_argument("--backend", choices=list(PEERS), help="only this one")
    parser.add_argument("--worker", choices=list(WORK), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(WORK[options.worker](Case(options.bundle, options.graph, options.backend), options.seconds)), flush=True)
        return 0
    path = options.bundle or assistant_model.bundle([Target.load(name) for name in TARGETS.values()])
    models = Bundle.open(path).manifest.models
    cases = [
        Case(path, f"{role}/{name}", backend)
        for role, model in models.items()
        for backend, target in TARGETS.items()
        for name in model.graphs_for(Target.load(target)).values()
        if options.graph in (None, f"{role}/{name}") and options.backend in (None, backend)
    ]
    text, kept = report(cases, options.pairs, options.seconds)
    print(text)
    if not (options.graph or options.backend):
        (Path(__file__).parent / "results" / "profile_peers.md").write_text(text, encoding="utf-8")
    return 0 if kept else 3


if __name__ == "__main__":
    sys.exit(main())
