"""Engines that NVIDIA's builder really makes (TensorRT for RTX, no GPU), and which calls standard TensorRT gets by its version (a stand-in)."""

from __future__ import annotations

import dataclasses
import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from backends.tensorrt import stand_in_builder
from onnx import helper, numpy_helper
from small_graph import graph

from mmedge.backends.tensorrt.build import build, profile_shapes, typings
from mmedge.backends.tensorrt.versions import TENSORRT, row_for
from mmedge.errors import MmedgeError

RTX = pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")
N = helper.make_node
HALF, FLOAT = 10, 1


@pytest.fixture
def root(tmp_path):
    return graph(tmp_path / "root.onnx", N("Sqrt", ["x"], ["y"], name="root"))


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


LADDER = [
    ("10.0.1", "fp16", "HALF", [(True, [])]),
    ("10.3.0", "fp16", "HALF", [(True, []), (False, ["FP16"])]),
    ("10.11.0", "int8", "INT8", [(True, []), (False, ["FP16", "INT8"])]),
    ("10.3.0", "bf16", "BF16", [(True, []), (False, ["BF16"])]),
    ("10.3.0", "fp32", "FLOAT", [(False, [])]),
    ("10.12.0", "fp16", "HALF", [(True, [])]),
    ("10.13.3", "int8", "INT8", [(True, [])]),
    ("10.16.2", "fp32", "FLOAT", [(True, [])]),
    ("11.4.0", "fp16", "HALF", [(False, [])]),
    ("11.4.1", "int8", "INT8", [(False, [])]),
    ("11.5.0", "fp32", "FLOAT", [(False, [])]),
    ("12.1.0", "fp16", "HALF", [(True, [])]),
]
"""Version, precision, what the graph is in, and what the builder is asked: strongly typed or not, weak flags."""


@pytest.mark.parametrize(("version", "precision", "kind", "asked"), LADDER, ids=[f"{row[0]}-{row[1]}" for row in LADDER])
def test_how_a_precision_is_asked_for_by_version(monkeypatch, root, version, precision, kind, asked):
    """On a stand-in for TensorRT: the first way succeeds, or fails where there is a second."""
    calls = stand_in_builder.install(monkeypatch, version, layers=[kind], engines=[*[None] * (len(asked) - 1), b"engine"])
    made = build(root, precision, flavour="tensorrt", shapes=profile_shapes(root), workspace_mb=1024)
    tf32 = [] if precision == "fp32" else ["TF32"]
    assert [(one.strongly, one.flags) for one in calls.builds] == [(strongly, sorted([*flags, *tf32])) for strongly, flags in asked]
    assert {one.workspace for one in calls.builds} == {1 << 30}
    assert all(one.profiles == [{"x": ((1,), (2,), (4,))}] for one in calls.builds)
    assert {one.verbosity.name for one in calls.builds} == {"DETAILED"}
    assert bytes(made.engine) == b"engine"
    assert made.log == ("a warning of the builder",)


def test_every_row_of_the_table_is_tried():
    tried = [row_for(version) for version, *_ in LADDER]
    assert [row.low for row in TENSORRT if row not in tried] == []


@pytest.mark.parametrize("row", TENSORRT, ids=lambda row: row.low)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "int4"])
def test_strong_and_weak_typing_are_never_mixed(row, precision):
    for typing in typings(row.rule, precision):
        assert not (typing.strongly and typing.flags)
        assert not (typing.flags and row.rule != "strong-or-weak")


def test_both_ways_fail(monkeypatch, root):
    """On a stand-in for TensorRT."""
    stand_in_builder.install(monkeypatch, "10.3.0", layers=["HALF"], engines=[None, None])
    said = r"TensorRT 10\.3\.0 builds no engine of root\.onnx: strongly typed: .*Could not find any implementation.*; weakly typed with FP16: Error"
    with pytest.raises(MmedgeError, match=said):
        build(root, "fp16", flavour="tensorrt", shapes=profile_shapes(root))


def test_a_precision_that_this_version_has_not(monkeypatch, root):
    """On a stand-in for TensorRT whose builder knows no INT4."""
    stand_in_builder.install(monkeypatch, "10.3.0", layers=["INT4"], engines=[None, b"engine"], weak=("FP16", "INT8"))
    with pytest.raises(MmedgeError, match=r"TensorRT 10\.3\.0 has no int4: its builder knows no INT4"):
        build(root, "int4", flavour="tensorrt", shapes=profile_shapes(root))


