"""The large tensors of a model's graphs in fp16, in one file beside them: each content once, as the fp32 file has it.

The layout follows from the fp32 file's alone, so graphs of one model that are converted at different times agree on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.tensors import Array

ALIGN_BYTES = 4096
"""Where a runtime maps the file into memory, tensors begin on a page."""
ROWS = 8
"""What has two dimensions has room behind it for rows up to a multiple of this, see ``with_rows``."""


class HalfWeights:
    """Where each fp32 tensor of some graphs' weights file is in a file of the same tensors in fp16."""

    def __init__(self, graphs: Iterable[Path]) -> None:
        """Args: graphs: the ONNX files that share a weights file; the layout is that of all their tensors."""
        ir = need("onnx_ir", extra="build")
        self._sources: dict[int, Any] = {}
        rooms: dict[int, int] = {}
        for path in graphs:
            for value in ir.load(str(path)).graph.initializers.values():
                tensor = value.const_value
                if isinstance(tensor, ir.ExternalTensor) and tensor.dtype == ir.DataType.FLOAT:
                    offset = tensor.offset or 0
                    self._sources[offset], rooms[offset] = tensor, max(rooms.get(offset, 0), _room(tensor))
        self._places: dict[int, int] = {}
        end = 0
        for offset in sorted(self._sources):
            self._places[offset] = end = -(-end // ALIGN_BYTES) * ALIGN_BYTES
            end += rooms[offset] * 2
        self.size_bytes = end
        self.path: Path | None = None

    def write(self, path: Path) -> None:
        """Write the file, one tensor after the other."""
        with path.open("wb") as file:
            for offset, place in self._places.items():
                file.write(b"\0" * (place - file.tell()))
                file.write(to_half(read(self._sources[offset])).reshape(-1).view(np.uint8).data)  # numpy's own writer does not say that a disk is full
            file.write(b"\0" * (self.size_bytes - file.tell()))

    def at(self, path: Path) -> HalfWeights:
        """Let tensors be placed in the file at ``path``, in the folder of the graphs that will use it."""
        self.path = path
        return self

    def place(self, tensor: Any) -> Any:
        """The fp16 form of a tensor of the fp32 file; None where it is not one of them."""
        ir = need("onnx_ir", extra="build")
        if self.path is None or not isinstance(tensor, ir.ExternalTensor) or (tensor.offset or 0) not in self._places:
            return None
        place, size = self._places[tensor.offset or 0], tensor.size * 2
        return ir.ExternalTensor(self.path.name, place, size, ir.DataType.FLOAT16, shape=tensor.shape, name=tensor.name, base_dir=str(self.path.parent))


def _room(tensor: Any) -> int:
    """The numbers of a tensor, and of the rows that it may be given."""
    shape = tensor.shape.numpy()
    return int(tensor.size + (-shape[0] % ROWS * shape[1] if len(shape) == 2 else 0))


def with_rows(tensor: Any, rows: int) -> Any:
    """An ``onnx_ir`` tensor of two dimensions with zeros behind it. One of a file that ``HalfWeights`` wrote takes those that follow it there.

    Args:
        rows: at most the next multiple of ``ROWS``.
    """
    ir = need("onnx_ir", extra="build")
    columns = tensor.shape[1]
    if isinstance(tensor, ir.ExternalTensor):
        length, shape = tensor.length // tensor.shape[0] * rows, ir.Shape([rows, columns])
        return ir.ExternalTensor(tensor.location, tensor.offset, length, tensor.dtype, shape=shape, name=tensor.name, base_dir=tensor.base_dir)
    return ir.tensor(np.pad(read(tensor), ((0, rows - tensor.shape[0]), (0, 0))), name=tensor.name)


def read(tensor: Any) -> Array:
    """The content of an ``onnx_ir`` tensor. Its own reader of external ones takes no file that has a second hard link, as in a folder copied by links.

    Raises:
        MmedgeError: it is not in the folder of its graph, or the file is too short.
    """
    if not isinstance(tensor, need("onnx_ir", extra="build").ExternalTensor):
        return np.asarray(tensor.numpy())
    path = Path(tensor.path)
    if Path(tensor.location).name != str(tensor.location):
        raise MmedgeError(f"{path} lies outside of the folder of its graph", "do not use this file")
    array = np.fromfile(path, tensor.dtype.numpy(), tensor.size, offset=tensor.offset or 0)
    if array.size != tensor.size:
        raise MmedgeError(f"{path} is too short for {tensor.name}", "get an undamaged copy")
    return array.reshape(tensor.shape.numpy())


def to_half(array: Array, limit: float = 65504.0) -> Array:
    """Rounded to fp16. Finite values beyond ``limit``, of what is beyond fp16's range, become ``limit``; a single number that is not 0 does not become 0."""
    wide = np.where(np.isfinite(array) & (np.abs(array) > 65504.0), np.copysign(np.float32(limit), array), array)
    made = wide.astype(np.float16, order="C")
    if array.size == 1 and np.any(array) and not np.any(made):
        return np.asarray(np.copysign(np.finfo(np.float16).smallest_subnormal, array), np.float16)
    return made
