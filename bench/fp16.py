"""Ways to make fp16 graphs: how far each is from fp32, whether NVIDIA's builder takes it, and what it weighs.

``python bench/fp16.py``. On the shipped assistant's real weights, and on CLIP ViT-B/32 at its real size with random weights, once as drawn and once with
activations beyond fp16's range that change nothing of what it computes. Writes ``bench/results/fp16.md``. Exit status 3 when mmedge's own fails anywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import assistant_model
import environment
import export_cost
import numpy as np
import onnx
import safetensors.numpy

from mmedge.backends.tensorrt.build import build, profile_shapes
from mmedge.backends.tensorrt.network import parse
from mmedge.build.export import export
from mmedge.build.load import recipe_for
from mmedge.bundle import Bundle
from mmedge.deploy.preflight import CAPABILITY
from mmedge.deploy.ranges import with_ranges
from mmedge.errors import MmedgeError
from mmedge.evaluate.drift import HALF_BOUND, drift
from mmedge.evaluate.golden import Golden
from mmedge.manifest import Variant
from mmedge.optimize import rounding
from mmedge.optimize.variants import HEADROOM, NORMS, add_variant
from mmedge.runner import Graph
from mmedge.target import Target

OUTLIERS = 20000.0
SAID = 120
"""So much of NVIDIA's words is told."""
HEAD = [
    "| | relative L2, onnxruntime's CPU | as stored in fp16 | with headroom | NVIDIA's parser and builder | MB | casts | took |",
    "|---|---|---|---|---|---|---|---|",
]
INTRODUCTION = [
    "# Ways to make fp16 graphs",
    "",
    "Relative L2 of the worst output to fp32 on golden inputs; the bound is 1e-2. *onnxruntime's CPU* computes runs of fp16 operators in fp32, so what",
    "overflows between them it does not see. *As stored*: the same graph with every fp16 tensor really rounded to fp16. *With headroom*: and infinite where",
    "its values times 4 leave fp16's range, since golden inputs are few. NVIDIA's: TensorRT for RTX, strongly typed, without a GPU: built, never run.",
    "Inputs and outputs are fp32 throughout.",
    "Not taken part: modelopt's AutoCast, whose environment takes 5.8 GB.",
]
CONVERTER_COMMON = ("onnxconverter-common", "onnx", "numpy")
THEIRS = """
import sys, onnx
from onnxconverter_common import float16
onnx.save(float16.convert_float_to_float16(onnx.load(sys.argv[1]), keep_io_types=True), sys.argv[2])
"""


Way = Callable[[Bundle, str, str, Path], str]
"""(bundle, role, graph, file to write) -> a note."""


def ours(bundle: Bundle, role: str, key: str, out: Path) -> str:
    made = add_variant(bundle, role, key, "fp16", Golden(bundle, role))
    if not isinstance(made, Variant):
        raise ValueError(f"{made.note} ({made.value})")
    source = onnx.load(bundle.file(made.file))
    onnx.save(source, out)  # with its weights
    names = [name for name in made.kept_float if name not in NORMS]
    return made.method + (f" ({len(names)} nodes by name)" if names else "")


def onnxruntimes(bundle: Bundle, role: str, key: str, out: Path) -> str:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(bundle.graph(role, key).path), keep_io_types=True), out)
    return "as it comes"


def onnxruntimes_with_norms(bundle: Bundle, role: str, key: str, out: Path) -> str:
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    made = convert_float_to_float16(onnx.load(bundle.graph(role, key).path), keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *NORMS])
    onnx.save(made, out)
    return "norms, softmax and sums in its block list"


def converter_common(bundle: Bundle, role: str, key: str, out: Path) -> str:
    python = environment.python_with("fp16", CONVERTER_COMMON)
    source = out.with_name("source.onnx")
    onnx.save(onnx.load(bundle.graph(role, key).path), source)
    done = subprocess.run([python, "-c", THEIRS, source, out], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1])
    return "as it comes"


WAYS: dict[str, Way] = {
    "mmedge": ours,
    "onnxruntime": onnxruntimes,
    "onnxruntime, block list": onnxruntimes_with_norms,
    "onnxconverter-common": converter_common,
}


def clip(folder: Path, outliers: bool) -> Path:
    """The bundle of a random CLIP ViT-B/32. With outliers: all that is added to the residual stream is scaled, which its norms take back."""
    name = "clip-outliers" if outliers else "clip"
    path = folder / f"{name}.bundle"
    if (path / "manifest.json").is_file():
        return path
    checkpoint = folder / name
    export_cost.make_clip(checkpoint)
    if outliers:
        file = checkpoint / "model.safetensors"
        weights = safetensors.numpy.load_file(file)
        into = ("out_proj", "mlp.fc2", "text_model.embeddings", "vision_model.pre_layrnorm")
        scaled = {
            key: value * np.float32(OUTLIERS) if any(part in key for part in into) and "position_ids" not in key else value for key, value in weights.items()
        }
        safetensors.numpy.save_file(scaled, file, metadata={"format": "pt"})
    board = Target(name="board", summary="", backends=("tensorrt",), max_opset=18, max_ir=10, build_on="device")
    export(recipe_for(str(checkpoint), offline=True, trace=print), path, [board], report=lambda line: print(line, file=sys.stderr))
    return path


def llama(folder: Path) -> Path:
    """The bundle of a random Llama of two layers, with its cache in every form."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from checkpoints import discovered

    path = folder / "llama.bundle"
    if not (path / "manifest.json").is_file():
        discovered()["LlamaForCausalLM"](folder / "llama")
        board = Target(name="board", summary="", backends=("tensorrt", "ort"), max_opset=24, max_ir=10, cache="fixed", build_on="device")
        export(recipe_for(str(folder / "llama"), offline=True, trace=print), path, [board], report=lambda line: print(line, file=sys.stderr))
    return path


@contextlib.contextmanager
def copy(path: Path, folder: Path) -> Iterator[Bundle]:
    """A bundle that may be written to."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        yield Bundle.open(shutil.copytree(path, Path(scratch) / "copy.bundle"))


