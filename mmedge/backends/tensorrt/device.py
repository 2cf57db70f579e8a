"""CUDA's memory, copies, streams and graphs, through NVIDIA's cuda-python.

Written against the signatures of cuda-python 12.6, 12.9 and 13.0. Never run on a GPU so far: without one, only what CUDA refuses could be tried.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.backends.tensorrt.versions import capability
from mmedge.errors import MmedgeError
from mmedge.need import NotInstalled, need
from mmedge.tensors import Array

LEAST_BYTES = 256
"""Of any memory: an empty tensor needs an address as well."""

INSTALL = 'on JetPack 6: pip install "mmedge[jetson-jp6]"; on JetPack 7: pip install "mmedge[jetson-jp7]"; on a PC: pip install cuda-python'
NO_DRIVER = "on a Jetson, start the container with --runtime nvidia; on a PC, install NVIDIA's driver: nvidia-smi must list the GPU"
AGAIN = "start the program again: this process cannot use the GPU any more; if it repeats, build the engine again with mmedge compile"
FIXES = {
    **dict.fromkeys(
        (
            "cudaErrorInsufficientDriver",
            "cudaErrorNoDevice",
            "cudaErrorInitializationError",
            "cudaErrorDevicesUnavailable",
            "cudaErrorSystemDriverMismatch",
            "cudaErrorSystemNotReady",
            "cudaErrorStubLibrary",
        ),
        NO_DRIVER,
    ),
    "cudaErrorMemoryAllocation": "close other programs, or choose a smaller model or precision; mmedge doctor says how much memory is free",
    "cudaErrorNoKernelImageForDevice": "install the packages that are built for this board: mmedge doctor says which CUDA it has",
    **dict.fromkeys(("cudaErrorIllegalAddress", "cudaErrorLaunchFailure", "cudaErrorLaunchTimeout", "cudaErrorAssert", "cudaErrorHardwareStackError"), AGAIN),
}
"""CUDA's names of errors -> what to do."""
REPORT = "see mmedge doctor; if it says nothing, report it with these words"


@cache
def runtime() -> Any:
    """cuda-python's module of CUDA's runtime: ``cuda.bindings.runtime`` from 12.8 on, ``cuda.cudart`` before. Raises NotInstalled."""
    for module, extra in (("cuda.bindings.runtime", "jetson-jp7"), ("cuda.cudart", "jetson-jp6")):
        with contextlib.suppress(NotInstalled):
            return need(module, extra=extra)
    raise NotInstalled("cuda-python is not installed: without it there is no memory on the GPU", INSTALL)


def call(name: str, *arguments: Any) -> Any:
    """One function of CUDA's runtime.

    Returns:
        Its result without the status: nothing, one value, or several.

    Raises:
        MmedgeError: the status is not success, in CUDA's own words.
    """
    cuda = runtime()
    try:
        status, *results = getattr(cuda, name)(*arguments)
    except RuntimeError as error:  # cuda-python 12.6 cannot even ask for a status where there is no driver
        raise MmedgeError(f"CUDA refused {name}: {error}", NO_DRIVER) from error
    if status != cuda.cudaError_t.cudaSuccess:
        raise _refused(cuda, name, status)
    return results[0] if len(results) == 1 else tuple(results)


def _refused(cuda: Any, name: str, status: Any) -> MmedgeError:
    told = status.name
    with contextlib.suppress(RuntimeError):
        told = f"{status.name}: {cuda.cudaGetErrorString(status)[1].decode()}"
    return MmedgeError(f"CUDA refused {name}: {told}", FIXES.get(status.name, REPORT))


def compute_capability() -> str:
    """Of the GPU in use, such as ``8.7``. Raises MmedgeError: there is none, or no driver."""
    attributes, device = runtime().cudaDeviceAttr, call("cudaGetDevice")
    both = attributes.cudaDevAttrComputeCapabilityMajor, attributes.cudaDevAttrComputeCapabilityMinor
    major, minor = (call("cudaDeviceGetAttribute", one, device) for one in both)
    return capability(f"{major}.{minor}", cuda_version())


def cuda_version() -> str:
    """Of CUDA's runtime as cuda-python has it, such as ``12.6``."""
    return _version(call("cudaRuntimeGetVersion"))


def driver_version() -> str | None:
    """The newest CUDA that the driver can do, such as ``12.6``; None: there is no driver."""
    try:
        found = call("cudaDriverGetVersion")
    except MmedgeError:
        return None
    return _version(found) if found else None


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


@dataclass(frozen=True, slots=True)
class Room:
    """Memory of the GPU; a Jetson's is the board's own."""

    free_mb: int
    total_mb: int


