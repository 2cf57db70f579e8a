"""The stand-in's ``cuda.bindings.runtime`` (stand_in.py)."""

from __future__ import annotations

import ctypes
import enum
import functools
import types

from backends.tensorrt import stand_in_gpu as board
from backends.tensorrt.stand_in_gpu import ALIGNMENT, FREED, RUBBISH, WORDS, Queue, Refused, cudaError_t


def _cuda(function):
    """A function of the runtime: (status, results)."""

    @functools.wraps(function)
    def called(*arguments):
        board.gpu.calls.append(function.__name__)
        if board.gpu.sticky:
            return board.gpu.sticky, *[None] * function.results
        try:
            made = function(*arguments)
        except Refused as error:
            if error.status == cudaError_t.cudaErrorIllegalAddress:
                board.gpu.sticky = error.status
            return error.status, *[None] * function.results
        return (cudaError_t.cudaSuccess, *([] if function.results == 0 else [made] if function.results == 1 else made))

    return called


def gives(results):
    def marked(function):
        function.results = results
        return _cuda(function)

    return marked


def _queue(stream):
    if not isinstance(stream, Queue) or stream.handle not in board.gpu.queues:
        raise Refused(cudaError_t.cudaErrorInvalidResourceHandle)
    return stream


def _not_recording():
    for stream in board.gpu.queues.values():
        if stream.recorded is not None:
            stream.spoiled = True
            raise Refused(cudaError_t.cudaErrorStreamCaptureUnsupported)


class CudaRuntime(types.ModuleType):
    """``cuda.bindings.runtime``."""

    cudaError_t = cudaError_t
    cudaHostAllocDefault = 0
    cudaStreamNonBlocking = 1
    cudaMemcpyKind = enum.IntEnum("cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2, "cudaMemcpyDeviceToDevice": 3})
    cudaStreamCaptureMode = enum.IntEnum("cudaStreamCaptureMode", {"cudaStreamCaptureModeGlobal": 0, "cudaStreamCaptureModeThreadLocal": 1})
    cudaDeviceAttr = enum.IntEnum("cudaDeviceAttr", {"cudaDevAttrComputeCapabilityMajor": 75, "cudaDevAttrComputeCapabilityMinor": 76})

    @staticmethod
    def cudaGetErrorString(error):
        return cudaError_t.cudaSuccess, WORDS[error.name].encode()

    @staticmethod
    def cudaGetLastError():
        return (cudaError_t.cudaSuccess,)

    @staticmethod
    def cudaRuntimeGetVersion():
        return cudaError_t.cudaSuccess, 12060

    @staticmethod
    def cudaDriverGetVersion():
        return cudaError_t.cudaSuccess, 0 if board.gpu.sticky == cudaError_t.cudaErrorInsufficientDriver else 12060

    @staticmethod
    @gives(1)
    def cudaGetDevice():
        return 0

    @staticmethod
    @gives(1)
    def cudaDeviceGetAttribute(attr, device):
        return int(board.gpu.capability.split(".")[0 if "Major" in attr.name else 1])

    @staticmethod
    @gives(2)
    def cudaMemGetInfo():
        return board.gpu.size_bytes - board.gpu.used_bytes, board.gpu.size_bytes

    @staticmethod
    @gives(1)
    def cudaMalloc(size):
        _not_recording()
        if board.gpu.used_bytes + size > board.gpu.size_bytes:
            raise Refused(cudaError_t.cudaErrorMemoryAllocation)
        address = board.gpu.new_address(size)
        board.gpu.memory[address] = bytearray([RUBBISH]) * size
        return address

    @staticmethod
    @gives(0)
    def cudaFree(devPtr):
        _not_recording()
        if board.gpu.memory.pop(devPtr, None) is None:
            raise Refused(cudaError_t.cudaErrorInvalidValue)

    @staticmethod
    @gives(1)
    def cudaHostAlloc(size, flags):
        _not_recording()
        if board.gpu.used_bytes + size > board.gpu.size_bytes:
            raise Refused(cudaError_t.cudaErrorMemoryAllocation)
        held = (ctypes.c_uint8 * (size + ALIGNMENT))()
        board.gpu.kept.append(held)  # after it is freed it is still there, full of rubbish: what looks at it then is found out
        address = -(-ctypes.addressof(held) // ALIGNMENT) * ALIGNMENT
        ctypes.memset(address, RUBBISH, size)
        board.gpu.pinned[address] = range(size)
        return address

    @staticmethod
    @gives(0)
    def cudaFreeHost(ptr):
        held = board.gpu.pinned.pop(ptr, None)
        if held is None:
            raise Refused(cudaError_t.cudaErrorInvalidValue)
        ctypes.memset(ptr, FREED, len(held))

    @staticmethod
    @gives(0)
    def cudaMemcpyAsync(dst, src, count, kind, stream):
        stream, kinds = _queue(stream), CudaRuntime.cudaMemcpyKind
        if kind == kinds.cudaMemcpyHostToDevice:
            source = board.gpu.host(src, count)
            if not board.gpu.is_pinned(src):  # CUDA copies it aside before it returns
                if stream.recorded is not None:
                    raise Refused(cudaError_t.cudaErrorStreamCaptureUnsupported)
                source = bytes(source)

            def upload():
                if board.gpu.is_pinned(src) or isinstance(source, bytes):
                    board.gpu.at(dst, count)[:] = source
                else:
                    raise Refused(cudaError_t.cudaErrorIllegalAddress)

            board.gpu.put(stream, upload)
        elif kind == kinds.cudaMemcpyDeviceToHost:
            target = board.gpu.host(dst, count)

            def download():
                target[:] = board.gpu.at(src, count)

            board.gpu.put(stream, download)
        else:
            raise Refused(cudaError_t.cudaErrorInvalidValue)

    @staticmethod
    @gives(1)
    def cudaStreamCreateWithFlags(flags):
        stream = Queue(0x5000 + 16 * len(board.gpu.calls))
        board.gpu.queues[stream.handle] = stream
        return stream

    @staticmethod
    @gives(0)
    def cudaStreamDestroy(stream):
        del board.gpu.queues[_queue(stream).handle]

    @staticmethod
    @gives(0)
    def cudaStreamSynchronize(stream):
        _not_recording()
        board.gpu.run(_queue(stream))

    @staticmethod
    @gives(0)
    def cudaStreamBeginCapture(stream, mode):
        assert mode in CudaRuntime.cudaStreamCaptureMode
        _queue(stream).recorded, stream.spoiled = [], False

    @staticmethod
    @gives(1)
    def cudaStreamEndCapture(stream):
        recorded, _queue(stream).recorded = stream.recorded, None
        if recorded is None or stream.spoiled:
            raise Refused(cudaError_t.cudaErrorStreamCaptureInvalidated)
        return _kept_graph(recorded)

    @staticmethod
    @gives(1)
    def cudaGraphInstantiate(graph, flags):
        return _kept_graph(graph.work)

    @staticmethod
    @gives(0)
    def cudaGraphDestroy(graph):
        board.gpu.graphs.remove(graph)

    @staticmethod
    @gives(0)
    def cudaGraphExecDestroy(graphExec):
        board.gpu.graphs.remove(graphExec)

    @staticmethod
    @gives(0)
    def cudaGraphLaunch(graphExec, stream):
        if graphExec not in board.gpu.graphs:
            raise Refused(cudaError_t.cudaErrorInvalidResourceHandle)
        for work in graphExec.work:
            board.gpu.put(_queue(stream), work)


def _kept_graph(work):
    graph = Queue(0)
    graph.work = work
    board.gpu.graphs.add(graph)
    return graph
