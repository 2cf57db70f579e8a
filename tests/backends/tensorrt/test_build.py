"""Engines that NVIDIA's builder really makes: TensorRT for RTX, which builds without a GPU."""

from __future__ import annotations

import dataclasses
import platform
import signal
import subprocess
import sys

import numpy as np
import pytest
from onnx import helper, numpy_helper
from small_graph import graph

from mmedge.backends.tensorrt.build import build, profile_shapes
from mmedge.errors import MmedgeError

RTX = pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")
N = helper.make_node
HALF, FLOAT = 10, 1


@pytest.fixture
def half(tmp_path):
    nodes = N("Cast", ["x"], ["h"], to=HALF), N("Add", ["h", "h"], ["s"], name="sum"), N("Cast", ["s"], ["y"], to=FLOAT)
    return graph(tmp_path / "half.onnx", *nodes)


def test_shapes_come_from_the_graphs_ranges(tmp_path):
    inputs = {"ids": ("int64", ("batch", "tokens")), "past": ("float32", ("batch", 6, "past", 64)), "fixed": ("float32", (1, 3))}
    made = graph(tmp_path / "a.onnx", inputs=inputs, ranges={"batch": (1, 1, 2), "tokens": (1, 4, 16), "past": (0, 8, 32)})
    assert profile_shapes(made) == {
        "ids": ((1, 1), (1, 4), (2, 16)),
        "past": ((1, 6, 0, 64), (1, 6, 8, 64), (2, 6, 32, 64)),
    }


def test_a_dimension_without_a_range_is_named(root):
    with pytest.raises(MmedgeError, match=r"root\.onnx: nothing says how large the dimension 'n' of its input x may be") as caught:
        profile_shapes(dataclasses.replace(root, ranges={}))
    assert "export the bundle again" in caught.value.fix


@pytest.mark.parametrize("range_", [(2, 1, 4), (1, 8, 4), (-1, 1, 4), (0, 0, 0)])
def test_a_range_that_does_not_rise_is_refused(root, range_):
    with pytest.raises(MmedgeError, match=r"root\.onnx: the range of the dimension 'n' is"):
        profile_shapes(dataclasses.replace(root, ranges={"n": range_}))


@RTX
def test_an_engine_in_the_precision_of_the_graph(half):
    shown = []
    made = build(half, "fp16", flavour="rtx", shapes=profile_shapes(half), capability="8.6", workspace_mb=256, progress=lambda *now: shown.append(now))
    assert made.layers == {"fp16": 1}
    assert made.size_bytes == len(bytes(memoryview(made.engine))) > 1000
    assert b"trt" in bytes(memoryview(made.engine)[:4])
    assert all(0 <= done <= 1 for _, done in shown)


@RTX
@pytest.mark.parametrize(("precision", "has"), [("fp16", "1 in fp32"), ("int8", "1 in fp32"), ("bf16", "1 in fp32")])
def test_a_precision_that_is_not_in_the_graph_fails(root, precision, has):
    with pytest.raises(MmedgeError, match=f"root.onnx was asked for in {precision}, but none of its layers computes in {precision}: {has}"):
        build(root, precision, flavour="rtx", shapes=profile_shapes(root), capability="8.6")


@RTX
def test_what_the_parser_refuses_is_told_in_its_words(tmp_path):
    made = graph(tmp_path / "voice.onnx", N("NonZero", ["x"], ["found"], name="where"), N("Cast", ["found"], ["y"], to=FLOAT))
    with pytest.raises(
        MmedgeError, match=r"TensorRT-RTX [\d.]+ does not take voice\.onnx: where \(NonZero\): .*NonZero plugin creator version 1 was not found"
    ):
        build(made, "fp32", flavour="rtx", shapes=profile_shapes(made), capability="8.6")


@RTX
@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({}, "no optimization profile has been defined"),
        ({"z": ((1,), (2,), (4,))}, "x is missing dimensions"),
        ({"x": ((4,), (2,), (1,))}, "takes no profile of root.onnx with the shapes x 4 2 1"),
    ],
)
def test_a_profile_that_does_not_fit_the_graph(root, shapes, said):
    with pytest.raises(MmedgeError, match=said):
        build(root, "fp32", flavour="rtx", shapes=shapes, capability="8.6")


@RTX
def test_a_board_that_rtx_does_not_build_for(root):
    with pytest.raises(MmedgeError, match=r"builds nothing for compute capability 8\.7: it knows 7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1"):
        build(root, "fp32", flavour="rtx", shapes=profile_shapes(root), capability="8.7")


@RTX
def test_engines_for_different_capabilities_differ(tmp_path):
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    sides = {"inputs": {"x": ("float32", ("n", 64))}, "outputs": {"y": ("float32", ("n", 64))}}
    made = graph(tmp_path / "a.onnx", N("MatMul", ["x", "w"], ["y"]), constants=[weights], **sides)
    engines = [build(made, "fp32", flavour="rtx", shapes=profile_shapes(made), capability=one).engine for one in ("8.6", "8.6", "12.0")]
    first, again, other = (bytes(memoryview(engine)) for engine in engines)
    assert first == again != other


@RTX
def test_what_a_gpu_cannot_is_told_in_the_builders_words(tmp_path):
    """Of Turing's, which the target rtx allows."""
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    sides = {"inputs": {"x": ("float32", ("n", 64))}, "outputs": {"y": ("float32", ("n", 64))}}
    made = graph(tmp_path / "a.onnx", N("MatMul", ["x", "w"], ["y"]), constants=[weights], **sides)
    with pytest.raises(MmedgeError, match=r"builds no engine of a\.onnx: .*FP32 GEMM is not supported"):
        build(made, "fp32", flavour="rtx", shapes=profile_shapes(made), capability="7.5")


INTERRUPTED = """
import signal, sys, threading, time
from pathlib import Path
from mmedge.backends.tensorrt.build import build
from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

signal.signal(signal.SIGINT, signal.default_int_handler)
specs = [(TensorSpec(name, "float32", (1, 64)),) for name in "xy"]
begun = lambda phase, done: print("begun", file=sys.stderr, flush=True)
try:
    build(Graph(Path(sys.argv[1]), "", *specs), "fp32", flavour="rtx", shapes={}, capability="8.6", progress=begun)
except KeyboardInterrupt:
    while threading.active_count() > 1:
        time.sleep(0.01)
    print("stopped", flush=True)
"""


@RTX
@pytest.mark.full
def test_ctrl_c_stops_a_build(tmp_path):
    """In a process of its own, so that the signal reaches nobody else."""
    weights = [numpy_helper.from_array(np.eye(64, dtype=np.float32) * (1 + index), f"w{index}") for index in range(400)]
    nodes = [N("MatMul", [f"h{index}" if index else "x", f"w{index}"], [f"m{index}"]) for index in range(400)]
    turns = [N("Sin", [f"m{index}"], [f"h{index + 1}" if index < 399 else "y"]) for index in range(400)]
    sides = {"inputs": {"x": ("float32", (1, 64))}, "outputs": {"y": ("float32", (1, 64))}}
    made = graph(tmp_path / "a.onnx", *(node for pair in zip(nodes, turns) for node in pair), constants=weights, **sides)
    before = sorted(tmp_path.iterdir())
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, made.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert said.splitlines()[-1] == "stopped"
    assert process.returncode == 0
    assert sorted(tmp_path.iterdir()) == before


@RTX
def test_rtx_measures_nothing(root, tmp_path):
    build(root, "fp32", flavour="rtx", shapes=profile_shapes(root), capability="8.6", timing_cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