def memory() -> Room:
    """Raises MmedgeError: no GPU, or no driver."""
    free, total = call("cudaMemGetInfo")
    return Room(free >> 20, total >> 20)


class Memory:
    """Some of the GPU's. Raises MmedgeError: there is not so much, with what there is."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = max(size_bytes, LEAST_BYTES)
        self.address = _allocated("cudaMalloc", self.size_bytes)

    def free(self) -> None:
        """Once; a second time does nothing."""
        address, self.address = self.address, 0
        if address:
            call("cudaFree", address)


class Pinned:
    """The host's memory that the GPU copies from and to on its own, as a numpy array.

    ``bytes`` and all that is made of it must not be used after ``free``.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = max(size_bytes, LEAST_BYTES)
        self.address = _allocated("cudaHostAlloc", self.size_bytes, runtime().cudaHostAllocDefault)
        self.bytes: NDArray[np.uint8] = np.frombuffer(memoryview((ctypes.c_uint8 * self.size_bytes).from_address(self.address)), np.uint8)

    def array(self, dtype: str, shape: tuple[int, ...]) -> Array:
        """The beginning of it, as an array of that type and shape."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        return self.bytes[:size].view(dtype).reshape(shape)

    def free(self) -> None:
        """Once; a second time does nothing."""
        address, self.address = self.address, 0
        if address:
            self.bytes = np.empty(0, np.uint8)
            call("cudaFreeHost", address)


def _allocated(name: str, size_bytes: int, *arguments: Any) -> int:
    try:
        return int(call(name, size_bytes, *arguments))
    except MmedgeError as error:
        if "cudaErrorMemoryAllocation" not in error.what:
            raise
        left = ""
        with contextlib.suppress(MmedgeError):
            left = f", of {memory().free_mb} MB that are free"
        raise MmedgeError(f"{error.what}: {size_bytes / 2**20:.1f} MB were asked for{left}", error.fix) from error


class Stream:
    """One queue of work: what is put into it runs in order, and apart from the program, until ``wait``."""

    def __init__(self) -> None:
        self._stream = call("cudaStreamCreateWithFlags", runtime().cudaStreamNonBlocking)

    @property
    def handle(self) -> int:
        """As TensorRT takes it."""
        return int(self._stream)

    def upload(self, address: int, host_address: int, size_bytes: int) -> None:
        """Queue a copy to the GPU. The host's memory must stay as it is until ``wait``."""
        self._copy(address, host_address, size_bytes, "cudaMemcpyHostToDevice")

    def download(self, host_address: int, address: int, size_bytes: int) -> None:
        """Queue a copy from the GPU. It is there after ``wait``."""
        self._copy(host_address, address, size_bytes, "cudaMemcpyDeviceToHost")

    def _copy(self, to: int, source: int, size_bytes: int, kind: str) -> None:
        if size_bytes:
            call("cudaMemcpyAsync", to, source, size_bytes, getattr(runtime().cudaMemcpyKind, kind), self._stream)

    def wait(self) -> None:
        """Until all of it is done. Raises MmedgeError: some of it failed."""
        call("cudaStreamSynchronize", self._stream)

    def capture(self, enqueue: Callable[[], None]) -> Captured:
        """Record what ``enqueue`` puts into the stream instead of running it.

        Raises:
            MmedgeError: it cannot be recorded, or ``enqueue`` raised it. The stream is as before.
        """
        # Other threads of the program may go on with their own work on the GPU.
        call("cudaStreamBeginCapture", self._stream, runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            enqueue()
        except BaseException:
            with contextlib.suppress(MmedgeError):
                call("cudaGraphDestroy", call("cudaStreamEndCapture", self._stream))
            runtime().cudaGetLastError()  # else the next call would be told of this one
            raise
        return Captured(self._stream, call("cudaStreamEndCapture", self._stream))

    def close(self) -> None:
        """Once; a second time does nothing."""
        stream, self._stream = self._stream, None
        if stream is not None:
            call("cudaStreamDestroy", stream)


class Captured:
    """A CUDA graph: recorded work that is started as a whole, with the addresses that it was recorded with."""

    def __init__(self, stream: Any, graph: Any) -> None:
        self._stream = stream
        try:
            self._executable = call("cudaGraphInstantiate", graph, 0)
        finally:
            call("cudaGraphDestroy", graph)

    def launch(self) -> None:
        """Put it into the stream that it was recorded from."""
        call("cudaGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Once; a second time does nothing."""
        executable, self._executable = self._executable, None
        if executable is not None:
            call("cudaGraphExecDestroy", executable)
