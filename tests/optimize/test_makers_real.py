"""Makers on the shipped assistant's real weights, and what NNCF says to the world."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mmedge.bundle import Bundle
from mmedge.evaluate.golden import Golden
from mmedge.optimize import rounding
from mmedge.optimize.made import maker, own_bytes
from mmedge.quantization import Dynamic, Static, WeightOnly

pytestmark = pytest.mark.full

REAL = [
    ("ort", Dynamic(), "eyes", "text_encoder", "text_embedding", 0.3, 0.99),
    ("ort", WeightOnly(), "ears", "decoder", "logits", 0.2, 0.99),
    ("ort", Static(), "ears", "encoder", "cross_key_0", 0.3, 0.99),
    ("ort", WeightOnly(bits=8), "ears", "encoder", "cross_key_0", 0.3, 0.999),
    ("tensorrt", Static(), "eyes", "image_encoder", "logits", 0.3, 0.99),
    ("tensorrt", Static(), "eyes", "text_encoder", "text_embedding", 0.3, 0.97),
    ("openvino", Static(), "ears", "decoder", "logits", 0.3, 0.98),
]
"""The last two figures: of the bytes in fp32 at most, and the least cosine with it."""


@pytest.mark.parametrize(("backend", "options", "role", "key", "output", "ratio", "cosine"), REAL)
def test_a_real_graph_is_as_small_as_it_should_be_and_close(backend, options, role, key, output, ratio, cosine, assistant_bundle, tmp_path):
    bundle = Bundle.open(assistant_bundle)
    graph, (feeds, reference) = bundle.graph(role, key), Golden(bundle, role).graph(key)
    made = maker(backend, options).make(graph, lambda: iter([feeds]), tmp_path, options)
    assert made.size_bytes <= ratio * own_bytes(graph)
    assert len(made.kept_float) <= 2  # the first convolutions of an encoder
    got, wanted = (one[output].reshape(-1).astype(np.float64) for one in (outputs(backend, made.file, feeds), reference))
    assert got @ wanted / np.linalg.norm(got) / np.linalg.norm(wanted) > cosine


def outputs(backend, file, feeds):
    if backend != "openvino":
        return rounding.run(file, feeds, optimise=True)
    compiled = pytest.importorskip("openvino").Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {port.get_any_name(): array for port, array in compiled({name: feeds[name] for name in feeds}).items()}


def test_nncf_reports_to_nobody(tmp_path):
    """It does so by default, unasked; but not under pytest, so it is asked in a process of its own."""
    code = """
from mmedge.optimize.openvino_nncf import nncf
with nncf():
    from nncf.telemetry.wrapper import telemetry
print(type(telemetry).__name__)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"HOME": str(tmp_path), "PATH": ""})
    assert told.stdout.split() == ["MagicMock"], "what it sends by is replaced by nothing"
    assert not list(tmp_path.iterdir()), "it counts users by a file in their home"
