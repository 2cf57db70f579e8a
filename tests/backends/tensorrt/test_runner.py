"""The runner for TensorRT beyond what every runner does. All over a stand-in for TensorRT and CUDA, but for the words of TensorRT-RTX where there is no GPU."""

from __future__ import annotations

import gc
import platform

import numpy as np
import onnx
import pytest
from backends.tensorrt import stand_in
from backends.tensorrt.test_runner_contract import opened
from contract.test_carry import PAIRS, Text, decoder, expected
from onnx import TensorProto, helper

from mmedge.backends.tensorrt import device, engine, profiling
from mmedge.backends.tensorrt.runner import TensorrtRunner
from mmedge.build.trace import read_graph
from mmedge.errors import MmedgeError


@pytest.fixture
def gpu(monkeypatch):
    return stand_in.install(monkeypatch)


def made(path, nodes, inputs, outputs):
    """A graph of these nodes; tensors as (name, type, shape)."""
    inputs, outputs = ([helper.make_tensor_value_info(*one) for one in side] for side in (inputs, outputs))
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return read_graph(path)


def added(path, shape):
    """x + y."""
    tensors = [(name, TensorProto.FLOAT, shape) for name in "xyz"]
    return made(path, [helper.make_node("Add", ["x", "y"], ["z"])], tensors[:2], tensors[2:])


@pytest.fixture
def fixed(tmp_path):
    return added(tmp_path / "fixed.onnx", [2, 3])


@pytest.fixture
def dynamic(tmp_path):
    return added(tmp_path / "dynamic.onnx", [1, "tokens"])


def feeds(shape=(2, 3), seed=0):
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape).astype(np.float32) for name in "xy"}


# Memory


def test_a_run_takes_no_new_memory(gpu, dynamic):
    with opened(dynamic) as runner:
        runner.run(feeds((1, 1)))
        gpu.calls.clear()
        for size in (4, 1, 2, 4):
            given = feeds((1, size), seed=size)
            np.testing.assert_array_equal(runner.run(given)["z"], given["x"] + given["y"])
        assert not {"cudaMalloc", "cudaHostAlloc", "cudaFree", "cudaFreeHost", "cudaStreamCreateWithFlags"} & set(gpu.calls)
        assert gpu.calls.count("cudaStreamSynchronize") == 4
    assert gpu.left() == []


def test_what_is_carried_never_visits_the_host(gpu, tmp_path):
    for form, pieces in (("growing", 4), ("ScatterND", 4), ("TensorScatter", 2)):
        graph, text = decoder(form, tmp_path / f"{form}.onnx"), Text(1, form)
        with opened(graph, alias=PAIRS if form == "TensorScatter" else {}) as runner:
            carried = runner.carry(PAIRS, text.start())
            carried.run(text.feeds(0))
            caches = {slot.address for name, slot in carried._slots.items() if name.startswith(("past_key", "past_value", "present"))}
            assert len(caches) == pieces
            gpu.calls.clear()
            carried.run(text.feeds(1))
            # x and, where it is fixed, past_length go there; logits come back; nothing else
            assert gpu.calls.count("cudaMemcpyAsync") == len(text.feeds(1)) + 1
            assert not {"cudaMalloc", "cudaHostAlloc"} & set(gpu.calls)
        assert gpu.left() == []


def test_a_sequence_that_has_ended_is_refused_not_mixed_up(gpu, tmp_path):
    text = Text(1, "growing")
    with opened(decoder("growing", tmp_path / "d.onnx")) as runner:
        first = runner.carry(PAIRS, text.start())
        first.run(text.feeds(0))
        second = runner.carry(PAIRS, text.start())
        with pytest.raises(MmedgeError, match="this sequence of runs has ended"):
            first.run(text.feeds(1))
        np.testing.assert_allclose(second.run(text.feeds(0))["logits"], expected("growing", text)[0], atol=1e-5)


