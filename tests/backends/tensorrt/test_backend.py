"""The backend as a whole. Engines are really built, by TensorRT for RTX and without a GPU; what a GPU says of itself is a stand-in here, and none is opened."""

from __future__ import annotations

import dataclasses
import platform
import sys
from types import SimpleNamespace

import pytest
from backends.tensorrt import stand_in_builder
from onnx import helper
from small_graph import graph

import mmedge.backends.tensorrt as backend
from mmedge.backends.tensorrt import device, trtexec, versions
from mmedge.errors import MmedgeError
from mmedge.runner import Candidate, Engine
from mmedge.target import Target

RTX = pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")
NO_GPU = MmedgeError("CUDA refused cudaGetDevice: no CUDA-capable device is detected", "install the driver")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def gpu(monkeypatch):
    """A stand-in for a GPU of compute capability 8.6."""
    monkeypatch.setattr(device, "compute_capability", lambda: "8.6")
    monkeypatch.setattr(device, "cuda_version", lambda: "12.9")


@pytest.fixture
def none_installed(monkeypatch):
    for name in ("tensorrt", "tensorrt_rtx_libs", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def made(tmp_path):
    nodes = helper.make_node("Sqrt", ["x"], ["r"]), helper.make_node("Exp", ["r"], ["y"])
    halved = [helper.make_node("Cast", ["x"], ["h"], to=10), helper.make_node("Sqrt", ["h"], ["s"]), helper.make_node("Cast", ["s"], ["y"], to=1)]
    return dataclasses.replace(graph(tmp_path / "root.0123.onnx", *nodes), variants={"fp16": graph(tmp_path / "half.onnx", *halved)})


def rtx(*precisions, **changes):
    found = Target.load("rtx")
    return found.model_copy(update={"precisions": {"tensorrt": precisions or ("fp32",)}, **changes})


def test_nothing_is_installed(none_installed):
    facts = backend.probe()
    assert (facts.available, facts.version) == (False, None)
    assert facts.reason == "neither TensorRT nor TensorRT-RTX is installed"
    assert "python3-libnvinfer" in facts.fix


@pytest.mark.parametrize(("target", "said", "fix"), [("nvidia", "TensorRT", "python3-libnvinfer"), ("rtx", "TensorRT-RTX", "mmedge[rtx]")])
def test_a_target_hears_only_of_what_it_asks_for(none_installed, target, said, fix):
    facts = backend.probe(Target.load(target))
    assert (facts.reason, facts.available) == (f"{said} is not installed", False)
    assert fix in facts.fix


def test_the_other_product_is_of_no_use_to_a_target(none_installed, monkeypatch, gpu):
    """On a stand-in for TensorRT, and a GPU."""
    stand_in_builder.install(monkeypatch, "10.3.0")
    assert backend.probe(Target.load("nvidia")).version == "TensorRT 10.3.0"
    facts = backend.probe(Target.load("rtx"))
    assert (facts.available, facts.reason) == (False, "TensorRT-RTX is not installed")


def test_installed_without_a_gpu(none_installed, monkeypatch):
    """On a stand-in for TensorRT."""
    stand_in_builder.install(monkeypatch, "10.3.0")

    def none():
        raise NO_GPU

    monkeypatch.setattr(device, "compute_capability", none)
    facts = backend.probe()
    assert (facts.available, facts.version) == (False, "TensorRT 10.3.0")
    assert facts.reason == f"TensorRT 10.3.0 is installed, but no GPU can be used: {NO_GPU.what}"
    assert facts.fix == NO_GPU.fix


def test_installed_with_a_gpu(none_installed, monkeypatch, gpu):
    """On a stand-in for TensorRT."""
    stand_in_builder.install(monkeypatch, "10.3.0")
    facts = backend.probe()
    assert (facts.available, facts.version) == (True, "TensorRT 10.3.0")
    assert facts.reason == "a GPU of compute capability 8.6, CUDA 12.9"


def test_what_is_broken_is_told_before_what_is_missing(none_installed, monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt")
    facts = backend.probe()
    assert not facts.available
    assert "libnvinfer.so.10" in facts.reason


def test_a_candidate_for_each_precision_that_is_there(made):
    both = backend.candidates(made, rtx("fp16", "fp32"))
    assert [(one.precision, one.graph.path.name, one.note) for one in both] == [("fp16", "half.onnx", ""), ("fp32", "root.0123.onnx", "")]
    without = backend.candidates(made, rtx("int8", "fp32"))
    assert [(one.precision, one.note) for one in without] == [("fp32", "the bundle holds it in no int8")]
    assert backend.candidates(made, rtx("int8")) == []


@RTX
def test_an_engine_is_built_once(made, gpu, tmp_path, monkeypatch):
    candidate = Candidate(made.variants["fp16"], "fp16")
    first = backend.compile(candidate, rtx("fp16"), tmp_path)
    assert first.candidate is candidate
    content = first.path.read_bytes()
    assert b"trt" in content[:4]

    def never(*_, **__):
        raise AssertionError("built again")

    monkeypatch.setattr(backend.build, "build", never)
    (tmp_path / "out").mkdir()
    again = backend.compile(candidate, rtx("fp16"), tmp_path / "out")
    assert again.path.read_bytes() == content
    assert backend.compile(candidate, rtx("fp16"), tmp_path).path == first.path  # over what is there


@RTX
@pytest.mark.parametrize("change", ["capability", "cuda", "l4t", "graph", "shapes", "memory"])
def test_any_difference_builds_again(made, gpu, tmp_path, monkeypatch, change):
    candidate, target = Candidate(made, "fp32"), rtx()
    backend.compile(candidate, target, tmp_path)
    built = []
    real = backend.build.build
    monkeypatch.setattr(backend.build, "build", lambda *given, **named: built.append(named["capability"]) or real(*given, **named))
    backend.compile(candidate, target, tmp_path)
    assert built == []
    if change == "capability":
        monkeypatch.setattr(device, "compute_capability", lambda: "8.9")
    elif change == "cuda":
        monkeypatch.setattr(device, "cuda_version", lambda: "13.0")
    elif change == "l4t":
        monkeypatch.setattr(versions, "l4t", lambda: "36.4.3")
    elif change == "graph":
        candidate = Candidate(dataclasses.replace(made, sha256="f" * 64), "fp32")
    elif change == "shapes":
        candidate = Candidate(dataclasses.replace(made, ranges={"n": (1, 2, 8)}), "fp32")
    else:
        target = rtx(memory_mb=4096)
    backend.compile(candidate, target, tmp_path)
    assert built == ["8.9" if change == "capability" else "8.6"]


@RTX
def test_a_damaged_engine_is_built_again(made, gpu, tmp_path):
    candidate = Candidate(made, "fp32")
    content = backend.compile(candidate, rtx(), tmp_path).path.read_bytes()
    (kept,) = (tmp_path / "cache" / "engines").glob("*.plan")
    kept.chmod(0o644)
    kept.write_bytes(content[:-1])
    assert len(backend.compile(candidate, rtx(), tmp_path).path.read_bytes()) == len(content)


def test_an_engine_that_nobody_asks_for_again_is_not_kept(made, gpu, monkeypatch, tmp_path):
    """On a stand-in for TensorRT. What the builder measured is kept all the same; an engine that is there is used."""
    calls = stand_in_builder.install(monkeypatch, "10.3.0", engines=[b"first", b"second", b"third"])
    once, target = Candidate(made, "fp32", {"throwaway": True}), Target.load("nvidia")
    assert backend.compile(once, target, tmp_path).path.read_bytes() == b"first"
    assert backend.compile(once, target, tmp_path).path.read_bytes() == b"second"
    assert [path.suffix for path in (tmp_path / "cache" / "engines").iterdir()] == [".timing"]
    assert backend.compile(Candidate(made, "fp32"), target, tmp_path).path.read_bytes() == b"third"
    assert backend.compile(once, target, tmp_path).path.read_bytes() == b"third"
    assert len(calls.builds) == 3


def by_program():
    return Target.load("nvidia").model_copy(update={"options": {"tensorrt": {"trtexec": True}}})


def test_an_engine_by_nvidias_program(made, gpu, monkeypatch, tmp_path):
    """On stand-ins for TensorRT and for what starts the program."""
    calls = stand_in_builder.install(monkeypatch, "10.3.0.30")
    monkeypatch.setattr(trtexec, "version", lambda: "10.3.0")

    def build(graph, precision, out, **asked):
        assert (graph, precision, asked["shapes"]) == (made, "fp32", {"x": ((1,), (2,), (4,))})
        out.write_bytes(b"by trtexec")
        return SimpleNamespace(path=out)

    monkeypatch.setattr(trtexec, "build", build)
    assert backend.compile(Candidate(made, "fp32"), by_program(), tmp_path).path.read_bytes() == b"by trtexec"
    assert backend.compile(Candidate(made, "fp32"), Target.load("nvidia"), tmp_path).path.read_bytes() == b"engine"  # kept apart
    assert len(calls.builds) == 1


def test_nvidias_program_needs_no_python_module(made, gpu, none_installed, monkeypatch, tmp_path):
    """It is there to build with; opening is another matter. On a stand-in for what starts the program."""
    monkeypatch.setattr(trtexec, "version", lambda: "10.3.0")
    monkeypatch.setattr(trtexec, "build", lambda graph, precision, out, **asked: out.write_bytes(b"by trtexec") and SimpleNamespace(path=out))
    assert backend.compile(Candidate(made, "fp32"), by_program(), tmp_path).path.read_bytes() == b"by trtexec"


def test_a_program_of_another_version_builds_nothing(made, gpu, monkeypatch, tmp_path):
    """On a stand-in for TensorRT."""
    stand_in_builder.install(monkeypatch, "10.13.3.9")
    monkeypatch.setattr(trtexec, "version", lambda: "10.3.0")
    with pytest.raises(MmedgeError, match=r"trtexec is of TensorRT 10\.3\.0, the Python module is 10\.13\.3\.9, which opens only its own engines"):
        backend.compile(Candidate(made, "fp32"), by_program(), tmp_path)


def test_without_a_gpu_nothing_is_compiled(made, monkeypatch, tmp_path):
    """On a stand-in for TensorRT."""
    stand_in_builder.install(monkeypatch, "10.3.0")

    def none():
        raise NO_GPU

    monkeypatch.setattr(device, "compute_capability", none)
    with pytest.raises(MmedgeError, match="no CUDA-capable device"):
        backend.compile(Candidate(made, "fp32"), Target.load("nvidia"), tmp_path)


def test_a_graph_without_an_engine_is_not_opened(made):
    with pytest.raises(MmedgeError, match=r"there is no engine of root\.0123\.onnx yet") as caught:
        backend.open(Engine(Candidate(made, "fp32")), Target.load("jetson"))
    assert caught.value.fix == "on the device: mmedge compile BUNDLE --target jetson"
