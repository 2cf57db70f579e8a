"""Every backend that exists, by its file: picked up because it is there."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.runner import Candidate, Engine, Graph, Runner, backend_names, load_backend
from mmedge.target import Target
from mmedge.tensors import TensorSpec

TARGET = Target(name="test", summary="", backends=("null",), max_opset=23, max_ir=10)
ROUNDED_MS = 0.002
"""Profilers count in whole microseconds."""


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


def test_feeds_are_read_anew_in_every_run_also_where_they_are_the_same_arrays(backend, graph):
    """A camera's frame lies in one place of memory, and a caller may change it, its shape, or what a frozen view of it shows."""
    name, module = backend
    if name == "null":
        pytest.skip("computes nothing")
    frames = np.random.default_rng(0).random((3, 3, 8, 8), np.float32)
    frozen = frames.view()
    frozen.flags.writeable = False

    def run(array):
        return runner.run({"pixel_values": array})["image_embedding"]

    with module.open(module.compile(module.candidates(graph, TARGET)[0], TARGET, graph.path.parent), TARGET) as runner:
        for array in (frames, frozen, frames, frozen):
            for _ in range(2):
                frames *= 0.5
                np.testing.assert_allclose(run(array), frames.mean((2, 3)) * 2 - 1, atol=1e-6)
        other = np.ones((1, 3, 8, 8), np.float32)
        assert run(other).shape == (1, 3)
        np.testing.assert_allclose(run(frames), frames.mean((2, 3)) * 2 - 1, atol=1e-6)


def test_it_refuses_wrong_feeds_in_the_same_words(backend, graph):
    _, module = backend
    with module.open(Engine(Candidate(graph, "fp32")), TARGET) as runner, pytest.raises(MmedgeError, match="pixel_values is float64, the graph takes float32"):
        runner.run({"pixel_values": np.zeros((1, 3, 8, 8))})


def test_it_says_what_it_executes(backend, graph):
    _, module = backend
    with module.open(Engine(Candidate(graph, "fp32")), TARGET) as runner:
        said = runner.executed()
    assert said["precision"]
    assert all(isinstance(word, str) and word for pair in said.items() for word in pair)


@pytest.fixture
def square(tmp_path):
    """A matrix times itself, normalised."""
    shape = [256, 256]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    nodes = [helper.make_node("MatMul", ["x", "x"], ["squared"], name="square"), helper.make_node("Softmax", ["squared"], ["y"], name="normalise")]
    path = tmp_path / "square.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]), opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return Graph(path, "", (TensorSpec("x", "float32", tuple(shape)),), (TensorSpec("y", "float32", tuple(shape)),))


def test_it_tells_apart_its_operators_or_says_that_it_cannot(backend, square):
    """The whole holds its parts, whatever else the machine does: no bound on how much of it they are, which is judged in bench/profile_peers.py."""
    name, module = backend
    runs = 6
    found = module.operators(Engine(Candidate(square, "fp32")), TARGET, {"x": np.ones(square.inputs[0].shape, np.float32)}, runs)
    if found is None:
        return
    assert 0 < found.runs <= runs
    assert all(one.name and one.kind.isidentifier() and one.ms >= 0 for one in found.operators)
    told = {name for one in found.operators for name in (one.name, *one.nodes)}
    if name == "tensorrt":  # it makes one operator of several nodes, under a name of its own that holds theirs
        assert any("square" in one for one in told)
    else:
        assert {one.kind for one in found.operators} >= {"MatMul", "Softmax"}
        assert "square" in told
    assert 0 < sum(one.ms for one in found.operators) <= found.graph_ms + ROUNDED_MS * len(found.operators)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_16_bits_are_said(square, graph, precision):
    module = load_backend("openvino")
    if precision not in module.probe().features:
        pytest.skip(f"this machine has no {precision}")

    def said(graph, precision):
        with module.open(Engine(Candidate(graph, precision)), TARGET) as runner:
            return runner.executed()

    assert said(square, precision)["precision"] == precision
    assert f"in {precision}" in said(square, precision)["operators"]
    if precision == "bf16":  # nothing but a mean: OpenVINO leaves that in fp32, whatever the hint
        assert "in bf16" not in said(graph, precision)["operators"]
    assert precision not in " ".join(said(square, "fp32").values())


@pytest.mark.parametrize(("precision", "rounding"), [("bf16", 2**-9), ("fp16", 2**-12)])
def test_16_bits_are_what_it_computes_in(square, precision, rounding):
    """What it says of itself shows in what it gives: it is off by about what rounding once loses (half a unit in the last place), and not by fp32's."""
    module = load_backend("openvino")
    if precision not in module.probe().features:
        pytest.skip(f"this machine has no {precision}")
    x = np.random.default_rng(0).standard_normal(square.inputs[0].shape, np.float32) / 16
    powers = np.exp(x.astype(np.float64) @ x)
    wanted = powers / powers.sum(1, keepdims=True)
    with module.open(Engine(Candidate(square, precision)), TARGET) as runner:
        off = np.linalg.norm(runner.run({"x": x})["y"] - wanted) / np.linalg.norm(wanted)
    assert rounding / 32 < off < rounding * 2


def test_onnxruntime_says_its_threads_and_providers(graph):
    options = {"ort": {"threads": 2, "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]}}
    target = TARGET.model_copy(update={"options": options})
    with load_backend("ort").open(Engine(Candidate(graph, "fp32")), target) as runner:
        said = runner.executed()
    assert said["providers"].endswith("CPUExecutionProvider")
    assert said["threads"] == "1"  # a small graph, whatever the target says
    assert said["graph optimisation"] == "ORT_ENABLE_ALL"


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
