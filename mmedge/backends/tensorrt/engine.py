"""An engine that TensorRT has opened: its tensors as it takes and gives them, and one place to run it. Never run on a GPU so far."""

from __future__ import annotations

import mmap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.backends.tensorrt import device, inspector
from mmedge.backends.tensorrt.flavour import Flavour, load, log, title
from mmedge.backends.tensorrt.store import AGAIN
from mmedge.errors import MmedgeError
from mmedge.runner import Graph

DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
"""TensorRT's names of types -> numpy's; it has more, of which numpy has none."""

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of an engine."""

    name: str
    dtype: str
    """numpy's name."""
    input: bool
    on_host: bool
    """TensorRT reads or writes it in the host's memory: shapes depend on its values."""
    least: Shape
    most: Shape
    """The shapes that the optimization profile allows; of an output nothing."""
    size_bytes: int
    """At most."""
    fixed: bool
    """Its shape never changes."""
    depends_on_data: bool = False
    """Its shape follows from values: it is known only after a run."""
    alias: str | None = None
    """The input in whose memory TensorRT writes this output."""


class Opened:
    """An engine with one context.

    Args:
        graph: what it was built of: the engine must take and give the same tensors.
        cuda_graph: whether TensorRT-RTX may record CUDA graphs, which it does by itself.

    Raises:
        MmedgeError: no GPU, no such TensorRT, or the engine is of another version or board, in TensorRT's own words.
    """

    def __init__(self, path: Path, graph: Graph, flavour: Flavour, *, cuda_graph: bool = True) -> None:
        self.flavour, self.title = flavour, title(flavour)
        self._trt, self._log = load(flavour), log(flavour)
        self.compute_capability = device.compute_capability()
        self._runtime = self._trt.Runtime(self._log)
        self._engine = self._deserialized(path)
        self._context = self._started(path, cuda_graph)
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self.tensors = {tensor.name: tensor for tensor in self._read()}
        self._check(graph, path)

    def _deserialized(self, path: Path) -> Any:
        self._log.clear()
        if not path.stat().st_size:  # which cannot be mapped
            raise MmedgeError(f"{path.name} is empty", AGAIN)
        # Mapped, not read: on a Jetson the GPU's memory is the same, and an engine is most of what there is to hold.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            here = f"{self.title} with compute capability {self.compute_capability}"
            raise MmedgeError(f"{path.name} is no engine for {here}: {self._words()}", AGAIN)
        return engine

    def _started(self, path: Path, cuda_graph: bool) -> Any:
        self._log.clear()
        if self.flavour == "rtx" and cuda_graph:
            config = self._engine.create_runtime_config()
            config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            room = device.memory()
            raise MmedgeError(
                f"TensorRT cannot run {path.name}: {self._words()} ({room.free_mb} of {room.total_mb} MB are free)",
                "close other programs, or choose a smaller model or precision",
            )
        # Engines are built with details for the inspector; as ranges for NVIDIA's tracing tools they would only cost time.
        context.nvtx_verbosity = self._trt.ProfilingVerbosity.NONE
        return context

    def _read(self) -> Iterator[Tensor]:
        """Inputs first: the sizes of outputs are known once theirs are set to the largest."""
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        for name in inputs:
            yield self._input(name)
        for name in names:
            if name not in inputs:
                yield self._output(name)

    def _input(self, name: str) -> Tensor:
        shape = tuple(self._engine.get_tensor_shape(name))
        fixed = -1 not in shape
        least, _, most = (shape,) * 3 if fixed else (tuple(one) for one in self._engine.get_tensor_profile_shape(name, 0))
        self._set_shape(name, most)
        return Tensor(name, self._dtype(name), True, self._on_host(name), least, most, _size(most, self._dtype(name)), fixed)

    def _output(self, name: str) -> Tensor:
        shape = tuple(self._engine.get_tensor_shape(name))
        # A method that TensorRT has from 10.15 on, when the first operator in place came.
        alias = self._engine.get_aliased_input_tensor(name) if hasattr(self._engine, "get_aliased_input_tensor") else None
        depends = -1 in tuple(self._context.get_tensor_shape(name))
        size_bytes = int(self._context.get_max_output_size(name))
        return Tensor(name, self._dtype(name), False, self._on_host(name), (), (), max(size_bytes, 0), -1 not in shape, depends, alias or None)

    def _on_host(self, name: str) -> bool:
        return bool(self._engine.get_tensor_location(name) == self._trt.TensorLocation.HOST)

    def _dtype(self, name: str) -> str:
        found = self._engine.get_tensor_dtype(name).name
        if found not in DTYPES:
            raise MmedgeError(f"the engine's tensor {name} is of type {found}, which numpy does not have", AGAIN)
        return DTYPES[found]

    def _check(self, graph: Graph, path: Path) -> None:
        """Nothing is converted on the way: what the bundle says of a tensor must be so in the engine."""
        for side, specs in (("input", graph.inputs), ("output", graph.outputs)):
            for spec in specs:
                found = self.tensors.get(spec.name)
                if found is None and side == "input":  # TensorRT leaves out what no operator reads
                    continue
                if found is None or found.input != (side == "input"):
                    raise MmedgeError(f"{path.name} has no {side} {spec.name}: it is the engine of another graph", AGAIN)
                if found.dtype != spec.dtype:
                    raise MmedgeError(f"{side} {spec.name} of {path.name} is {found.dtype}, the bundle says {spec.dtype}", AGAIN)
        if unknown := sorted(set(self.tensors) - {spec.name for spec in (*graph.inputs, *graph.outputs)}):
            raise MmedgeError(f"{path.name} has a tensor {unknown[0]} that the graph has not: it is the engine of another graph", AGAIN)

    @property
    def fixed(self) -> bool:
        """Whether every run is the same work: no shape ever changes, and none depends on values."""
        return all(tensor.fixed and not tensor.depends_on_data and not tensor.on_host for tensor in self.tensors.values())

    def fits(self, shapes: Mapping[str, Shape]) -> None:
        """Raises MmedgeError: an input is smaller or larger than the engine was built for."""
        for name, shape in shapes.items():
            if (tensor := self.tensors.get(name)) and not all(low <= size <= high for low, size, high in zip(tensor.least, shape, tensor.most)):
                allowed = f"{list(tensor.least)} to {list(tensor.most)}" if tensor.least != tensor.most else f"{list(tensor.least)} only"
                raise MmedgeError(
                    f"input {name} has shape {list(shape)}; this engine takes {allowed}", "give it less at a time, or export the bundle with a wider range"
                )

    def bind(self, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> None:
        """Say what the next run reads and writes. Only what has changed since the last is told to TensorRT."""
        for name, address in addresses.items():
            # No document says whether new values in the host's memory are noticed at an address that stays: it is told again.
            if self._addresses.get(name) != address or self.tensors[name].on_host:
                self._must(self._context.set_tensor_address(name, address), f"take the memory of {name}")
                self._addresses[name] = address
        for name, shape in shapes.items():
            if name in self.tensors and self._shapes.get(name) != shape:
                self._set_shape(name, shape)

    def _set_shape(self, name: str, shape: Shape) -> None:
        self._must(self._context.set_input_shape(name, shape), f"take shape {list(shape)} for input {name}")
        self._shapes[name] = shape

    def allocate_by(self, name: str, allocator: Any) -> None:
        """Let ``allocator`` find memory for an output whose size depends on data."""
        self._must(self._context.set_output_allocator(name, allocator), f"take an allocator for output {name}")

    def shape(self, name: str) -> Shape:
        """Of an output of the next run, by the shapes of its inputs."""
        return tuple(self._context.get_tensor_shape(name))

    def enqueue(self, stream: int) -> None:
        """Put a run into a stream. Raises MmedgeError in TensorRT's words."""
        self._must(self._context.execute_async_v3(stream), "run the engine")

    def watch(self, profiler: Any) -> None:
        """From the next run on, tell ``profiler`` the time of every layer."""
        self._context.profiler = profiler

    def layers(self) -> tuple[inspector.Layer, ...]:
        """As its inspector tells them."""
        told = self._engine.create_engine_inspector()
        told.execution_context = self._context
        return inspector.layers(told.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def subclass(self, base: str, **functions: Any) -> Any:
        """An instance of one of TensorRT's interfaces: see ``subclass``."""
        return subclass(self._trt, base, **functions)

    def close(self) -> None:
        """In the order that TensorRT wants: what was made of another before that."""
        self._context = self._engine = self._runtime = None

    def _must(self, done: bool, what: str) -> None:
        if not done:
            raise MmedgeError(f"{self.title} does not {what}: {self._words()}", AGAIN)

    def _words(self) -> str:
        """The first of what it logged, which it then forgets: the others follow from it."""
        told = list(self._log.errors)
        self._log.clear()
        return " ".join(told[0].split()) if told else "it gives no reason"


def subclass(trt: Any, base: str, **functions: Any) -> Any:
    """An instance of one of TensorRT's interfaces, which calls these functions (without itself as their first argument)."""
    static = {name: staticmethod(function) for name, function in functions.items()}
    return types.new_class(f"Own{base}", (getattr(trt, base),), exec_body=lambda body: body.update(static))()


def _size(shape: Shape, dtype: str) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
