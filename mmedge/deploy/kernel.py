"""A real kernel, not a promise: runtimes say that a GPU is there, and the first thing that it is to compute dies ("no kernel image is available").

It runs in a process of its own: what is broken may take the process with it, the GPU's memory is free again afterwards, and why ONNX Runtime could not
start CUDA is only in its log, which is then ours to read.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge import onnx_file
from mmedge.errors import MmedgeError, first_line
from mmedge.need import need
from mmedge.runner import Candidate, Graph, load_backend
from mmedge.target import Target
from mmedge.tensors import TensorSpec

SECONDS = 120
"""For all: on a small board, CUDA alone takes several to start, and TensorRT to build its first engine."""
SIZE = 64
TOLERANCE = 1e-2
"""Relative L2. A GPU multiplies in TF32, with 10 bits of mantissa; what was not computed at all is further away."""
CUDA = "CUDAExecutionProvider"
NOT_LOADED = re.compile(r"Failed to load library \S+ with error: (.+)")
"""ONNX Runtime's log, where it goes on without the provider that was asked for."""


def on_provider(provider: str) -> str:
    """Run one node on a provider of ONNX Runtime, and nowhere else. Returns why it did not; empty where it did."""
    return _apart("provider", provider)


def on_backend(backend: str, target: Target) -> str:
    """Compile and run one node on a backend, as a target's graphs are. Returns why it did not; empty where it did."""
    return _apart("backend", backend, target.model_dump_json(by_alias=True))


def _apart(*words: str) -> str:
    try:
        done = subprocess.run([sys.executable, "-m", __name__, *words], capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"it did not end within {SECONDS} s"
    if done.returncode < 0:
        return f"it was ended by signal {-done.returncode}"
    if done.returncode == 0:
        why = NOT_LOADED.search(done.stderr) if done.stdout else None
        return why[1] if why else done.stdout
    return next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"it ended with status {done.returncode}")


def _provider(name: str) -> str:
    """Whether the node really ran there is told by the runtime's profiler: it falls back to the CPU in several ways, most of them without a word."""
    ort = need("onnxruntime", extra="build")
    if name not in ort.get_available_providers():
        return f"onnxruntime {ort.__version__} is built without {name}"
    x, w, model = _product()
    with tempfile.TemporaryDirectory(prefix="mmedge-kernel-") as folder:
        settings = ort.SessionOptions()
        settings.enable_profiling, settings.profile_file_prefix = True, f"{folder}/run"
        if name != "CPUExecutionProvider":
            settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            session = ort.InferenceSession(model, settings, providers=[name])
            session.disable_fallback()
            y = session.run(None, {"x": x})[0]
        except Exception as error:  # onnxruntime raises a class per status, all direct children of Exception
            return first_line(error)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = {event["args"]["provider"] for event in events if event.get("args", {}).get("op_name") == "MatMul" and "provider" in event["args"]}
    if ran != {name}:
        return f"it ran on {', '.join(sorted(ran)) or 'nothing'}"
    return _wrong(y, x @ w)


def _backend(name: str, target: Target) -> str:
    x, w, model = _product()
    specs = [TensorSpec(name, "float32", (SIZE, SIZE)) for name in "xy"]
    with tempfile.TemporaryDirectory(prefix="mmedge-kernel-") as folder:
        path, out = Path(folder) / "kernel.onnx", Path(folder) / "engine"
        path.write_bytes(model)
        out.mkdir()
        graph = Graph(path, hashlib.sha256(model).hexdigest(), (specs[0],), (specs[1],))
        backend = load_backend(name)
        try:
            with backend.open(backend.compile(Candidate(graph, "fp32"), target, out), target) as opened:
                return _wrong(opened.run({"x": x})["y"], x @ w)
        except MmedgeError as error:
            return error.what


def _product() -> tuple[NDArray[np.float32], NDArray[np.float32], bytes]:
    """x, w, and a graph whose one node makes y = x w."""
    random = np.random.default_rng(0)
    x, w = (random.standard_normal((SIZE, SIZE)).astype(np.float32) for _ in range(2))
    return x, w, onnx_file.small_model([("MatMul", ["x", "w"], "y", {})], {"x": x}, ("y", "float32", (SIZE, SIZE)), {"w": w}, {"": 18})


def _wrong(got: Any, expected: Any) -> str:
    apart = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
    return "" if apart <= TOLERANCE else f"it computed something else: a relative L2 of {apart:.2g} from the right product"


def _main(kind: str, name: str, *target: str) -> None:
    """In the process of its own: stdout is the answer."""
    said = _provider(name) if kind == "provider" else _backend(name, Target.model_validate_json(target[0]))
    sys.stdout.write(said)


if __name__ == "__main__":
    _main(*sys.argv[1:])