def test_the_builder_breaks(monkeypatch, root):
    """On a stand-in for TensorRT: what its thread raises arrives here."""
    stand_in_builder.install(monkeypatch, "10.13.3", engines=[MemoryError("std::bad_alloc")])
    with pytest.raises(MemoryError, match="std::bad_alloc"):
        build(root, "fp32", flavour="tensorrt", shapes=profile_shapes(root))


def test_progress_is_told_in_the_callers_thread(monkeypatch, root):
    """On a stand-in for TensorRT that waits at every step until its caller was told."""
    calls = stand_in_builder.install(monkeypatch, "10.13.3")
    calls.steps = 4
    told, threads = [], set()
    seen = threading.Semaphore(0)
    calls.before_step = lambda step: seen.acquire(timeout=10)

    def progress(phase, done):
        told.append((phase, done))
        threads.add(threading.current_thread())
        seen.release()

    build(root, "fp32", flavour="tensorrt", shapes=profile_shapes(root), progress=progress)
    assert told[0] == ("Building engine", 0.0)
    assert [done for _, done in told] == sorted(done for _, done in told)
    assert len({done for _, done in told}) > 2
    assert threads == {threading.main_thread()}


NOISY = """
import ctypes, os, sys
from pathlib import Path
import pytest
from backends.tensorrt import stand_in_builder
from mmedge.backends.tensorrt.build import build
from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

with pytest.MonkeyPatch.context() as patched:
    calls = stand_in_builder.install(patched, "10.13.3")
    calls.before_step = lambda step: (ctypes.CDLL(None).puts(b"by C"), os.write(1, b"at once\\n"))
    print("before")
    specs = [(TensorSpec(name, "float32", (1,)),) for name in "xy"]
    made = build(Graph(Path("none.onnx"), "", *specs), "fp32", flavour="tensorrt", shapes={})
    print("after", *sorted(made.log), sep="\\n")
"""


@pytest.mark.full
def test_what_the_builder_writes_by_itself_is_kept_aside(tmp_path):
    """On a stand-in for TensorRT that writes as NVIDIA's compiler does; stdout and stderr are files, as C buffers them."""
    tests = Path(__file__).parents[2]
    with open(tmp_path / "out", "wb") as out, open(tmp_path / "err", "wb") as err:
        subprocess.run([sys.executable, "-c", NOISY], stdout=out, stderr=err, check=True, env={**os.environ, "PYTHONPATH": str(tests)})
    assert (tmp_path / "out").read_text().splitlines() == ["before", "after", "a warning of the builder", *["at once"] * 6, *["by C"] * 6]
    assert (tmp_path / "err").read_text() == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenPipeError()])
def test_whatever_ends_the_caller_stops_the_builder(monkeypatch, root, error, tmp_path):
    """On a stand-in for TensorRT: Ctrl-C, or a terminal that is gone."""
    calls = stand_in_builder.install(monkeypatch, "10.13.3")
    steps, told = [], threading.Event()
    calls.before_step = lambda step: (steps.append(step), step and told.wait(10))

    def progress(phase, done):
        told.set()
        raise error

    with pytest.raises(type(error)):
        build(root, "fp32", flavour="tensorrt", shapes=profile_shapes(root), timing_cache=tmp_path / "cache", progress=progress)
    assert len(steps) < calls.steps
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("before", [None, b"", b"measured", b"damaged", b"another device's"])
def test_what_was_measured_is_kept(monkeypatch, root, tmp_path, before):
    """On a stand-in for TensorRT: what it cannot read, or what is another device's, is begun anew."""
    stand_in_builder.install(monkeypatch, "10.3.0")
    cache = tmp_path / "cache"
    if before is not None:
        cache.write_bytes(before)
    build(root, "fp32", flavour="tensorrt", shapes=profile_shapes(root), timing_cache=cache)
    assert cache.read_bytes() == (b"measured+measured" if before == b"measured" else b"+measured")
    assert list(tmp_path.glob(".*")) == []


def test_measurements_that_cannot_be_written_cost_no_engine(monkeypatch, root, tmp_path):
    """On a stand-in for TensorRT."""
    stand_in_builder.install(monkeypatch, "10.3.0")
    made = build(root, "fp32", flavour="tensorrt", shapes=profile_shapes(root), timing_cache=tmp_path / "none" / "cache")
    assert bytes(made.engine) == b"engine"


@RTX
def test_rtx_measures_nothing(root, tmp_path):
    build(root, "fp32", flavour="rtx", shapes=profile_shapes(root), capability="8.6", timing_cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
