"""A decoder's step with its cache kept in the runtime's memory, against the same step with the cache copied through Python.

``python bench/cache_copy.py [--rounds N] [--small]``. The language graph of ``chat_speed.py``'s 135M-parameter model, on ONNX Runtime and on OpenVINO;
there also as a model with state, OpenVINO's own way. The ways take turns within a round. Writes ``bench/results/cache_copy.md`` (not with ``--small``).
Exit status 3 when carrying is slower than copying anywhere.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chat_model
import environment
import numpy as np

from mmedge.generate.cache import PAST, PRESENT, Cache
from mmedge.need import need
from mmedge.profile.estimates import ratio_of_medians
from mmedge.runner import Candidate, Copied, Engine, Graph, Runner, load_backend
from mmedge.target import Target
from mmedge.tensors import Array

PASTS, STEPS = (64, 256, 768), 12
Step = Callable[[Array], None]


class Copying:
    """A runner that only copies."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self.inputs = runner, runner.inputs

    def carry(self, pairs: dict[str, str], start: dict[str, Array]) -> Copied:
        return Copied(self._runner, pairs, start)


def ways(graph: Graph) -> dict[str, Callable[[], Step]]:
    """``backend way`` -> what begins a text."""
    found: dict[str, Callable[[], Step]] = {}
    for name in ("ort", "openvino"):
        target = Target.load("intel-cpu" if name == "openvino" else "cpu")
        runner = load_backend(name).open(Engine(Candidate(graph, "fp32")), target)
        for way, kept in (("carried", runner), ("copied", Copying(runner))):
            found[f"{name} {way}"] = lambda kept=kept: _over(Cache(kept))
    found["openvino state"] = _stateful(graph)
    return found


def _over(cache: Cache) -> Step:
    def step(tokens: Array) -> None:
        cache(len(tokens), {"input_ids": tokens[None]})

    return step


def _stateful(graph: Graph) -> Callable[[], Step]:
    openvino = need("openvino", extra="openvino")
    transform: Any = need("openvino._offline_transformations", extra="openvino")
    model = openvino.Core().read_model(graph.path)
    transform.apply_make_stateful_transformation(model, {spec.name: spec.name.replace(PAST, PRESENT) for spec in graph.inputs if spec.name.startswith(PAST)})
    settings = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

    def begin() -> Step:
        request.reset_state()

        def step(tokens: Array) -> None:
            request.infer({"input_ids": np.ascontiguousarray(tokens[None])}, share_inputs=True, share_outputs=False)

        return step

    return begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    graph = chat_model.bundle(options.small).graph("chat", "language")
    found = ways(graph)
    ms: dict[tuple[str, int], list[float]] = {}
    for begin in found.values():  # warm
        step = begin()
        step(np.arange(5, 69))
        step(np.array([3]))
    for number in range(options.rounds):
        for past in PASTS:
            for index in random.permutation(len(found)):
                name = list(found)[index]
                step = found[name]()
                step(random.integers(3, 1000, past))
                took = []
                for token in random.integers(3, 1000, STEPS):
                    start = time.perf_counter()
                    step(np.array([token]))
                    took.append((time.perf_counter() - start) * 1e3)
                ms.setdefault((name, past), []).append(float(np.median(took)))
        print(f"{number + 1} of {options.rounds}", file=sys.stderr)
    report, good = summary(ms, graph, options.rounds)
    print(report)
    if not options.small:
        (Path(__file__).parent / "results" / "cache_copy.md").write_text(report, encoding="utf-8")
    return 0 if good else 3


def summary(ms: dict[tuple[str, int], list[float]], graph: Graph, rounds: int) -> tuple[str, bool]:
    row_bytes = sum(int(np.prod([size for size in spec.shape if isinstance(size, int)])) * 4 for spec in graph.inputs if spec.name.startswith(PAST))
    rows, good = [], True
    for backend, way in (("ort", "copied"), ("openvino", "copied"), ("openvino", "state")):
        for past in PASTS:
            ours, theirs = ms[f"{backend} carried", past], ms[f"{backend} {way}", past]
            ratio, low, high = ratio_of_medians(ours, theirs, paired=True)
            good &= way == "state" or low <= 1
            rows.append(
                f"| {backend} | {past} ({past * row_bytes / 1e6:.1f} MB) | {np.median(ours):.1f} | {way}: {np.median(theirs):.1f} | "
                f"{ratio:.3f} (95 %: {low:.3f} to {high:.3f}) |"
            )
    lines = [
        "# A cache carried against a cache copied",
        "",
        f"{environment.machine('numpy', 'onnxruntime', 'openvino')}.",
        f"One step of a 135M-parameter decoder in float32 over a growing cache; medians of {STEPS} steps, {rounds} rounds in changing order.",
        "Carried: outputs become the next run's inputs where they lie (ONNX Runtime: io binding; OpenVINO: two requests that take turns).",
        "onnxruntime 1.31 lends its outputs to numpy without copying them, so on a CPU both ways are the same there; on a GPU they are not.",
        "",
        "| backend | past tokens | carried, ms | against, ms | ratio |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join(lines), good


if __name__ == "__main__":
    sys.exit(main())
