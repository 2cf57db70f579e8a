"""Every maker of quantized graphs on real ones: how much smaller, how far from fp32 on data it was not calibrated on, and how fast on the same runtime.

``python bench/quantize_makers.py [--bundle FOLDER] [--samples N] [--graph NAME]``. The shipped assistant's graphs, and the image tower of CLIP ViT-B/32 at
its real size with random weights. Its data are pieces of the golden photographs and sounds, and sentences: enough to compare makers, not to judge a model.
TensorRT's graphs are computed by onnxruntime, for their distance alone. Writes ``bench/results/quantize_makers.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import assistant_model
import environment
import fp16
import numpy as np
from PIL import Image

from mmedge import runner
from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.optimize import rounding
from mmedge.optimize.calibration import calibrate
from mmedge.optimize.made import Feeding, Made, maker, own_bytes
from mmedge.processors.audio import sound_at
from mmedge.profile.estimates import ratio_of_medians
from mmedge.profile.protocol import interleave
from mmedge.quantization import Dynamic, Quantize, Static, WeightOnly
from mmedge.target import Target
from mmedge.tensors import Feeds

SEED, RATE_HZ = 0, 16_000
HELD_OUT = 8
ROUNDS, FEWEST, BUDGET_S = 60, 9, 4.0

CPU = Target(name="bench", summary="", backends=("ort",), max_opset=23, max_ir=10)

CANDIDATES: list[tuple[str, Quantize]] = [
    ("ort", Dynamic()),
    ("ort", Static()),
    ("ort", Static(ranges="percentile")),
    ("ort", Static(ranges="entropy")),
    ("ort", WeightOnly(bits=8)),
    ("ort", WeightOnly()),
    ("openvino", Static()),
    ("openvino", WeightOnly(bits=8)),
    ("openvino", WeightOnly()),
    ("tensorrt", Static()),
    ("tensorrt", Static(ranges="entropy")),
    ("tensorrt", WeightOnly(bits=8)),
    ("tensorrt", WeightOnly(block_size=64)),
]

HEAD = [
    "| graph | runtime | method | size / fp32 | cosine: worst, median | operators in integers | latency / fp32 [95 %] | ms from fp32 | made in s |",
    "|---|---|---|---|---|---|---|---|---|",
]


def pictures(bundle: Bundle) -> Iterator[Image.Image]:
    """Pieces of the golden photographs, one after the other without end."""
    chance = np.random.default_rng(SEED)
    sources = [Image.open(bundle.file(bundle.manifest.media[name])).convert("RGB") for name in ("cat", "coffee")]  # type: ignore[arg-type]
    for number in count():
        source = sources[number % len(sources)]
        side = int(min(source.size) * chance.uniform(0.4, 1))
        left, upper = (int(chance.integers(0, size - side + 1)) for size in source.size)
        yield source.crop((left, upper, left + side, upper + side))


def sounds(bundle: Bundle) -> Iterator[tuple[Any, int]]:
    """Pieces of the golden sounds, at other levels and with noise."""
    chance = np.random.default_rng(SEED)
    sources = [sound_at(bundle.file(bundle.manifest.media[name]), RATE_HZ) for name in ("question", "remark")]  # type: ignore[arg-type]
    for number in count():
        source = sources[number % len(sources)]
        begin = int(chance.integers(0, len(source) // 3))
        piece = source[begin : begin + int(chance.integers(RATE_HZ, 4 * RATE_HZ))] * chance.uniform(0.3, 1)
        yield (piece + chance.normal(0, 0.002, len(piece))).astype(np.float32), RATE_HZ


def sentences() -> Iterator[str]:
    lines = Path(__file__).with_name("speech_texts.txt").read_text(encoding="utf-8").split("\n")
    return (lines[int(number)] for number in np.random.default_rng(SEED).permutation(len(lines)) if lines[int(number)])


def looks(bundle: Bundle, session: Any) -> Iterator[object]:
    return map(session.embed_image, pictures(bundle))


def reads(bundle: Bundle, session: Any) -> Iterator[object]:
    return map(session.embed_text, sentences())


def listens(bundle: Bundle, session: Any) -> Iterator[object]:
    return map(session.transcribe, sounds(bundle))


GRAPHS = {
    "EfficientNet-Lite0": ("assistant", "eyes", "image_encoder", looks),
    "MiniLM": ("assistant", "eyes", "text_encoder", reads),
    "Whisper tiny.en encoder": ("assistant", "ears", "encoder", listens),
    "Whisper tiny.en decoder": ("assistant", "ears", "decoder", listens),
    "ViT-B/32, random weights": ("clip", "dual_encoder", "image_encoder", looks),
}


def opened(made: Made | None, backend: str, graph: runner.Graph, stack: contextlib.ExitStack) -> runner.Runner:
    """A runner of a made graph, or of the fp32 one without it. TensorRT's is run by onnxruntime."""
    name = "openvino" if backend == "openvino" else "ort"
    if made is None:
        engine = runner.Engine(runner.Candidate(graph, "fp32"))
    elif name == "openvino":
        engine = runner.Engine(runner.Candidate(replace(graph, path=made.file, weights=made.weights), made.precision))
    else:
        engine = runner.Engine(runner.Candidate(graph, made.precision), made.file)
    return stack.enter_context(runner.load_backend(name).open(engine, CPU))


