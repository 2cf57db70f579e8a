"""What NVIDIA's engines cost to build, without a GPU: the preflight of every graph that is placed on NVIDIA, built by TensorRT for RTX.

``python bench/nvidia.py``. The shipped assistant, and CLIP ViT-B/32 at its real size with random weights, are exported once; then ``mmedge compile``
for the target rtx runs again and again on a copy whose engines were taken out, each time as a process of its own. Writes ``bench/results/nvidia.md``.
Exit status 3 when a bar is missed. Speed and drift on a GPU are not measured: there is none.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import assistant_model
import environment

from mmedge import onnx_file
from mmedge.build.export import export
from mmedge.build.load import recipe_for
from mmedge.bundle import Bundle
from mmedge.manifest import Placement
from mmedge.target import Target

TARGET = "rtx"
AGAIN = 5
"""Unchanged compilations, of which the median counts."""
FIRST_S, PEAK_MB, SECOND_S = 180, 6000, 2.0
"""Of the shipped assistant."""
TIMES_WEIGHTS = 1.3
"""How large an engine may be, against its weights in the precision that was asked for."""

MEASURED = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
seconds = time.perf_counter() - start
print(json.dumps([done.returncode, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3, done.stderr[-500:]]))
"""
"""A process of its own around every command: what its largest child ever held is this command's."""


@dataclass(frozen=True)
class Result:
    """One model, compiled once and then unchanged."""

    name: str
    first_s: float
    second_s: float
    peak_mb: float
    graphs: dict[str, tuple[Placement, float, float]]
    """``ROLE/GRAPH`` -> placement, MB of the weights in its precision, MB of the engine."""


def assistant() -> Path:
    return assistant_model.bundle([Target.load(TARGET)])


def clip() -> Path:
    """CLIP ViT-B/32 with random weights."""
    path = environment.folder() / "nvidia" / "clip.bundle"
    if not (path / "manifest.json").is_file():
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        from export_cost import make_clip

        checkpoint = path.with_suffix(".checkpoint")
        shutil.rmtree(checkpoint, ignore_errors=True)
        checkpoint.mkdir(parents=True)
        make_clip(checkpoint)
        export(recipe_for(str(checkpoint), offline=True, trace=_tell), path, [Target.load(TARGET)], report=_tell)
    return path


MODELS: dict[str, Callable[[], Path]] = {"assistant-mini": assistant, "CLIP ViT-B/32": clip}


def measured(command: list[str], cache: Path) -> tuple[float, float]:
    """(seconds, MB) of one command."""
    environ = {**os.environ, "MMEDGE_CACHE": str(cache)}
    said = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=True, env=environ).stdout
    status, seconds, peak_mb, error = json.loads(said)
    if status:
        raise RuntimeError(f"{command}: {error}")
    return seconds, peak_mb


def compiled_again(name: str, bundle: Path, scratch: Path) -> Result:
    copy = shutil.copytree(bundle, scratch / "copy.bundle", copy_function=os.link)
    with Bundle.writing(copy) as made:
        made.manifest = made.manifest.model_copy(update={"engines": {}})
        made.commit()
    command = [sys.executable, "-m", "mmedge", "compile", str(copy), "--target", TARGET]
    first_s, peak_mb = measured(command, scratch / "cache")
    second_s = statistics.median(measured(command, scratch / "cache")[0] for _ in range(AGAIN))
    made = Bundle.open(copy)
    graphs = {}
    for graph, placed in made.manifest.engines[TARGET].items():
        if placed.backend == "tensorrt":
            variants = made.graph(*graph.split("/", 1)).variants
            source = variants.get(placed.precision) or made.graph(*graph.split("/", 1))
            tensors = [tensor for one in onnx_file.graphs(onnx_file.read(source.path).graph) for tensor in one.initializer]
            weights_mb = sum(map(onnx_file.size_bytes, tensors)) / 1e6
            graphs[graph] = (placed, weights_mb, placed.file.size_bytes / 1e6 if placed.file else float("nan"))
    return Result(name, first_s, second_s, peak_mb, graphs)


def main() -> int:
    results = []
    for name, make in MODELS.items():
        bundle = make()
        with tempfile.TemporaryDirectory(dir=environment.folder()) as scratch:
            results.append(compiled_again(name, bundle, Path(scratch)))
    lines, kept = report(results)
    print("\n".join(lines))
    (Path(__file__).parent / "results" / "nvidia.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if kept else 3


def report(results: list[Result]) -> tuple[list[str], bool]:
    """(a table, whether the bars are kept)."""
    ours = results[0]
    times = {f"{one.name} {graph}": engine_mb / weights_mb for one in results for graph, (_, weights_mb, engine_mb) in one.graphs.items()}
    kept = ours.first_s <= FIRST_S and ours.peak_mb <= PEAK_MB and all(one.second_s <= SECOND_S for one in results)
    kept = kept and all(one.graphs for one in results) and all(time <= TIMES_WEIGHTS for time in times.values())
    lines = [
        "# NVIDIA: engines built without a GPU",
        "",
        f"{environment.machine('mmedge', 'tensorrt-rtx-cu12-bindings', 'onnxruntime', 'numpy')}.",
        f"`mmedge compile BUNDLE --target {TARGET}`, every process from its start to its end: each graph parsed, built, and its evidence stored.",
        "Built, never run: there is no GPU here.",
        "",
        "| | first compile, s | peak, MB | unchanged, s |",
        "|---|---|---|---|",
        *(f"| {one.name} | {one.first_s:.1f} | {one.peak_mb:.0f} | {one.second_s:.2f} |" for one in results),
        "",
        "| graph | precision | weights, MB | engine, MB | times its weights |",
        "|---|---|---|---|---|",
    ]
    for one in results:
        for graph, (placed, weights_mb, engine_mb) in one.graphs.items():
            lines.append(f"| {one.name} {graph} | {placed.precision} | {weights_mb:.1f} | {engine_mb:.1f} | {engine_mb / weights_mb:.2f} |")
    bars = f"first compile at most {FIRST_S} s and {PEAK_MB} MB, unchanged at most {SECOND_S:.0f} s, engines at most {TIMES_WEIGHTS} times their weights"
    lines += ["", f"Bars ({bars}): {'kept' if kept else 'MISSED'}."]
    return lines, kept


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
