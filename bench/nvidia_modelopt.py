"""Q/DQ graphs for TensorRT by mmedge and by NVIDIA's ModelOpt, on the same calibration feeds: what each puts into integers, and how far it is from fp32.

``python bench/nvidia_modelopt.py [--bundle FOLDER]``. EfficientNet-Lite0, MiniLM and Whisper's encoder; the feeds are those of the stamps
(``quantize_models``), those that cosines are measured on are held out. onnxruntime computes on the CPU; TensorRT for RTX parses, strongly typed, without a
GPU. ModelOpt's package asks for onnxruntime-gpu and cupy: its environment holds onnxruntime and PyTorch for the CPU in their place. Writes
``bench/results/nvidia_modelopt.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import assistant_model
import environment
import numpy as np
import onnx
from quantize_models import Model, folder, loaded, models
from quantize_tools import make

from mmedge.backends.tensorrt.network import parse, types
from mmedge.errors import MmedgeError
from mmedge.optimize.made import maker
from mmedge.optimize.opening import opened
from mmedge.quantization import Quantize, Static, WeightOnly
from mmedge.runner import Candidate, Graph
from mmedge.target import Target
from mmedge.tensors import Feeds

HERE = Path(__file__).parent
REQUIREMENTS = (
    *("nvidia-modelopt==0.47.0", "torch==2.13.0+cpu", "onnx~=1.21.0", "onnxruntime~=1.24.2", "onnxconverter-common~=1.16.0", "onnx-graphsurgeon>=0.6.1"),
    *("onnxscript", "onnxslim>=0.1.76", "polygraphy>=0.53.4", "lief", "ml_dtypes", "cppimport"),
)
"""What ``nvidia-modelopt[onnx]`` asks for, with onnxruntime in place of onnxruntime-gpu, and without cupy."""

EARS = 16
"""Sounds of 30 s that are calibrated on."""
GRAPHS = ("EfficientNet-Lite0", "MiniLM", "Whisper's encoder")
OURS: dict[str, tuple[Quantize, bool]] = {
    "mmedge int8 entropy": (Static(ranges="entropy"), True),
    "mmedge int8 minmax": (Static(), True),
    "mmedge int8 entropy, rest in fp32": (Static(ranges="entropy"), False),
    "mmedge int4": (WeightOnly(block_size=64), True),
}
"""Way -> its options, and whether the rest is in fp16."""
THEIRS = ("modelopt int8 entropy", "modelopt int8 max", "modelopt int8 entropy, rest in fp32", "modelopt int4 rtn")
WEIGHTED = ("Conv", "MatMul", "Gemm")
PAIRS = {"DequantizeLinear", "TRT_INT4DequantizeLinear"}


@dataclass(frozen=True)
class Row:
    """One graph made in one way; without a file, what was said instead."""

    way: str
    file: Path | None
    said: str = ""
    integer: frozenset[str] = frozenset()
    """Names of the nodes with weights that compute with integers."""
    fed: Counter[str] | None = None
    """Other operators that take what was rounded."""
    worst: float = 0.0
    median: float = 0.0
    size_mb: float = 0.0
    parser: str = ""


def rows(model: Model, key: str) -> Iterator[Row]:
    graph, held = model.graph(key), [loaded(path) for path in model.feeds(key, held_out=True)]
    name = graph.outputs[0].name
    expected = _outputs(graph, held, name)
    with tempfile.TemporaryDirectory(dir=folder()) as scratch:
        for number, way in enumerate((*OURS, *THEIRS)):
            out = Path(scratch) / str(number)
            out.mkdir()
            file, said = _ours(model, key, way, out) if way in OURS else _theirs(model, key, way)
            if file is None:
                yield Row(way, None, said)
                continue
            integer, fed = placed(file)
            cosines = list(map(_cosine, _outputs(replace(graph, path=file, variants={}), held, name), expected))
            size_mb = sum(path.stat().st_size for path in file.parent.iterdir() if path.suffix in (".onnx", ".bin", ".data")) / 1e6
            yield Row(way, file, "", integer, fed, min(cosines), float(np.median(cosines)), size_mb, _parsed(graph, file))


def _ours(model: Model, key: str, way: str, out: Path) -> tuple[Path | None, str]:
    graph, (options, half) = model.graph(key), OURS[way]
    given = graph if half else replace(graph, variants={})
    try:
        return maker("tensorrt", options).make(given, lambda: map(loaded, model.feeds(key)), out, options).file, ""
    except MmedgeError as error:
        return None, error.what


def _theirs(model: Model, key: str, way: str) -> tuple[Path | None, str]:
    script = HERE / "quantize_with_modelopt.py"
    command = [str(environment.python_with("modelopt", REQUIREMENTS)), str(script), way.partition(" ")[2], str(model.whole(key))]
    code = script.read_text(encoding="utf-8") + " ".join(REQUIREMENTS)
    made = make(way, command, model.whole(key), model.feeds(key), folder() / "made", code)
    return (Path(made.file), "") if made.file else (None, made.note)


def placed(file: Path) -> tuple[frozenset[str], Counter[str]]:
    """(nodes with weights both of whose factors, or the weights alone, were rounded; other operators behind a pair)."""
    graph = onnx.load(str(file), load_external_data=False).graph
    makers = {name: node for node in graph.node for name in node.output}

    def rounded(name: str) -> bool:
        node = makers.get(name)
        while node is not None and node.op_type in ("Cast", "Transpose"):
            node = makers.get(node.input[0])
        return node is not None and node.op_type in PAIRS

    integer = frozenset(node.name for node in graph.node if node.op_type in WEIGHTED and len(node.input) > 1 and rounded(node.input[1]))
    others = [node.op_type for node in graph.node if node.name not in integer and node.op_type not in (*PAIRS, "Cast", "Transpose", "QuantizeLinear")]
    at = [node for node in graph.node if node.name not in integer and node.op_type in others and any(map(rounded, node.input))]
    return integer, Counter(node.op_type for node in at)


def _outputs(graph: Graph, feeds: list[Feeds], name: str) -> list[np.ndarray]:
    with opened("tensorrt", Candidate(graph, "fp32"), Target.load("jetson")) as runner:
        return [np.array(runner.run(one)[name]) for one in feeds]


def _cosine(got: np.ndarray, expected: np.ndarray) -> float:
    a, b = (np.asarray(one, np.float64).ravel() for one in (got, expected))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _parsed(graph: Graph, file: Path) -> str:
    try:
        parsed = parse(replace(graph, path=file, variants={}), "rtx")
    except MmedgeError as error:
        return error.what
    if parsed.refusals:
        return f"refuses: {parsed.refusals[0]}".replace("|", "/")[:200]
    return "takes it: " + ", ".join(f"{count} {kind}" for kind, count in types(parsed.network).most_common())


def report(found: dict[str, tuple[Model, str, list[Row]]]) -> list[str]:
    versions = environment.machine("mmedge", "onnxruntime", "onnx", "tensorrt-rtx-cu12-bindings")
    lines = [
        "# Against NVIDIA's ModelOpt",
        "",
        f"{versions}; ModelOpt in an environment of its own: {', '.join(REQUIREMENTS)}.",
        "`python bench/nvidia_modelopt.py`: the same graphs and calibration feeds. Cosines with fp32 of the first output on held-out feeds, by onnxruntime "
        "on the CPU; the parser and its layers by type are TensorRT for RTX's, strongly typed. Nothing ran on a GPU.",
    ]
    for label, (model, key, every) in found.items():
        fp32_mb = sum(path.stat().st_size for path in (model.graph(key).path, model.graph(key).weights) if path) / 1e6
        whole = placed_in_fp32(model.graph(key))
        lines += ["", f"## {label}: {fp32_mb:.1f} MB in fp32, {len(whole)} operators with weights", ""]
        lines += ["| made by | operators in integers | others behind a pair | cosine: worst, median | MB | TensorRT for RTX |", "|---|---|---|---|---|---|"]
        for row in every:
            if row.file is None:
                lines.append(f"| {row.way} | {row.said} | | | | |")
                continue
            others = ", ".join(f"{count} {kind}" for kind, count in (row.fed or Counter()).most_common()) or "none"
            cells = (row.way, str(len(row.integer)), others, f"{row.worst:.5f}, {row.median:.5f}", f"{row.size_mb:.1f}", row.parser)
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", *_differences(every, whole)]
    return lines


def placed_in_fp32(graph: Graph) -> dict[str, str]:
    """The nodes with constant weights of a graph, and their shapes."""
    model = onnx.load(str(graph.path), load_external_data=False).graph
    shapes = {tensor.name: "x".join(map(str, tensor.dims)) for tensor in model.initializer if len(tensor.dims) > 1}
    turned = {node.output[0]: node.input[0] for node in model.node if node.op_type == "Transpose"}
    given = {node.name: turned.get(node.input[1], node.input[1]) for node in model.node if node.op_type in WEIGHTED}
    return {name: shapes[weight] for name, weight in given.items() if weight in shapes}


def _differences(every: list[Row], whole: dict[str, str]) -> list[str]:
    ours, theirs = (next((row for row in every if row.way == way and row.file), None) for way in (next(iter(OURS)), THEIRS[0]))
    if ours is None or theirs is None:
        return []
    said = []
    for who, names in (("mmedge", ours.integer - theirs.integer), ("ModelOpt", theirs.integer - ours.integer)):
        shown = ", ".join(f"{name} ({whole.get(name, 'no weights')})" for name in sorted(names)[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        said.append(f"In integers by {who} alone (int8 entropy): {shown or 'none'}.")
    return said


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, help="an assistant's, compiled for jetson; made without it")
    given = parser.parse_args()
    bundle = given.bundle or assistant_model.bundle([Target.load("jetson")])
    found = {}
    eyes, ears = models(bundle, ["eyes", "ears"])
    for model in (eyes, replace(ears, samples=EARS)):
        for key, label in model.graphs.items():
            if label in GRAPHS:
                found[label] = (model, key, [])
                for row in rows(model, key):
                    print(label, json.dumps({"way": row.way, "said": row.said, "worst": row.worst, "parser": row.parser}), file=sys.stderr, flush=True)
                    found[label][2].append(row)
    lines = report(found)
    print("\n".join(lines))
    (HERE / "results" / "nvidia_modelopt.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
