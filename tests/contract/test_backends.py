"""Every backend that exists, by its file: picked up because it is there."""

from __future__ import annotations

import numpy as np
import pytest

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.runner import Candidate, Engine, Graph, Runner, backend_names, load_backend
from mmedge.target import Target

TARGET = Target(name="test", summary="", backends=("null",), max_opset=23, max_ir=10)


@pytest.fixture(params=backend_names())
def backend(request):
    backend = load_backend(request.param)
    facts = backend.probe()
    assert facts.available or (facts.reason and facts.fix)
    if not facts.available:
        pytest.skip(facts.reason)
    return request.param, backend


@pytest.fixture
def graph(toy_bundle):
    return Bundle.open(toy_bundle).graph("eyes", "image_encoder")


def test_it_runs_a_graph_as_declared(backend, graph):
    name, module = backend
    feeds = {"pixel_values": np.random.default_rng(0).random((3, 3, 8, 8), np.float32)}
    candidates = module.candidates(graph, TARGET)
    assert candidates[0].precision == "fp32"
    with module.open(module.compile(candidates[0], TARGET, graph.path.parent), TARGET) as runner:
        assert isinstance(runner, Runner)
        assert [spec.name for spec in runner.inputs] == ["pixel_values"]
        assert [spec.name for spec in runner.outputs] == ["image_embedding"]
        first = runner.run(feeds)["image_embedding"]
        kept = first.copy()
        runner.run({"pixel_values": feeds["pixel_values"] * 0})
        assert runner.reuses_outputs or np.array_equal(first, kept)
    expected = np.zeros((3, 3), np.float32) if name == "null" else feeds["pixel_values"].mean((2, 3)) * 2 - 1
    assert first.dtype == np.float32
    np.testing.assert_allclose(first, expected, atol=1e-5)


def test_it_refuses_wrong_feeds_in_the_same_words(backend, graph):
    _, module = backend
    with module.open(Engine(Candidate(graph, "fp32")), TARGET) as runner, pytest.raises(MmedgeError, match="pixel_values is float64, the graph takes float32"):
        runner.run({"pixel_values": np.zeros((1, 3, 8, 8))})


@pytest.mark.parametrize("name", ["ort", "openvino"])
def test_a_truncated_file_is_one_error(name, graph, tmp_path):
    module = load_backend(name)
    if not module.probe().available:
        pytest.skip(module.probe().reason)
    path = tmp_path / "half.onnx"
    path.write_bytes(graph.path.read_bytes()[:200])
    with pytest.raises(MmedgeError, match=r"half\.onnx") as caught:
        module.open(Engine(Candidate(Graph(path, "", graph.inputs, graph.outputs), "fp32")), TARGET)
    assert "\n" not in caught.value.what


def test_an_unknown_backend_is_answered_with_those_that_exist():
    with pytest.raises(MmedgeError) as caught:
        load_backend("vulkan")
    assert "ort" in caught.value.fix