def cosines(got: list[Feeds], reference: list[Feeds]) -> list[float]:
    """Of every output that a graph gives, sample by sample: the least of them."""

    def one(a: Any, b: Any) -> float:
        wide, target = a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)
        return float(wide @ target / max(np.linalg.norm(wide) * np.linalg.norm(target), 1e-30))

    return [min(one(outputs[name], wanted[name]) for name in wanted if wanted[name].size) for outputs, wanted in zip(got, reference)]


def row(label: str, graph: runner.Graph, calibration: Feeding, held_out: list[Feeds], reference: list[Feeds], backend: str, options: Quantize) -> str:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        out = Path(folder)
        try:
            made = maker(backend, options).make(graph, calibration, out, options)
            ours = opened(made, backend, graph, stack)
            near = cosines([dict(ours.run(feeds)) for feeds in held_out], reference)
        except MmedgeError as error:
            return f"| {label} | {backend} | {options.method} | {error.what.replace('|', '/')} | | | | | |"
        start = f"| {label} | {backend} | {made.method} | {made.size_bytes / own_bytes(graph):.3f} | {min(near):.4f}, {statistics.median(near):.4f} "
        integer = f"{made.integer}" + (f", {len(made.kept_float)} in fp32" if made.kept_float else "")
        if backend == "tensorrt":
            return f"{start}| {integer} | not run | | {made.seconds:.1f} |"
        theirs = opened(None, backend, graph, stack)
        series = interleave([partial(one.run, held_out[0]) for one in (ours, theirs)], rounds=ROUNDS, fewest=FEWEST, budget_s=BUDGET_S)
        ratio, low, high = ratio_of_medians(*series, paired=True)
        times = " from ".join(f"{statistics.median(one):.2f}" for one in series)
        return f"{start}| {integer} | {ratio:.2f} [{low:.2f}, {high:.2f}] | {times} | {made.seconds:.1f} |"


def tables(label: str, bundle: Bundle, role: str, key: str, uses: Callable[[Bundle, Any], Iterator[object]], samples: int) -> Iterator[str]:
    """The rows of one graph."""
    with tempfile.TemporaryDirectory() as folder:
        made = calibrate(bundle, role, CPU, partial(uses, bundle), Path(folder), samples=samples, seed=SEED)
        every = made.feeds[key]
        kept = [feeds for number, feeds in enumerate(every()) if number % 4 == 3][:HELD_OUT]

        def calibration() -> Iterator[Feeds]:
            return (feeds for number, feeds in enumerate(every()) if number % 4 != 3)

        graph = bundle.graph(role, key)
        reference = [rounding.run(graph.path, feeds, optimise=True) for feeds in kept]
        for backend, options in CANDIDATES:
            line = row(label, graph, calibration, kept, reference, backend, options)
            print(line, file=sys.stderr, flush=True)
            yield line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="of the shipped assistant, where it is there already")
    parser.add_argument("--samples", type=int, default=32, help="of which every fourth is not calibrated on")
    parser.add_argument("--graph", choices=list(GRAPHS), action="append", help="only this one")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "quantize_makers.md")
    asked = parser.parse_args()
    folder = environment.folder() / "fp16"
    folder.mkdir(parents=True, exist_ok=True)
    bundles = {
        "assistant": lambda: Bundle.open(asked.bundle or assistant_model.bundle([Target.load("cpu")])),
        "clip": lambda: Bundle.open(fp16.clip(folder, False)),
    }
    lines = ["# Makers of quantized graphs", "", *INTRODUCTION, "", environment.machine("onnxruntime", "openvino", "nncf", "onnx") + ".", "", *HEAD]
    for label, (source, role, key, uses) in GRAPHS.items():
        if not asked.graph or label in asked.graph:
            lines += tables(label, bundles[source](), role, key, uses, asked.samples)
    asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


INTRODUCTION = [
    "Each maker of `mmedge/optimize/` on real graphs. The size is of all its files. The cosine is with fp32, on samples that it was not calibrated on, of the",
    "worst output of each. Latencies are interleaved with fp32 on the same runtime, at the size of one sample. TensorRT's graphs were computed by onnxruntime,",
    "for their distance; no time there means anything. Data: pieces of two photographs and two sounds, sentences. This compares makers, it judges no model.",
]

if __name__ == "__main__":
    sys.exit(main())