@contextlib.contextmanager
def timed() -> Iterator[Callable[[], float]]:
    start = time.perf_counter()
    yield lambda: time.perf_counter() - start


def row(way: str, bundle: Bundle, role: str, key: str, folder: Path) -> tuple[str, bool]:
    """One line of the table, and whether the way did well."""
    out = folder / "out.onnx"
    with timed() as seconds:
        try:
            note = WAYS[way](bundle, role, key, out)
        except Exception as error:
            return f"| {way} | - | - | - | - | - | - | {error} |", False
        took = seconds()
    model = onnx.load(out)
    names = Counter(name for node in model.graph.node for name in node.output)
    twice = sum(count > 1 for count in names.values())
    casts = sum(node.op_type == "Cast" for node in model.graph.node)
    feeds, reference = Golden(bundle, role).graph(key)
    computed = [_distance(lambda: rounding.run(out, feeds, optimise=True), reference)]
    computed += [_distance(partial(_stored, out, headroom, feeds), reference) for headroom in (1.0, HEADROOM)]
    wrong = _refused(replace(with_ranges(bundle.graph(role, key), feeds), path=out, weights=None, variants={}))
    said = f"{twice} names twice; " if twice else ""
    said += " ".join(wrong.split())[:SAID] if wrong else "built"
    good = not wrong and not twice and all(value is not None and value <= HALF_BOUND for value in computed)
    cells = ["-" if value is None else "not finite" if np.isinf(value) else f"{value:.1e}" for value in computed]
    return f"| {way} | {' | '.join(cells)} | {said} | {out.stat().st_size / 1e6:.1f} | {casts} | {took:.1f} s; {note} |", good


def _refused(graph: Graph) -> str:
    """Why NVIDIA's parser or builder does not take a graph; empty where it does."""
    if refusals := parse(graph, "rtx").refusals:
        return str(refusals[0])
    try:
        build(graph, "fp16", flavour="rtx", shapes=profile_shapes(graph), capability=CAPABILITY)
    except MmedgeError as error:
        return error.what
    return ""


def _stored(path: Path, headroom: float, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return next(rounding.stored(path, path.with_name("twin.onnx"), feeds, headroom))


def _distance(run: Callable[[], dict[str, np.ndarray]], reference: dict[str, np.ndarray]) -> float | None:
    try:
        return drift(run(), reference, "fp16")[0] * HALF_BOUND
    except Exception as error:
        print(f"  {error}", file=sys.stderr)
        return None


def cache_bytes(bundle: Bundle, role: str, key: str) -> str:
    """What the declared fp32 of a decoder's cache costs a step, beside fp16."""
    feeds, reference = Golden(bundle, role).graph(key)
    past = sum(value.size for name, value in feeds.items() if value.dtype == np.float32)
    given = sum(value.size for value in reference.values() if value.ndim > 2)
    as_float, as_half = ((past + given) * size / 1e6 for size in (4, 2))
    return (
        f"The cache of {role}/{key} stays fp32 where it is declared: with golden's {past:,} numbers in and {given:,} out, a step moves {as_float:.1f} MB "
        f"instead of {as_half:.1f} MB, and the casts write and read {as_half:.1f} MB more"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="of assistant-mini, where there is one")
    parser.add_argument("--only", help="a part of the names of the models")
    options = parser.parse_args()
    folder = environment.folder() / "fp16"
    folder.mkdir(exist_ok=True)
    assistant = options.bundle or assistant_model.bundle([Target.load("cpu")])
    environment.python_with("fp16", CONVERTER_COMMON)
    models: list[tuple[str, Callable[[], Path], str, str]] = [
        ("Whisper tiny.en, encoder", lambda: assistant, "ears", "encoder"),
        ("Whisper tiny.en, decoder", lambda: assistant, "ears", "decoder"),
        ("EfficientNet-Lite0", lambda: assistant, "eyes", "image_encoder"),
        ("MiniLM", lambda: assistant, "eyes", "text_encoder"),
        *(
            (f"CLIP ViT-B/32{', outliers' if odd else ''}, {part}", partial(clip, folder, odd), "", part)
            for odd in (False, True)
            for part in ("image_encoder", "text_encoder")
        ),
    ]
    models.append(("Llama of two layers, cache by TensorScatter", partial(llama, folder), "", "language-tensorscatter"))
    lines, good = [], True
    for label, make, role, key in models:
        if options.only and options.only not in label:
            continue
        print(label, file=sys.stderr, flush=True)
        with copy(make(), folder) as bundle:
            role = role or next(iter(bundle.manifest.models))
            size_mb = bundle.graph(role, key).size_bytes / 1e6
            lines += ["", f"**{label}**, {size_mb:.1f} MB{' with the other tower' if 'CLIP' in label else ''}", "", *HEAD]
            for way in WAYS:
                line, well = row(way, bundle, role, key, folder)
                print(line, file=sys.stderr, flush=True)
                lines, good = [*lines, line], good and (well or way != "mmedge")
            if key == "decoder":
                lines += ["", cache_bytes(bundle, role, key) + "."]
            text = "\n".join([*INTRODUCTION, *lines, "", "Bar kept." if good else "Bar missed.", "", environment.machine("onnx", "onnxruntime"), ""])
            if not options.only:
                (Path(__file__).parent / "results" / "fp16.md").write_text(text, encoding="utf-8")
    print(text)
    return 0 if good else 3


if __name__ == "__main__":
    sys.exit(main())
