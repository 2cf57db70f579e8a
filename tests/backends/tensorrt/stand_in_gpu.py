"""The board of the stand-in (stand_in.py): its memory, its streams, and what its runtime answers."""

from __future__ import annotations

import ctypes
import enum

RUBBISH, FREED = 0xCB, 0xDD
ALIGNMENT = 256


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


WORDS = {
    "cudaErrorInvalidValue": "invalid argument",
    "cudaErrorMemoryAllocation": "out of memory",
    "cudaErrorInsufficientDriver": "CUDA driver version is insufficient for CUDA runtime version",
    "cudaErrorNoDevice": "no CUDA-capable device is detected",
    "cudaErrorInvalidResourceHandle": "invalid resource handle",
    "cudaErrorIllegalAddress": "an illegal memory access was encountered",
    "cudaErrorStreamCaptureUnsupported": "operation not permitted when stream is capturing",
    "cudaErrorStreamCaptureInvalidated": "operation failed due to a previous error during capture",
}


class Refused(Exception):
    def __init__(self, status):
        self.status = status


class Queue:
    """A stream, or with ``launches`` a graph."""

    def __init__(self, handle):
        self.handle, self.work, self.recorded, self.spoiled = handle, [], None, False

    def __int__(self):
        return self.handle


class Gpu:
    """One board: its memory, its streams, and what went wrong on it."""

    def __init__(self, *, capability="8.7", size_bytes=8 << 30, status=cudaError_t.cudaSuccess):
        self.capability, self.size_bytes, self.sticky = capability, size_bytes, status
        self.memory, self.pinned, self.kept, self.queues, self.graphs = {}, {}, [], {}, set()
        self.next = 0x7F00_0000_0000
        self.calls = []

    @property
    def used_bytes(self):
        return sum(map(len, self.memory.values())) + sum(map(len, self.pinned.values()))

    def left(self):
        """What was not freed."""
        return [*map(hex, self.memory), *map(hex, self.pinned), *self.queues.values(), *self.graphs]

    def new_address(self, size_bytes):
        address, self.next = self.next, self.next + (size_bytes // ALIGNMENT + 2) * ALIGNMENT
        return address

    def at(self, address, size_bytes):
        """The GPU's bytes there. An address between two of its pieces is one of neither."""
        for base, held in self.memory.items():
            if base <= address and address + size_bytes <= base + len(held):
                return memoryview(held)[address - base : address - base + size_bytes]
        raise Refused(cudaError_t.cudaErrorIllegalAddress)

    def host(self, address, size_bytes):
        """The host's bytes there: page-locked ones are looked up, others are taken as they are."""
        for base, held in self.pinned.items():
            if base <= address < base + len(held) and address + size_bytes > base + len(held):
                raise Refused(cudaError_t.cudaErrorInvalidValue)
        return memoryview((ctypes.c_uint8 * size_bytes).from_address(address)).cast("B")

    def is_pinned(self, address):
        return any(base <= address < base + len(held) for base, held in self.pinned.items())

    def put(self, stream, work):
        if stream.recorded is not None:
            stream.recorded.append(work)
        else:
            stream.work.append(work)

    def run(self, stream):
        work, stream.work = stream.work, []
        for one in work:
            one()


gpu = Gpu()
"""That all of CUDA and TensorRT run on: ``stand_in.install`` puts another in its place."""
