"""The output matrix in 8 bits, against the same graph in fp32."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmedge.backends import ort
from mmedge.backends.ort import int8
from mmedge.evaluate.drift import relative_drift
from mmedge.runner import Candidate, Engine, Graph
from mmedge.target import Target
from mmedge.tensors import TensorSpec

WIDTH, VOCABULARY, LARGE_BYTES = 256, 2_000, 1 << 20
TARGET = Target(name="test", summary="", backends=("ort",), max_opset=18, max_ir=10, precisions={"ort": ("fp32", "int8")})


@pytest.fixture(params=["tied", "own", "tied, weights apart", "own, weights apart"])
def graph(request, tmp_path, monkeypatch):
    """ids -> embedding -> a small matrix -> logits over a vocabulary, by the embedding's transpose or by a matrix of its own."""
    monkeypatch.setattr(int8, "LARGE_BYTES", LARGE_BYTES)  # smaller than in earnest: what is rounded is the same
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((VOCABULARY, WIDTH), np.float32)
    constants = [numpy_helper.from_array(embedding, "embedding"), numpy_helper.from_array(rng.standard_normal((WIDTH, WIDTH), np.float32) / 16, "small")]
    nodes = [
        helper.make_node("Gather", ["embedding", "ids"], ["states"], name="look_up"),
        helper.make_node("MatMul", ["states", "small"], ["mixed"], name="mix"),
        helper.make_node("MatMul", ["mixed", "output"], ["logits"], name="project"),
    ]
    if request.param.startswith("tied"):
        nodes.insert(0, helper.make_node("Transpose", ["embedding"], ["output"], name="turn", perm=[1, 0]))
    else:
        constants.append(numpy_helper.from_array(rng.standard_normal((WIDTH, VOCABULARY), np.float32), "output"))
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "tokens"])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "tokens", size]) for name, size in (("mixed", WIDTH), ("logits", VOCABULARY))]
    path = tmp_path / "decoder.onnx"
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, constants), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    apart = request.param.endswith("apart")
    onnx.save(model, path, save_as_external_data=apart, location="weights.bin" if apart else None, size_threshold=0)
    specs = (
        (TensorSpec("ids", "int64", (1, "tokens")),),
        (TensorSpec("mixed", "float32", (1, "tokens", WIDTH)), TensorSpec("logits", "float32", (1, "tokens", VOCABULARY))),
    )
    return Graph(path, hashlib.sha256(path.read_bytes()).hexdigest(), *specs, tmp_path / "weights.bin" if apart else None)


def test_only_the_output_matrix_is_rounded_and_little(graph, tmp_path):
    candidates = ort.candidates(graph, TARGET)
    assert [candidate.precision for candidate in candidates] == ["fp32", "int8"]
    feeds = {"ids": np.arange(5, dtype=np.int64)[None]}
    with ort.open(ort.compile(candidates[0], TARGET, tmp_path), TARGET) as runner:
        exact = runner.run(feeds)
    (tmp_path / "scratch").mkdir()
    engine = ort.compile(candidates[1], TARGET, tmp_path / "scratch")
    with ort.open(engine, TARGET) as runner:
        rounded = runner.run(feeds)
        assert runner.inputs == graph.inputs
        assert [spec.name for spec in runner.outputs] == [spec.name for spec in graph.outputs]
    assert np.array_equal(rounded["mixed"], exact["mixed"])
    assert 0.05 < relative_drift(rounded["logits"], exact["logits"]) < 1.0
    assert np.array_equal(rounded["logits"].argmax(-1), exact["logits"].argmax(-1))
    operators = [node.op_type for node in onnx.load(engine.path, load_external_data=False).graph.node]
    if graph.weights:
        assert engine.path.stat().st_size < 1.1 * VOCABULARY * WIDTH * (1 + 4 / int8.BLOCK), "it carries weights that lie in the file beside it"
    assert sorted(operators) == ["Gather", "MatMul", "MatMulNBits"]


def test_a_small_graph_has_no_such_candidate(toy_bundle):
    from mmedge.bundle import Bundle

    assert [candidate.precision for candidate in ort.candidates(Bundle.open(toy_bundle).graph("eyes", "image_encoder"), TARGET)] == ["fp32"]


def test_a_device_without_onnx_is_not_offered_it(graph, monkeypatch):
    monkeypatch.setattr(ort, "have", lambda module: module != "onnx")
    assert [candidate.precision for candidate in ort.candidates(graph, TARGET)] == ["fp32"]


def test_the_graph_itself_is_untouched(graph, tmp_path):
    before = graph.path.read_bytes()
    int8.quantize(graph, tmp_path / "out.onnx")
    assert graph.path.read_bytes() == before
    with ort.open(Engine(Candidate(graph, "fp32")), TARGET) as runner:
        assert runner.outputs == graph.outputs


def test_a_file_that_is_in_8_bits_already_is_opened_as_it_is(graph, tmp_path):
    (tmp_path / "scratch").mkdir()
    made = ort.compile(Candidate(graph, "int8"), TARGET, tmp_path / "scratch").path
    variant = replace(graph, path=made, sha256="1" * 64, precision="int8")
    again = ort.compile(Candidate(variant, "int8"), TARGET, tmp_path / "again")
    assert again.path is None
    with ort.open(again, TARGET) as runner:
        assert runner.executed()["precision"] == "int8"
    with ort.open(Engine(Candidate(variant, "fp32")), TARGET) as runner:
        assert runner.executed()["precision"] == "int8"  # whatever it is called


def test_a_file_that_is_called_int8_and_holds_no_integers(graph):
    with ort.open(Engine(Candidate(replace(graph, precision="int8"), "int8")), TARGET) as runner:
        assert runner.executed()["precision"] == "fp32"


@pytest.mark.parametrize(("precision", "threads"), [("int8", 1), ("int4", 0)])
def test_one_thread_is_for_few_weights_not_for_few_bytes(graph, monkeypatch, precision, threads):
    """As many bytes hold four times, or eight times, as many weights as in fp32."""
    monkeypatch.setattr(ort, "ONE_THREAD_BYTES", 6 * graph.size_bytes)
    with ort.open(Engine(Candidate(replace(graph, precision=precision), precision)), TARGET) as runner:
        assert (runner.executed()["threads"] == "1") == (threads == 1)


def test_the_quantizers_of_onnxruntime_say_nothing():
    """Its module for blocks of bits has every logger of a process speak once it is imported; a fresh process, because pytest's has handlers of its own."""
    said = (
        "import logging, numpy as np; from mmedge.backends.ort.nbits import blocks_of; blocks_of(np.ones((32, 16), np.float32), 4, 32); "
        'logging.info("a parameter is not specified"); print(logging.getLogger().level)'
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (str(logging.WARNING), "")
