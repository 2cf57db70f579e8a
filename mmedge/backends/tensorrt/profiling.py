"""Time per layer, by TensorRT's own profiler. Never run on a GPU so far."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict

from mmedge.backends.tensorrt.inspector import Layer
from mmedge.backends.tensorrt.runner import TensorrtRunner
from mmedge.runner import Operated, OperatorTime
from mmedge.tensors import Feeds

WARM_UP_RUNS = 3
OUTSIDE = "TensorRT's profiler counts the time of the layers on the GPU; copies to it and back, and starting a layer after the other, are in none"


def operated(runner: TensorrtRunner, feeds: Feeds, runs: int) -> Operated:
    """Run an engine under the profiler.

    Args:
        runner: opened without CUDA graphs, which would report nothing; from now on every run of it is slowed down.

    Returns:
        Means over ``runs`` runs after a warm-up.
    """
    for _ in range(WARM_UP_RUNS):
        runner.run(feeds)
    spent_ms: dict[str, float] = defaultdict(float)

    def report_layer_time(name: str, ms: float) -> None:
        spent_ms[name] += ms

    profiler = runner.opened.subclass("IProfiler", report_layer_time=report_layer_time)
    runner.opened.watch(profiler)
    whole_ms = []
    for _ in range(runs):
        begin = time.perf_counter()
        runner.run(feeds)
        whole_ms.append((time.perf_counter() - begin) * 1e3)
    found = {layer.name: layer for layer in runner.opened.layers()}
    told = [(found.get(name, Layer(name)), total) for name, total in spent_ms.items()]
    return Operated(runs, statistics.fmean(whole_ms), tuple(OperatorTime(one.name, one.kind, total / runs, one.nodes) for one, total in told), OUTSIDE)
