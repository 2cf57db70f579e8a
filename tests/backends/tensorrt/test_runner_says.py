"""What the runner for TensorRT refuses to open, and what it says of what it has opened. Over a stand-in, but for the words of TensorRT-RTX itself."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from backends.tensorrt import stand_in, stand_in_context, stand_in_gpu
from backends.tensorrt.small_engines import feeds
from backends.tensorrt.test_runner_contract import opened

from mmedge.backends.tensorrt import device, engine, profiling
from mmedge.backends.tensorrt.runner import TensorrtRunner
from mmedge.errors import MmedgeError


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"tensorrt": "10.16.2.10"}, "not compatible with this version of TensorRT, expecting library version 10.3.0.30 got 10.16.2.10"),
        ({"capability": "11.0"}, "generated on an incompatible device, expecting compute 8.7 got compute 11.0"),
    ],
)
def test_an_engine_from_elsewhere_is_refused_with_both_sides(gpu, fixed, how, words):
    with pytest.raises(MmedgeError, match=words) as caught:
        opened(fixed, **how)
    assert "fixed.plan is no engine for TensorRT 10.3.0.30 with compute capability 8.7: " in caught.value.what
    assert "mmedge compile" in caught.value.fix
    assert gpu.left() == []


@pytest.mark.parametrize(("content", "words"), [(b"", "fixed.plan is empty"), (b"not an engine", "Version tag does not match")])
def test_a_file_that_is_no_engine(gpu, fixed, content, words):
    path = fixed.path.with_suffix(".plan")
    path.write_bytes(content)
    with pytest.raises(MmedgeError, match=words):
        TensorrtRunner(path, fixed, "tensorrt")


def test_an_engine_too_large_for_what_is_free(monkeypatch, fixed):
    gpu = stand_in.install(monkeypatch, size_bytes=8 << 20)
    kept = device.Memory(5 << 20)
    with pytest.raises(MmedgeError, match=r"cannot run fixed\.plan: .*OutOfMemory.* \(3 of 8 MB are free\)"):
        opened(fixed)
    kept.free()
    assert gpu.left() == []


def test_without_a_driver_that_is_what_is_told(monkeypatch, fixed):
    stand_in.install(monkeypatch, status=stand_in_gpu.cudaError_t.cudaErrorInsufficientDriver)
    with pytest.raises(MmedgeError, match="CUDA driver version is insufficient") as caught:
        opened(fixed)
    assert "--runtime nvidia" in caught.value.fix


def test_tensorrt_that_refuses_a_run_is_quoted(gpu, fixed, monkeypatch):
    monkeypatch.setattr(stand_in_context.IExecutionContext, "execute_async_v3", lambda self, stream_handle: self._no("device memory is not set"))
    with opened(fixed) as runner, pytest.raises(MmedgeError, match=r"TensorRT 10\.3\.0\.30 does not run the engine: .*device memory is not set"):
        runner.run(feeds())


def test_it_says_what_it_executes_on(gpu, fixed):
    layers = [{"Name": str(index), "LayerType": "gemm", "Outputs": [{"Format/Datatype": "Half" if index else "Float"}]} for index in range(3)]
    with opened(fixed, layers=layers) as runner:
        assert runner.executed() == {
            "precision": "fp16",
            "layers": "2 in fp16, 1 in fp32",
            "TensorRT": "10.3.0.30",
            "compute capability": "8.7",
            "CUDA": "12.6",
            "CUDA graph": "on from the second run",
        }
    with opened(fixed, layers=["a", "b"]) as runner:
        assert runner.executed()["precision"] == "not told: the engine was built without detailed profiling"


def test_markers_for_tracing_tools_are_off(gpu, fixed):
    with opened(fixed) as runner:
        assert runner.opened._context.nvtx_verbosity == stand_in_context.ProfilingVerbosity.NONE


def test_times_of_the_layers_are_means_over_the_runs(gpu, fixed):
    layers = [
        {"Name": "first", "LayerType": "kgen", "Metadata": "[ONNX Layer: /a/Add]\x1f[ONNX Layer: /a/Mul]"},
        {"Name": "second", "LayerType": "CaskGemmMatrixMultiply"},
        {"Name": "first", "LayerType": "kgen", "Metadata": "[ONNX Layer: /a/Add]\x1f[ONNX Layer: /a/Mul]"},
    ]
    with opened(fixed, layers=layers, cuda_graph=False) as runner:
        found = profiling.operated(runner, feeds(), 5)
        assert "cudaStreamBeginCapture" not in gpu.calls
    assert found.runs == 5
    assert {one.name: one.ms for one in found.operators} == {"first": 2 * stand_in_context.LAYER_MS, "second": stand_in_context.LAYER_MS}
    assert {one.name: (one.kind, one.nodes) for one in found.operators} == {"first": ("kgen", ("/a/Add", "/a/Mul")), "second": ("CaskGemmMatrixMultiply", ())}
    assert found.outside


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")
def test_the_words_of_the_real_runtime_without_a_gpu(monkeypatch, tmp_path, fixed):
    """Nothing stands in for TensorRT-RTX here: its own runtime says why it opens nothing. A GPU is pretended, so that it is asked at all."""
    pytest.importorskip("tensorrt_rtx_bindings")
    monkeypatch.setattr(engine.device, "compute_capability", lambda: "8.6")
    path = tmp_path / "none.plan"
    path.write_bytes(b"abc" * 100)
    with pytest.raises(
        MmedgeError, match=r"none\.plan is no engine for TensorRT-RTX 1\.\S+ with compute capability 8\.6: IRuntime::deserializeCudaEngine"
    ) as caught:
        TensorrtRunner(path, fixed, "rtx")
    assert "kEXPECTED_MAGIC_TAG" in caught.value.what


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")
@pytest.mark.parametrize("base", ["IProfiler", "IOutputAllocator"])
def test_tensorrts_real_interfaces_are_made_of_functions(base):
    pytest.importorskip("tensorrt_rtx_libs")
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    asked = []
    one = engine.subclass(trt, base, report_layer_time=lambda name, ms: asked.append((name, ms)))
    assert isinstance(one, getattr(trt, base))
    one.report_layer_time("layer", 1.5)
    assert asked == [("layer", 1.5)]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")
def test_every_type_of_tensorrt_is_known_or_refused():
    pytest.importorskip("tensorrt_rtx_libs")
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    for name, kind in trt.DataType.__members__.items():
        try:
            numpy = np.dtype(trt.nptype(kind)).name
        except TypeError:
            numpy = None
        assert engine.DTYPES.get(name) == numpy