def test_everything_is_freed_whatever_went_wrong(gpu, dynamic):
    def interrupted():
        with opened(dynamic) as runner:
            runner.run(feeds((1, 2)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert gpu.left() == []


def test_a_fault_on_the_gpu_is_what_is_told_not_what_follows_from_it(gpu, dynamic):
    def broken():
        with opened(dynamic) as runner:
            runner.run(feeds((1, 2)))
            gpu.memory.clear()
            runner.run(feeds((1, 2)))

    with pytest.raises(MmedgeError, match="cudaStreamSynchronize: cudaErrorIllegalAddress"):
        broken()
    assert gpu.calls[-1] == "cudaStreamDestroy"  # freeing went on to its end, though the GPU refuses all of it from then on


@pytest.mark.parametrize("allowed", range(7))
def test_too_little_memory_at_any_point_leaves_none_behind(gpu, dynamic, monkeypatch, allowed):
    """Three tensors, each with memory on both sides."""
    left = iter(range(allowed))

    def limited(real):
        def allocate(*arguments):
            if next(left, None) is None:
                return stand_in.cudaError_t.cudaErrorMemoryAllocation, None
            return real(*arguments)

        return staticmethod(allocate)

    for name in ("cudaMalloc", "cudaHostAlloc"):
        monkeypatch.setattr(stand_in.CudaRuntime, name, limited(getattr(stand_in.CudaRuntime, name)))
    with opened(dynamic) as runner:
        if allowed == 6:
            runner.run(feeds((1, 2)))
        else:
            with pytest.raises(MmedgeError, match="cudaErrorMemoryAllocation"):
                runner.run(feeds((1, 2)))
    assert gpu.left() == []


def test_results_are_the_callers_after_the_runner_is_gone(gpu, fixed):
    given = feeds()
    with opened(fixed) as runner:
        result = runner.run(given)["z"]
    gc.collect()
    np.testing.assert_array_equal(result, given["x"] + given["y"])


def test_feeds_may_change_as_soon_as_a_run_returns_and_need_not_be_contiguous(gpu, fixed):
    with opened(fixed) as runner:
        wide = np.arange(12, dtype=np.float32).reshape(2, 6)
        given = {"x": wide[:, ::2], "y": wide.reshape(6, 2)[:3].T}
        np.testing.assert_array_equal(runner.run(given)["z"], [[0, 4, 8], [7, 11, 15]])
        wide[:] = 0
        np.testing.assert_array_equal(runner.run(given)["z"], np.zeros((2, 3)))


# Shapes and types


def test_a_shape_outside_the_profile_is_named_with_what_is_allowed(gpu, dynamic):
    with opened(dynamic) as runner:
        before = runner.run(feeds((1, 4)))["z"]
        with pytest.raises(MmedgeError, match=r"input x has shape \[1, 5\]; this engine takes \[1, 1\] to \[1, 4\]") as caught:
            runner.run(feeds((1, 5)))
        assert "wider range" in caught.value.fix
        with pytest.raises(MmedgeError, match=r"input x has shape \[1, 0\]"):
            runner.run(feeds((1, 0)))
        np.testing.assert_array_equal(runner.run(feeds((1, 4)))["z"], before)


def test_a_cache_that_outgrows_its_engine_is_named(gpu, tmp_path):
    text = Text(1, "growing")
    with opened(decoder("growing", tmp_path / "d.onnx")) as runner:
        carried = runner.carry(PAIRS, text.start())
        for _ in range(6):
            carried.run(text.feeds(0))
        with pytest.raises(MmedgeError, match=r"input past_key_0 has shape \[1, 2, 18, 4\]; this engine takes \[1, 2, 0, 4\] to \[1, 2, 16, 4\]"):
            carried.run(text.feeds(1))
        with pytest.raises(MmedgeError, match=r"past_key_0 has shape \[1, 2, 17, 4\]; this engine takes"):
            runner.carry(PAIRS, {**text.start(), **dict.fromkeys(PAIRS.values(), np.zeros((1, 2, 17, 4), np.float32))})


@pytest.mark.parametrize("side", ["x", "z"])
def test_a_type_that_differs_from_the_bundles_is_refused_not_converted(gpu, fixed, side):
    with pytest.raises(MmedgeError, match=f"put {side} of fixed.plan is float16, the bundle says float32") as caught:
        opened(fixed, types={side: "float16"})
    assert "mmedge compile" in caught.value.fix
    assert gpu.left() == []


def test_a_type_that_numpy_does_not_have_is_refused(gpu, fixed):
    with pytest.raises(MmedgeError, match="tensor z is of type BF16, which numpy does not have"):
        opened(fixed, types={"z": "bfloat16"})


def test_the_engine_of_another_graph_is_refused(gpu, fixed, tmp_path):
    path = stand_in.plan(tmp_path / "other.plan", fixed)
    other = made(tmp_path / "o.onnx", [helper.make_node("Neg", ["x"], ["w"])], [("x", 1, [2, 3])], [("w", 1, [2, 3])])
    with pytest.raises(MmedgeError, match=r"other\.plan has no output w: it is the engine of another graph"):
        TensorrtRunner(path, other, "tensorrt")
    fewer = made(tmp_path / "f.onnx", [helper.make_node("Neg", ["x"], ["z"])], [("x", 1, [2, 3])], [("z", 1, [2, 3])])
    with pytest.raises(MmedgeError, match=r"other\.plan has a tensor y that the graph has not"):
        TensorrtRunner(path, fewer, "tensorrt")


def test_an_input_that_tensorrt_has_left_out_is_still_checked(gpu, tmp_path):
    graph = made(tmp_path / "g.onnx", [helper.make_node("Neg", ["x"], ["z"])], [("x", 1, [2, 3]), ("y", 1, [2, 3])], [("z", 1, [2, 3])])
    with opened(graph, drop=("y",)) as runner:
        given = feeds()
        np.testing.assert_array_equal(runner.run(given)["z"], -given["x"])
        with pytest.raises(MmedgeError, match="input y was not given"):
            runner.run({"x": given["x"]})


def test_an_input_of_the_host_is_read_anew_in_every_run(gpu, tmp_path):
    """Where values decide over shapes, TensorRT reads them in the host's memory."""
    graph = made(tmp_path / "g.onnx", [helper.make_node("Add", ["n", "n"], ["m"])], [("n", TensorProto.INT64, [1])], [("m", TensorProto.INT64, [1])])
    with opened(graph, on_host=("n",)) as runner:
        assert [int(runner.run({"n": np.array([n])})["m"][0]) for n in (1, 5, 2)] == [2, 10, 4]
        assert runner.executed()["CUDA graph"] == "off: its shapes change"


def test_an_output_whose_shape_depends_on_data(gpu, tmp_path):
    nodes = [helper.make_node("NonZero", ["x"], ["where"])]
    graph = made(tmp_path / "g.onnx", nodes, [("x", 1, [8])], [("where", TensorProto.INT64, [1, "found"])])
    with opened(graph, data_dependent=("where",)) as runner:
        for found in ([1], [0, 2, 5, 7], [], list(range(8)), [3]):
            x = np.zeros(8, np.float32)
            x[found] = 1
            np.testing.assert_array_equal(runner.run({"x": x})["where"], [found])
        assert runner.executed()["CUDA graph"].startswith("off")
        assert "cudaStreamBeginCapture" not in gpu.calls
    assert gpu.left() == []


def test_a_large_output_that_depends_on_data_finds_its_memory(gpu, tmp_path):
    graph = made(tmp_path / "g.onnx", [helper.make_node("NonZero", ["x"], ["where"])], [("x", 1, [900])], [("where", TensorProto.INT64, [1, "found"])])
    with opened(graph, data_dependent=("where",)) as runner:
        for size in (1, 900, 2):
            x = np.zeros(900, np.float32)
            x[:size] = 1
            np.testing.assert_array_equal(runner.run({"x": x})["where"], [range(size)])
    assert gpu.left() == []


# CUDA graphs


def test_fixed_shapes_are_recorded_after_one_run_and_then_launched(gpu, fixed):
    with opened(fixed) as runner:
        assert runner.executed()["CUDA graph"] == "on from the second run"
        for seed in range(5):
            given = feeds(seed=seed)
            np.testing.assert_array_equal(runner.run(given)["z"], given["x"] + given["y"])
        assert runner.executed()["CUDA graph"] == "on"
        assert gpu.calls.count("cudaStreamBeginCapture") == 1
        assert gpu.calls.count("cudaGraphLaunch") == 4
    assert gpu.left() == []


def test_shapes_that_change_are_never_recorded(gpu, dynamic):
    with opened(dynamic) as runner:
        for size in (1, 1, 1, 4):
            runner.run(feeds((1, size)))
        assert runner.executed()["CUDA graph"] == "off: its shapes change"
    assert "cudaStreamBeginCapture" not in gpu.calls


def test_a_carried_cache_has_a_graph_for_each_turn(gpu, tmp_path):
    """A graph holds addresses: the two pieces of a cache need one each, plain runs another."""
    tensors = {"x": (1, [1, 4]), "past_key_0": (1, [1, 4])}
    nodes = [helper.make_node("Add", ["x", "past_key_0"], ["present_key_0"]), helper.make_node("Neg", ["present_key_0"], ["y"])]
    graph = made(tmp_path / "g.onnx", nodes, [(name, *rest) for name, rest in tensors.items()], [("y", 1, [1, 4]), ("present_key_0", 1, [1, 4])])
    one = np.ones((1, 4), np.float32)
    with opened(graph) as runner:
        carried = runner.carry({"present_key_0": "past_key_0"}, {"past_key_0": one})
        for step in range(8):
            np.testing.assert_array_equal(carried.run({"x": one})["y"], -(one + step + 1))
            if step in (2, 5):
                np.testing.assert_array_equal(runner.run({"x": one, "past_key_0": one * 9})["present_key_0"], one * 10)
        assert gpu.calls.count("cudaStreamBeginCapture") == 3
    assert gpu.left() == []


def test_what_cannot_be_recorded_runs_without_and_says_so(gpu, fixed, monkeypatch):
    real = stand_in.IExecutionContext.execute_async_v3

    def never(self, stream_handle):
        stream = gpu.queues[stream_handle]
        if stream.recorded is not None:
            stream.spoiled = True
            return self._no("a layer needs the host")
        return real(self, stream_handle)

    monkeypatch.setattr(stand_in.IExecutionContext, "execute_async_v3", never)
    with opened(fixed) as runner:
        for seed in range(4):
            given = feeds(seed=seed)
            np.testing.assert_array_equal(runner.run(given)["z"], given["x"] + given["y"])
        assert "off: it could not be recorded" in runner.executed()["CUDA graph"]
        assert "a layer needs the host" in runner.executed()["CUDA graph"]
        assert gpu.calls.count("cudaStreamBeginCapture") == 1
    assert gpu.left() == []


def test_rtx_records_its_own_graphs(gpu, fixed, dynamic):
    for graph in (fixed, dynamic):
        with opened(graph, flavour="rtx") as runner:
            for _ in range(3):
                runner.run(feeds((2, 3) if graph is fixed else (1, 2)))
            assert runner.opened._context.runtime_config.cuda_graph_strategy == stand_in.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            assert runner.executed()["CUDA graph"] == "by TensorRT-RTX itself"
            assert runner.executed()["TensorRT-RTX"] == "10.3.0.30"
    assert "cudaStreamBeginCapture" not in gpu.calls


# What is opened, and what it says


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
    stand_in.install(monkeypatch, status=stand_in.cudaError_t.cudaErrorInsufficientDriver)
    with pytest.raises(MmedgeError, match="CUDA driver version is insufficient") as caught:
        opened(fixed)
    assert "--runtime nvidia" in caught.value.fix


def test_tensorrt_that_refuses_a_run_is_quoted(gpu, fixed, monkeypatch):
    monkeypatch.setattr(stand_in.IExecutionContext, "execute_async_v3", lambda self, stream_handle: self._no("device memory is not set"))
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
        assert runner.opened._context.nvtx_verbosity == stand_in.ProfilingVerbosity.NONE


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
    assert {one.name: one.ms for one in found.operators} == {"first": 2 * stand_in.LAYER_MS, "second": stand_in.LAYER_MS}
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
