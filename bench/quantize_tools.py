"""The tools that mmedge's quantizing is compared with: each in an environment of its own, with the settings that its documentation recommends for a CPU."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import chat_model
import coverage_tools
import environment

HERE = Path(__file__).parent
NNCF = ("nncf==3.4.0", "openvino==2026.4.1", "numpy==2.4.6")
ONNXRUNTIME = ("onnxruntime==1.31.1", "onnx==1.23.2", "sympy", "numpy==2.4.6")
TIMEOUT_S = 900
QUIET = {"NNCF_CI": "1", "CI": "true", "OLIVE_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Nothing is sent or fetched."""
SAID = 160

TOOLS: dict[str, Callable[[], Path]] = {
    "nncf": lambda: environment.python_with("quantize-nncf", NNCF),
    "onnxruntime": lambda: environment.python_with("quantize-onnxruntime", ONNXRUNTIME),
    "olive": lambda: environment.python_with("olive", coverage_tools.OLIVE),
    "optimum-intel": lambda: environment.python_with("openvino-genai", chat_model.OPENVINO_GENAI),
}

STATIC_NNCF = ("nncf static, transformer", "nncf static, transformer, full bias correction", "nncf static, transformer, smooth 0.6")
WAYS = {
    "convolutional": (
        *("nncf static, mixed", "nncf static, mixed, full bias correction", "nncf static, performance"),
        *("onnxruntime static minmax", "onnxruntime static percentile", "onnxruntime static entropy", "onnxruntime static minmax, S8S8"),
        *("olive static minmax", "olive static percentile", "optimum-intel static", "optimum-intel weights int8"),
    ),
    "transformer": (
        *(*STATIC_NNCF, "nncf weights int8", "onnxruntime dynamic", "onnxruntime dynamic, per channel", "onnxruntime static minmax"),
        *("onnxruntime static minmax, products", "onnxruntime static percentile, products", "onnxruntime static entropy, products"),
        *("olive dynamic", "olive static minmax", "optimum-intel static", "optimum-intel static, smooth 0.6", "optimum-intel weights int8"),
    ),
    "decoder": (
        *("nncf static, transformer", "nncf weights int8", "nncf weights int4", "nncf weights int4, all layers"),
        *("onnxruntime dynamic", "onnxruntime dynamic, per channel", "onnxruntime static minmax, products"),
        *("onnxruntime blocks of 4 bits", "onnxruntime blocks of 8 bits", "olive dynamic", "olive blocks of 4 bits"),
        *("optimum-intel static", "optimum-intel weights int8", "optimum-intel weights int4"),
    ),
}
"""What is tried on each kind of graph: ``quantize_with_TOOL.py`` says what each is."""


@dataclass(frozen=True)
class Made:
    """What a tool made of a graph; without a file, what it said instead."""

    way: str
    file: str = ""
    size_bytes: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def tool(self) -> str:
        return self.way.partition(" ")[0]

    @property
    def backend(self) -> str:
        return "openvino" if self.file.endswith(".xml") else "ort"

    @property
    def precision(self) -> str:
        return "int4" if "int4" in self.way or "4 bits" in self.way else "int8"


def make(way: str, command: list[str], graph: Path, feeds: list[Path], root: Path, code: str) -> Made:
    """What a tool makes of a graph, from the cache where it did so before.

    Args:
        command: called with a folder of feeds and an empty folder to write to.
        graph: what is quantized, named by its content.
        feeds: to calibrate on: files in one folder, whose others are not meant.
        code: of what is called: another makes other graphs.
    """
    key = json.dumps([way, str(graph), [str(path) for path in feeds], code])
    out = root / hashlib.sha256(key.encode()).hexdigest()[:16]
    if (out / "made.json").is_file():
        return Made(**json.loads((out / "made.json").read_text(encoding="utf-8")))
    print(f"{graph.stem}: {way}", file=sys.stderr, flush=True)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        for path in feeds:
            os.symlink(path, Path(scratch) / path.name)
        made = _run(way, [*command, scratch, str(out)], out)
    for path in out.iterdir():
        if not made.file or path.is_dir() or path.name.partition(".")[0] != Path(made.file).name.partition(".")[0]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (out / "made.json").write_text(json.dumps(asdict(made)), encoding="utf-8")
    return made


def discard(made: Made) -> None:
    """Remove its files; what is known of it stays."""
    for path in Path(made.file).parent.iterdir():
        if path.name != "made.json":
            path.unlink()


def of_peer(way: str, graph: Path, feeds: list[Path], root: Path) -> Made:
    tool, _, setting = way.partition(" ")
    script = HERE / f"quantize_with_{tool.partition('-')[0]}.py"
    return make(way, [str(TOOLS[tool]()), str(script), setting, str(graph)], graph, feeds, root, script.read_text(encoding="utf-8"))


def _run(way: str, command: list[str], out: Path) -> Made:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env={**os.environ, **QUIET}, cwd=out)
    except subprocess.TimeoutExpired:
        return Made(way, note=f"not done after {TIMEOUT_S} s")
    if done.returncode:
        return Made(way, note=_error(done.stderr))
    answer = json.loads(done.stdout.splitlines()[-1])
    file = out / answer["file"]
    size = sum(path.stat().st_size for path in out.iterdir() if path.name.partition(".")[0] == file.name.partition(".")[0])
    return Made(way, str(file), size, answer["seconds"], answer["note"])


def _error(said: str) -> str:
    """The last line of a traceback that begins like an error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line.split(":")[0] or "Exception" in line.split(":")[0]]
    return (named or lines or ["ended without a word"])[-1][:SAID].replace("|", "/")
