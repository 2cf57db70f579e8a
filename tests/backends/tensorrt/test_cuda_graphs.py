"""Which runs are recorded as a CUDA graph, and what is said of those that are not. Over a stand-in for TensorRT and CUDA."""

from __future__ import annotations

import numpy as np
from backends.tensorrt import stand_in_context, stand_in_engine
from backends.tensorrt.small_engines import feeds, made
from backends.tensorrt.test_runner_contract import opened
from onnx import helper


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
    real = stand_in_context.IExecutionContext.execute_async_v3

    def never(self, stream_handle):
        stream = gpu.queues[stream_handle]
        if stream.recorded is not None:
            stream.spoiled = True
            return self._no("a layer needs the host")
        return real(self, stream_handle)

    monkeypatch.setattr(stand_in_context.IExecutionContext, "execute_async_v3", never)
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
            assert runner.opened._context.runtime_config.cuda_graph_strategy == stand_in_engine.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            assert runner.executed()["CUDA graph"] == "by TensorRT-RTX itself"
            assert runner.executed()["TensorRT-RTX"] == "10.3.0.30"
    assert "cudaStreamBeginCapture" not in gpu.calls
