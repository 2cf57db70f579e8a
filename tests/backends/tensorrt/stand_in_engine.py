"""The stand-in's TensorRT (stand_in.py): an engine is an ONNX file behind a header, and its runtime reads that."""

from __future__ import annotations

import enum
import json
import struct
import sys

from backends.tensorrt import stand_in_gpu as board
from backends.tensorrt.stand_in_context import IExecutionContext, ILogger, Severity

MAGIC = b"standin1"
NUMPY = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "UINT8": "uint8", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}


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


DataType = enum.Enum("DataType", ["FLOAT", "HALF", "BF16", "INT8", "UINT8", "INT32", "INT64", "BOOL", "FP8", "INT4", "FP4"])
TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
TensorLocation = enum.Enum("TensorLocation", ["DEVICE", "HOST"])
LayerInformationFormat = enum.Enum("LayerInformationFormat", ["ONELINE", "JSON"])
CudaGraphStrategy = enum.Enum("CudaGraphStrategy", ["DISABLED", "WHOLE_GRAPH_CAPTURE"])


class IProfiler:
    def report_layer_time(self, layer_name, ms):
        raise NotImplementedError


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
    elif header["capability"] != board.gpu.capability:
        what, expected, got = "generated on an incompatible device", f"compute {board.gpu.capability}", f"compute {header['capability']}"
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
        if board.gpu.used_bytes > board.gpu.size_bytes // 2:
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
