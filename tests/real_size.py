"""Exports at real sizes: in a process of its own, whose peak memory is held against the bound."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from mmedge.bundle import Bundle

TARGET = """schema = "mmedge.target/1"
name = "plain"
summary = "for tests"
backends = ["ort"]
max_opset = 18
max_ir = 10
[precisions]
ort = ["fp32"]
"""


def exported(source: Path, checkpoint: Path, out: Path) -> Bundle:
    """The bundle of a recipe, or of a checkpoint itself, for ONNX Runtime in fp32; made in at most 2.5 times the size of ``checkpoint`` and a GiB."""
    target = out.with_name("plain.toml")
    target.write_text(TARGET)
    command = [sys.executable, "-m", "mmedge", "export", str(source), "--target", str(target), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    size = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    print(f"peak {peak / 1e9:.2f} GB, checkpoint {size / 1e9:.2f} GB")
    assert peak <= 2.5 * size + (1 << 30)
    return Bundle.open(out)
