"""The kernels that a roof is measured with: they do the work that they claim."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from mmedge import onnx_file
from mmedge.profile import kernels
from mmedge.profile.flops import work
from mmedge.profile.kernels import Kernel, compute, fastest_s, streams, timed
from mmedge.runner import Graph, load_backend
from mmedge.target import Target
from mmedge.tensors import TensorSpec

MB = 1 << 20
CPU = Target.load("cpu")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_kernels_do_the_work_that_they_claim(tmp_path, precision):
    """Held against the counting of flops.py, which is held against counts by hand."""
    for kernel in compute(precision):
        path = tmp_path / "kernel.onnx"
        path.write_bytes(onnx_file.small_model(kernel.nodes, kernel.inputs, kernel.output, kernel.weights, {"": 17, "com.microsoft": 1}))
        onnx.checker.check_model(str(path))
        inputs = tuple(TensorSpec(name, array.dtype.name, array.shape) for name, array in kernel.inputs.items())
        found = work(Graph(path, "", inputs, ()), kernel.inputs)
        assert (kernel.name, found.flops, found.unknown) == (kernel.name, kernel.flops, ())
        assert found.integer_flops == (found.flops if precision == "int8" else 0)


def test_streams_read_the_bytes_that_they_claim(monkeypatch):
    monkeypatch.setattr(kernels, "STREAMS_MB", (0.5, 2))
    for kernel in streams("fp32"):
        largest = max(array.nbytes for array in (*kernel.inputs.values(), *kernel.weights.values()))
        assert kernel.bytes == largest and kernel.bytes in (MB // 2, 2 * MB)
    halves = {kernel.name: kernel.bytes / max(array.nbytes for array in (*kernel.inputs.values(), *kernel.weights.values())) for kernel in streams("bf16")}
    assert halves == {"Gemm of a weight": 0.5, "ReduceMax": 1.0}


def test_a_board_with_little_memory_has_smaller_working_sets(monkeypatch):
    class Little:
        available = 20 * MB

    monkeypatch.setattr(kernels.psutil, "virtual_memory", lambda: Little)
    assert max(kernel.bytes for kernel in streams("fp32")) == 2 * MB


def test_a_runtime_that_computes_nothing_has_no_roof():
    kernel = next(compute("fp32"))
    assert list(timed([kernel], load_backend("null"), "fp32", CPU, 100, 0.0)) == []


def test_a_kernel_that_the_runtime_lacks_is_passed_over():
    strange = Kernel("strange", [("com.microsoft:NoSuchOperator", ["x"], "y", {})], {"x": np.ones(1, np.float32)}, ("y", "float32", (1,)))
    assert [kernel.name for kernel, _ in timed([strange, kernels.SMALLEST], load_backend("ort"), "fp32", CPU, 100, 0.0)] == ["Relu"]


def test_the_fastest_run_counts():
    times = iter([0.0, 9.0, 10.0, 10.3, 11.0, 11.1, 12.0, 12.2])  # the first run warms up

    class Steady:
        def run(self, feeds):
            return {"y": np.ones(1)}

    assert fastest_s(Steady(), kernels.SMALLEST, 0.0, now_s=lambda: next(times)) == pytest.approx(0.1)
