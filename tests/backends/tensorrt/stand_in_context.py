"""How the stand-in's TensorRT (stand_in.py) runs an engine: ONNX Runtime computes it, on the board's memory."""

from __future__ import annotations

import enum

import numpy as np
import onnxruntime
from backends.tensorrt import stand_in_gpu as board
from backends.tensorrt.stand_in_gpu import ALIGNMENT, RUBBISH

LAYER_MS = 2**-12
"""What the profiler says of every layer: less than any run takes."""
FROM_ONNX = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(bool)": "bool"}


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def log(self, severity, msg):
        raise NotImplementedError


ProfilingVerbosity = enum.Enum("ProfilingVerbosity", ["LAYER_NAMES_ONLY", "DETAILED", "NONE"])


class IOutputAllocator:
    pass


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
        if name in self._header["on_host"] and not board.gpu.is_pinned(memory):
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
        stream = board.gpu.queues[stream_handle]
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
        known = {name: np.frombuffer(bytes(board.gpu.host(addresses[name], self._bytes(name, shapes[name]))), tensors[name][0]) for name in header["on_host"]}
        if self.profiler is not None and stream.recorded is None:
            board.gpu.run(stream)
            self._work(addresses, shapes, known)
            for layer in header["layers"]:
                self.profiler.report_layer_time(layer if isinstance(layer, str) else layer["Name"], LAYER_MS)
        elif header["data_dependent"]:  # TensorRT itself waits for them
            board.gpu.run(stream)
            self._work(addresses, shapes, known)
        else:
            board.gpu.put(stream, lambda: self._work(addresses, shapes, known))
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
                board.gpu.at(addresses[name], sizes[name])[:] = bytes([RUBBISH]) * sizes[name]
        inputs = {}
        for name, shape in shapes.items():
            content = known[name] if name in known else np.frombuffer(bytes(board.gpu.at(addresses[name], self._bytes(name, shape))), tensors[name][0])
            inputs[name] = content.reshape(shape)
        for value, array in zip(self._session.get_outputs(), self._compute(inputs)):
            name = value.name
            if name not in outputs:
                continue
            content = np.ascontiguousarray(array).tobytes()
            if allocator := self._allocators.get(name):
                address = allocator.reallocate_output_async(name, addresses[name], len(content), ALIGNMENT, 0)
                allocator.notify_shape(name, array.shape)
                board.gpu.at(address, len(content))[:] = content
            else:
                board.gpu.at(addresses[name], len(content))[:] = content
