"""Stands in for NVIDIA's runtime, because no GPU is at hand: the parts of TensorRT and of cuda-python that mmedge calls, computed by ONNX Runtime.

It is strict where the real ones are, and where they would go wrong without a word: work that is queued happens only when its stream is waited for; memory
begins as rubbish, and becomes rubbish when it is freed or was never written; every address is looked up; a shape outside the profile, an address that was
never set, an output over an input, a CUDA graph before the first run or with a shape that depends on data are refused. Its names are held against those of
the real modules (test_stand_in.py). What it cannot show is that TensorRT itself behaves so: nothing of it proves a run on hardware.
"""

from __future__ import annotations

import functools
import importlib.machinery
import sys
import types

from backends.tensorrt import stand_in_gpu as board
from backends.tensorrt.stand_in_context import IExecutionContext, ILogger, IOutputAllocator, ProfilingVerbosity
from backends.tensorrt.stand_in_cuda import CudaRuntime
from backends.tensorrt.stand_in_engine import (
    CudaGraphStrategy,
    DataType,
    EngineInspector,
    ICudaEngine,
    IProfiler,
    IRuntimeConfig,
    LayerInformationFormat,
    Runtime,
    TensorIOMode,
    TensorLocation,
)
from backends.tensorrt.stand_in_gpu import cudaError_t

from mmedge.backends.tensorrt import device

CLASSES = (
    *(ILogger, Runtime, ICudaEngine, EngineInspector, IExecutionContext, IProfiler, IOutputAllocator, IRuntimeConfig),
    *(DataType, TensorIOMode, TensorLocation, ProfilingVerbosity, LayerInformationFormat, CudaGraphStrategy),
)


def install(monkeypatch, *, tensorrt="10.3.0.30", capability="8.7", size_bytes=8 << 30, status=cudaError_t.cudaSuccess):
    """For one test: a board with a GPU, CUDA and TensorRT. Returns its ``Gpu``."""
    board.gpu = board.Gpu(capability=capability, size_bytes=size_bytes, status=status)
    trt = types.ModuleType("tensorrt")
    trt.__version__ = tensorrt
    for one in CLASSES:
        setattr(trt, one.__name__, one)
    rtx = types.ModuleType("tensorrt_rtx_bindings")
    vars(rtx).update({name: value for name, value in vars(trt).items() if not name.startswith("__")}, __version__=tensorrt)
    modules = {
        "tensorrt": trt,
        "tensorrt_rtx_bindings": rtx,
        "tensorrt_rtx_libs": types.ModuleType("tensorrt_rtx_libs"),
        "cuda": types.ModuleType("cuda"),
        "cuda.bindings": types.ModuleType("cuda.bindings"),
        "cuda.bindings.runtime": CudaRuntime("cuda.bindings.runtime"),
    }
    for name, module in modules.items():
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(device, "runtime", functools.cache(device.runtime.__wrapped__))  # it remembers what it has found
    return board.gpu
