"""The device half in environments of its own: no torch, and the oldest runtime that boards have to live with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

CODE = """
import sys, json
from mmedge.bundle import Bundle
from mmedge.deploy.check import examine
from mmedge.target import Target
import onnxruntime
bundle = Bundle.open(sys.argv[1])
gates = examine(bundle, Target.load("cpu"), lambda line: None).gates["check cpu"]
heavy = sorted({"torch", "transformers", "onnx", "openvino"} & set(sys.modules))
print(json.dumps({"failed": [gate.name for gate in gates if not gate.passed], "checked": len(gates), "heavy": heavy, "ort": onnxruntime.__version__}))
"""


@pytest.fixture(scope="module")
def device(wheel, tmp_path_factory):
    """A virtual environment with the device half and the voice's phonemes, on ONNX Runtime 1.23.2: the newest with wheels for Python 3.10 on aarch64."""
    folder = tmp_path_factory.mktemp("device")
    python = folder / "bin" / "python"
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    # numpy below 2.4: onnxruntime 1.23.2 was built before it; everything else as a board would get it.
    subprocess.run([*pip, "onnxruntime==1.23.2", f"{wheel}[assistant]"], check=True)
    return python


def _run(python, *arguments, cwd):
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run([python, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, env=environment, timeout=600)


@pytest.mark.full
def test_every_graph_holds_its_golden_data_without_torch(device, assistant_bundle, tmp_path):
    done = _run(device, "-c", CODE, assistant_bundle, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failed"] == []
    assert found["checked"] >= 12
    assert found["heavy"] == []
    assert found["ort"] == "1.23.2"
    assert _run(device, "-c", "import torch", cwd=tmp_path).returncode != 0


@pytest.mark.full
def test_a_question_is_answered_without_torch(device, assistant_bundle, tmp_path):
    golden = Path(__file__).parents[1] / "mmedge" / "golden"
    files = ["--mic", golden / "question.wav", "--camera", golden / "cat.jpg", "--speaker", tmp_path / "answer.wav"]
    command = ["-m", "mmedge", "run", assistant_bundle, "--target", "cpu", *files, "--json"]
    done = _run(device, *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    turn, summary = map(json.loads, done.stdout.splitlines())
    assert turn["schema"] == "mmedge.turn/1"
    assert turn["heard"] == "Is there a cat in the picture?"
    assert turn["said"].lower().startswith("yes")
    assert summary["turns"] == 1
    assert (tmp_path / "answer.wav").stat().st_size > 20_000
