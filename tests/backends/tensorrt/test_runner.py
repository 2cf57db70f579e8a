"""The runner for TensorRT beyond what every runner does: memory, shapes and types. All over a stand-in for TensorRT and CUDA."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from backends.tensorrt import stand_in_cuda, stand_in_engine, stand_in_gpu
from backends.tensorrt.small_engines import feeds, made
from backends.tensorrt.test_runner_contract import opened
from contract.test_carry import PAIRS, Text, decoder, expected
from onnx import TensorProto, helper

from mmedge.backends.tensorrt.runner import TensorrtRunner
from mmedge.errors import MmedgeError

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
                return stand_in_gpu.cudaError_t.cudaErrorMemoryAllocation, None
            return real(*arguments)

        return staticmethod(allocate)

    for name in ("cudaMalloc", "cudaHostAlloc"):
        monkeypatch.setattr(stand_in_cuda.CudaRuntime, name, limited(getattr(stand_in_cuda.CudaRuntime, name)))
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
    path = stand_in_engine.plan(tmp_path / "other.plan", fixed)
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
