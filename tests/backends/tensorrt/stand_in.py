"""Stands in for NVIDIA's runtime, because no GPU is at hand: the parts of TensorRT and of cuda-python that mmedge calls, computed by ONNX Runtime.

It is strict where the real ones are, and where they would go wrong without a word: work that is queued happens only when its stream is waited for; memory
begins as rubbish, and becomes rubbish when it is freed or was never written; every address is looked up; a shape outside the profile, an address that was
never set, an output over an input, a CUDA graph before the first run or with a shape that depends on data are refused. Its names are held against those of
the real modules (test_stand_in.py). What it cannot show is that TensorRT itself behaves so: nothing of it proves a run on hardware.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import importlib.machinery
import json
import struct
import sys
import types

import numpy as np
import onnxruntime

from mmedge.backends.tensorrt import device

RUBBISH, FREED = 0xCB, 0xDD
ALIGNMENT = 256
MAGIC = b"standin1"
LAYER_MS = 2**-12
"""What the profiler says of every layer: less than any run takes."""
NUMPY = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "UINT8": "uint8", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}
FROM_ONNX = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(bool)": "bool"}


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


def _cuda(function):
    """A function of the runtime: (status, results)."""

    @functools.wraps(function)
    def called(*arguments):
        gpu.calls.append(function.__name__)
        if gpu.sticky:
            return gpu.sticky, *[None] * function.results
        try:
            made = function(*arguments)
        except Refused as error:
            if error.status == cudaError_t.cudaErrorIllegalAddress:
                gpu.sticky = error.status
            return error.status, *[None] * function.results
        return (cudaError_t.cudaSuccess, *([] if function.results == 0 else [made] if function.results == 1 else made))

    return called


def gives(results):
    def marked(function):
        function.results = results
        return _cuda(function)

    return marked


def _queue(stream):
    if not isinstance(stream, Queue) or stream.handle not in gpu.queues:
        raise Refused(cudaError_t.cudaErrorInvalidResourceHandle)
    return stream


def _not_recording():
    for stream in gpu.queues.values():
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
        return cudaError_t.cudaSuccess, 0 if gpu.sticky == cudaError_t.cudaErrorInsufficientDriver else 12060

    @staticmethod
    @gives(1)
    def cudaGetDevice():
        return 0

    @staticmethod
    @gives(1)
    def cudaDeviceGetAttribute(attr, device):
        return int(gpu.capability.split(".")[0 if "Major" in attr.name else 1])

    @staticmethod
    @gives(2)
    def cudaMemGetInfo():
        return gpu.size_bytes - gpu.used_bytes, gpu.size_bytes

    @staticmethod
    @gives(1)
    def cudaMalloc(size):
        _not_recording()
        if gpu.used_bytes + size > gpu.size_bytes:
            raise Refused(cudaError_t.cudaErrorMemoryAllocation)
        address = gpu.new_address(size)
        gpu.memory[address] = bytearray([RUBBISH]) * size
        return address

    @staticmethod
    @gives(0)
    def cudaFree(devPtr):
        _not_recording()
        if gpu.memory.pop(devPtr, None) is None:
            raise Refused(cudaError_t.cudaErrorInvalidValue)

    @staticmethod
    @gives(1)
    def cudaHostAlloc(size, flags):
        _not_recording()
        if gpu.used_bytes + size > gpu.size_bytes:
            raise Refused(cudaError_t.cudaErrorMemoryAllocation)
        held = (ctypes.c_uint8 * (size + ALIGNMENT))()
        gpu.kept.append(held)  # after it is freed it is still there, full of rubbish: what looks at it then is found out
        address = -(-ctypes.addressof(held) // ALIGNMENT) * ALIGNMENT
        ctypes.memset(address, RUBBISH, size)
        gpu.pinned[address] = range(size)
        return address

    @staticmethod
    @gives(0)
    def cudaFreeHost(ptr):
        held = gpu.pinned.pop(ptr, None)
        if held is None:
            raise Refused(cudaError_t.cudaErrorInvalidValue)
        ctypes.memset(ptr, FREED, len(held))

    @staticmethod
    @gives(0)
    def cudaMemcpyAsync(dst, src, count, kind, stream):
        stream, kinds = _queue(stream), CudaRuntime.cudaMemcpyKind
        if kind == kinds.cudaMemcpyHostToDevice:
            source = gpu.host(src, count)
            if not gpu.is_pinned(src):  # CUDA copies it aside before it returns
                if stream.recorded is not None:
                    raise Refused(cudaError_t.cudaErrorStreamCaptureUnsupported)
                source = bytes(source)

            def upload():
                if gpu.is_pinned(src) or isinstance(source, bytes):
                    gpu.at(dst, count)[:] = source
                else:
                    raise Refused(cudaError_t.cudaErrorIllegalAddress)

            gpu.put(stream, upload)
        elif kind == kinds.cudaMemcpyDeviceToHost:
            target = gpu.host(dst, count)

            def download():
                target[:] = gpu.at(src, count)

            gpu.put(stream, download)
        else:
            raise Refused(cudaError_t.cudaErrorInvalidValue)

    @staticmethod
    @gives(1)
    def cudaStreamCreateWithFlags(flags):
        stream = Queue(0x5000 + 16 * len(gpu.calls))
        gpu.queues[stream.handle] = stream
        return stream

    @staticmethod
    @gives(0)
    def cudaStreamDestroy(stream):
        del gpu.queues[_queue(stream).handle]

    @staticmethod
    @gives(0)
    def cudaStreamSynchronize(stream):
        _not_recording()
        gpu.run(_queue(stream))

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
        gpu.graphs.remove(graph)

    @staticmethod
    @gives(0)
    def cudaGraphExecDestroy(graphExec):
        gpu.graphs.remove(graphExec)

    @staticmethod
    @gives(0)
    def cudaGraphLaunch(graphExec, stream):
        if graphExec not in gpu.graphs:
            raise Refused(cudaError_t.cudaErrorInvalidResourceHandle)
        for work in graphExec.work:
            gpu.put(_queue(stream), work)


def _kept_graph(work):
    graph = Queue(0)
    graph.work = work
    gpu.graphs.add(graph)
    return graph


# TensorRT


def plan(path, graph, *, profile=None, tensorrt="10.3.0.30", capability="8.7", layers=None, alias=None, data_dependent=(), on_host=(), drop=(), types=None):
    """Write an engine as this stand-in opens it.

    Args:
        graph: a ``mmedge.runner.Graph`` without a weights file.
        profile: input -> its least, likeliest and largest shape, for inputs with dynamic dimensions.
        layers: what the inspector tells, as TensorRT's JSON has it; None: names without details.
        alias: output -> the input in whose memory it is written.
        drop: inputs that TensorRT has left out.
        types: tensor -> a type other than the graph's.
    """
    header = {
        "tensorrt": tensorrt,
        "capability": capability,
        "profile": {name: [list(shape) for shape in shapes] for name, shapes in (profile or {}).items()},
        "layers": layers if layers is not None else ["a layer"],
        "alias": alias or {},
        "data_dependent": list(data_dependent),
        "on_host": list(on_host),
        "tensors": [
            [spec.name, (types or {}).get(spec.name, spec.dtype), [size if isinstance(size, int) else -1 for size in spec.shape], spec in graph.inputs]
            for spec in (*graph.inputs, *graph.outputs)
            if spec.name not in drop
        ],
    }
    text = json.dumps(header).encode()
    path.write_bytes(MAGIC + struct.pack("<Q", len(text)) + text + graph.path.read_bytes())
    return path


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def log(self, severity, msg):
        raise NotImplementedError


DataType = enum.Enum("DataType", ["FLOAT", "HALF", "BF16", "INT8", "UINT8", "INT32", "INT64", "BOOL", "FP8", "INT4", "FP4"])
TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
TensorLocation = enum.Enum("TensorLocation", ["DEVICE", "HOST"])
ProfilingVerbosity = enum.Enum("ProfilingVerbosity", ["LAYER_NAMES_ONLY", "DETAILED", "NONE"])
LayerInformationFormat = enum.Enum("LayerInformationFormat", ["ONELINE", "JSON"])
CudaGraphStrategy = enum.Enum("CudaGraphStrategy", ["DISABLED", "WHOLE_GRAPH_CAPTURE"])


class IProfiler:
    def report_layer_time(self, layer_name, ms):
        raise NotImplementedError


class IOutputAllocator:
    pass


class IRuntimeConfig:
    cuda_graph_strategy = CudaGraphStrategy.DISABLED


class Runtime:
    def __init__(self, logger):
        assert isinstance(logger, ILogger)
        self.logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        content = bytes(memoryview(serialized_engine))
        found = struct.unpack("<Q", content[8:16])[0] if content.startswith(MAGIC) else 0
        header = json.loads(content[16 : 16 + found] or "null")
        if why := _stale(header):
            self.logger.log(Severity.ERROR, f"IRuntime::deserializeCudaEngine: Error Code {why}")
            self.logger.log(Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 4: Internal Error (Engine deserialization failed.)")
            return None
        return ICudaEngine(self.logger, header, content[16 + found :])


def _stale(header):
    """In the words that users of TensorRT report (NVIDIA/TensorRT, issues 2041, 2176 and 314 of retinanet-examples)."""
    plan, here = "The engine plan file is", sys.modules["tensorrt"].__version__
    if header is None:
        return "1: Serialization (Serialization assertion stdVersionRead == serializationVersion failed.Version tag does not match.)"
    if header["tensorrt"] != here:
        what, expected, got = "not compatible with this version of TensorRT", f"library version {here}", header["tensorrt"]
    elif header["capability"] != gpu.capability:
        what, expected, got = "generated on an incompatible device", f"compute {gpu.capability}", f"compute {header['capability']}"
    else:
        return None
    return f"6: API Usage Error ({plan} {what}, expecting {expected} got {got}, please rebuild.)"


class ICudaEngine:
    def __init__(self, logger, header, onnx):
        self._logger, self._header, self._onnx = logger, header, onnx
        self._tensors = {name: (dtype, tuple(shape), is_input) for name, dtype, shape, is_input in header["tensors"]}
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index):
        return list(self._tensors)[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if self._tensors[name][2] else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name):
        return self._tensors[name][1]

    def get_tensor_dtype(self, name):
        names = {numpy: trt for trt, numpy in NUMPY.items()} | {"bfloat16": "BF16"}
        return DataType[names[self._tensors[name][0]]]

    def get_tensor_location(self, name):
        return TensorLocation.HOST if name in self._header["on_host"] else TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name, profile_index):
        assert profile_index == 0
        return [tuple(shape) for shape in self._header["profile"][name]]

    def get_aliased_input_tensor(self, name):
        return self._header["alias"].get(name)

    def create_runtime_config(self):
        return IRuntimeConfig()

    def create_execution_context(self, runtime_config=None):
        if gpu.used_bytes > gpu.size_bytes // 2:
            self._logger.log(Severity.ERROR, "IExecutionContext::IExecutionContext: Error Code 2: OutOfMemory (Requested size was 268435456 bytes.)")
            return None
        return IExecutionContext(self, runtime_config)

    def create_engine_inspector(self):
        return EngineInspector(self)


class EngineInspector:
    execution_context = None

    def __init__(self, engine):
        self._engine = engine

    def get_engine_information(self, format):
        assert format == LayerInformationFormat.JSON
        return json.dumps({"Layers": self._engine._header["layers"], "Bindings": list(self._engine._tensors)})


class IExecutionContext:
    profiler = None
    nvtx_verbosity = ProfilingVerbosity.DETAILED

    def __init__(self, engine, runtime_config):
        self._engine, self._header, self._logger = engine, engine._header, engine._logger
        self.runtime_config = runtime_config
        self._session = onnxruntime.InferenceSession(engine._onnx, providers=["CPUExecutionProvider"])
        self._shapes = {name: shape for name, (_, shape, is_input) in engine._tensors.items() if is_input}
        self._addresses, self._allocators, self._sizes = {}, {}, {}
        self._ran = None

    def _no(self, message):
        self._logger.log(Severity.ERROR, f"IExecutionContext: Error Code 3: API Usage Error ({message})")
        return False

    def set_input_shape(self, name, shape):
        assert isinstance(shape, tuple | list) and all(isinstance(size, int) for size in shape)
        if name not in self._shapes:
            return self._no(f"{name} is no input")
        declared = self._engine._tensors[name][1]
        least, _, most = self._header["profile"].get(name, [declared] * 3)
        if len(shape) != len(declared) or any(not low <= size <= high for low, size, high in zip(least, shape, most)):
            return self._no(f"Set dimensions of {name} are outside the optimization profile")
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name, memory):
        if name not in self._engine._tensors or memory % ALIGNMENT:
            return self._no(f"the address of {name} is not aligned, or there is no such tensor")
        if name in self._header["on_host"] and not gpu.is_pinned(memory):
            return self._no(f"{name} is read by the host")
        self._addresses[name] = memory
        return True

    def set_output_allocator(self, name, output_allocator):
        assert isinstance(output_allocator, IOutputAllocator)
        self._allocators[name] = output_allocator
        return True

    def get_tensor_shape(self, name):
        if name in self._shapes:
            return self._shapes[name]
        if name in self._header["data_dependent"] or any(-1 in shape for shape in self._shapes.values()):
            return self._engine._tensors[name][1]
        return self._inferred()[name]

    def get_max_output_size(self, name):
        if name in self._header["data_dependent"]:
            return 1 << 20
        return int(np.prod(self.get_tensor_shape(name))) * np.dtype(self._engine._tensors[name][0]).itemsize

    def _inferred(self):
        """The shapes of outputs, by a run over zeros."""
        key = tuple(self._shapes.values())
        if key not in self._sizes:
            types = {value.name: value.type for value in self._session.get_inputs()}
            zeros = {name: np.zeros(shape, FROM_ONNX[types[name]]) for name, shape in self._shapes.items()}
            names = [value.name for value in self._session.get_outputs()]
            self._sizes[key] = {name: array.shape for name, array in zip(names, self._compute(zeros))}
        return self._sizes[key]

    def _compute(self, inputs):
        left_out = {
            value.name: np.zeros([size if isinstance(size, int) else 1 for size in value.shape], np.float32)
            for value in self._session.get_inputs()
            if value.name not in inputs
        }
        return self._session.run(None, {**inputs, **left_out})

    def execute_async_v3(self, stream_handle):
        tensors, header = self._engine._tensors, self._header
        stream = gpu.queues[stream_handle]
        if missing := [name for name in tensors if not self._addresses.get(name) and name not in self._allocators]:
            return self._no(f"Address is not set for {missing[0]}")
        if unset := [name for name, shape in self._shapes.items() if -1 in shape]:
            return self._no(f"the shape of {unset[0]} is not set")
        for output, source in header["alias"].items():
            if self._addresses[output] != self._addresses[source]:
                return self._no(f"{output} and {source} must share their address")
        state = tuple(self._shapes.items())
        if stream.recorded is not None and (header["data_dependent"] or self._ran != state or header["on_host"]):
            stream.spoiled = True
            return self._no("the stream is capturing, and this run needs the host")
        self._ran = state
        if not header["data_dependent"]:
            self._inferred()
        addresses, shapes = dict(self._addresses), dict(self._shapes)
        # Values that the host must know are read now, not when the stream comes to them.
        known = {name: np.frombuffer(bytes(gpu.host(addresses[name], self._bytes(name, shapes[name]))), tensors[name][0]) for name in header["on_host"]}
        if self.profiler is not None and stream.recorded is None:
            gpu.run(stream)
            self._work(addresses, shapes, known)
            for layer in header["layers"]:
                self.profiler.report_layer_time(layer if isinstance(layer, str) else layer["Name"], LAYER_MS)
        elif header["data_dependent"]:  # TensorRT itself waits for them
            gpu.run(stream)
            self._work(addresses, shapes, known)
        else:
            gpu.put(stream, lambda: self._work(addresses, shapes, known))
        return True

    def _bytes(self, name, shape):
        return int(np.prod(shape, dtype=np.int64)) * np.dtype(self._engine._tensors[name][0]).itemsize

    def _work(self, addresses, shapes, known):
        """What the GPU does when it comes to it. An engine may write its outputs before it has read every input."""
        tensors, alias = self._engine._tensors, self._header["alias"]
        outputs = [value.name for value in self._session.get_outputs() if value.name in tensors]
        sizes = {name: self._bytes(name, self._sizes[tuple(shapes.values())][name]) for name in outputs if name not in self._allocators}
        for name in outputs:
            if name not in alias and name not in self._allocators:
                gpu.at(addresses[name], sizes[name])[:] = bytes([RUBBISH]) * sizes[name]
        inputs = {}
        for name, shape in shapes.items():
            content = known[name] if name in known else np.frombuffer(bytes(gpu.at(addresses[name], self._bytes(name, shape))), tensors[name][0])
            inputs[name] = content.reshape(shape)
        for value, array in zip(self._session.get_outputs(), self._compute(inputs)):
            name = value.name
            if name not in outputs:
                continue
            content = np.ascontiguousarray(array).tobytes()
            if allocator := self._allocators.get(name):
                address = allocator.reallocate_output_async(name, addresses[name], len(content), ALIGNMENT, 0)
                allocator.notify_shape(name, array.shape)
                gpu.at(address, len(content))[:] = content
            else:
                gpu.at(addresses[name], len(content))[:] = content


CLASSES = (
    *(ILogger, Runtime, ICudaEngine, EngineInspector, IExecutionContext, IProfiler, IOutputAllocator, IRuntimeConfig),
    *(DataType, TensorIOMode, TensorLocation, ProfilingVerbosity, LayerInformationFormat, CudaGraphStrategy),
)


def install(monkeypatch, *, tensorrt="10.3.0.30", capability="8.7", size_bytes=8 << 30, status=cudaError_t.cudaSuccess):
    """For one test: a board with a GPU, CUDA and TensorRT. Returns its ``Gpu``."""
    global gpu
    gpu = Gpu(capability=capability, size_bytes=size_bytes, status=status)
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
    return gpu
