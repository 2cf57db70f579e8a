"""The large tensors of a model's graphs in one file beside them: each content once, whichever graphs use it, and never all of them in memory.

ONNX calls this external data: a tensor names a file in its own folder, an offset and a length (onnx/docs/ExternalData.md). Equal tensors are found by content,
because the exporter renames what it folds: a decoder's growing and fixed forms, or a matrix used by two graphs, end up on the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmedge.errors import MmedgeError
from mmedge.family import OnnxGraph, TorchGraph
from mmedge.need import need

LARGE_BYTES = 256 << 20
"""Graphs below this size are one file each, which is easier to handle; protobuf itself ends at 2 GB."""
SMALL_TENSOR_BYTES = 1024
"""Stays in the ONNX file: shapes and scalars, which tools want to see."""
ALIGN_BYTES = 4096
"""Where a runtime maps the file into memory, tensors begin on a page."""


class Weights:
    """A file that grows by the tensors it does not hold yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._places: dict[str, tuple[int, int]] = {}

    def take(self, model: Any) -> None:
        """Move the large initializers of an onnx_ir model into the file; the model then refers to it by its name."""
        ir = need("onnx_ir", extra="build")
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is None:
                continue
            if tensor.nbytes < SMALL_TENSOR_BYTES:
                if isinstance(tensor, ir.ExternalTensor):  # it would go on referring to the file it came from
                    value.const_value = ir.tensor(tensor.numpy().copy(), tensor.dtype, name=tensor.name)
                continue
            offset, length = self._place(np.ascontiguousarray(tensor.numpy()))
            value.const_value = ir.ExternalTensor(
                self.path.name, offset, length, tensor.dtype, shape=tensor.shape, name=tensor.name, base_dir=str(self.path.parent)
            )
        self._file.flush()

    def _place(self, array: Any) -> tuple[int, int]:
        digest = hashlib.sha256(array.reshape(-1).view(np.uint8)).hexdigest()
        if digest not in self._places:
            self._file.write(b"\0" * (-self._file.tell() % ALIGN_BYTES))
            self._places[digest] = self._file.tell(), array.nbytes
            array.tofile(self._file)
        return self._places[digest]

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


def weighs(graphs: Iterable[TorchGraph | OnnxGraph]) -> int:
    """Bytes of all weights, what is shared counted once."""
    sizes: dict[Any, int] = {}
    for graph in graphs:
        if isinstance(graph, TorchGraph):
            sizes.update({tensor.data_ptr(): tensor.nbytes for tensor in graph.module.state_dict().values()})
        elif isinstance(graph.model, Path):
            sizes.update({path: path.stat().st_size for path in (graph.model, *external_files(graph.model)) if path.is_file()})
        elif not isinstance(graph.model, bytes):
            sizes.update({id(value): value.const_value.nbytes for value in graph.model.graph.initializers.values() if value.const_value is not None})
    return sum(sizes.values())


def external_files(model: Path) -> list[Path]:
    """The files beside an ONNX file that hold its tensors. Raises MmedgeError: a name in it leads out of the folder, or the file is not there."""
    onnx = need("onnx", extra="build")
    try:
        graph = onnx.load(str(model), load_external_data=False).graph
    except Exception as error:  # protobuf's DecodeError has no base but Exception
        raise MmedgeError(f"{model} is not a valid ONNX file: {error}", "get an undamaged copy") from error
    names = {entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"}
    folder = model.parent.resolve()
    for name in names:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise MmedgeError(f"{model} takes weights from {name}, outside of its folder", "do not use this file")
        if not path.is_file():
            raise MmedgeError(f"{model} takes weights from {name}, which is missing", f"put {name} beside it")
    return [folder / name for name in sorted(names)]


def rename(model: Path, name: str) -> None:
    """Let an ONNX file's external tensors be in the file ``name``."""
    onnx = need("onnx", extra="build")
    proto = onnx.load(str(model), load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
    onnx.save(proto, str(model))
