"""Every graph of the shipped assistant on every backend that can run it, against golden."""

from __future__ import annotations

import itertools

import pytest

from mmedge.bundle import Bundle
from mmedge.evaluate.drift import drift
from mmedge.evaluate.golden import Golden
from mmedge.runner import Candidate, Engine, load_backend
from mmedge.target import Target

pytestmark = pytest.mark.full

GRAPHS = ["vad/vad", "ears/encoder", "ears/decoder", "eyes/image_encoder", "eyes/text_encoder", "voice/voice"]


NOT = ("voice/voice", "ref")
"""onnx's reference evaluator fails on a GatherElements of this graph; unoptimised onnxruntime is its reference."""


@pytest.mark.parametrize(("graph", "name"), [one for one in itertools.product(GRAPHS, ("ort", "openvino", "ref")) if one != NOT])
def test_graph(assistant_bundle, graph, name):
    role, _, part = graph.partition("/")
    bundle = Bundle.open(assistant_bundle)
    backend, target = load_backend(name), Target.load("intel-cpu" if name == "openvino" else "cpu")
    feeds, reference = Golden(bundle, role).graph(part)
    assert reference
    with backend.open(Engine(Candidate(bundle.graph(role, part), "fp32")), target) as runner:
        value, _ = drift(runner.run(feeds), reference, "fp32")
    assert value <= 1.0, f"{value:.3g} times the bound"


def test_there_is_no_other_graph(assistant_bundle):
    assert sorted(f"{role}/{name}" for role, model in Bundle.open(assistant_bundle).manifest.models.items() for name in model.graphs) == sorted(GRAPHS)
