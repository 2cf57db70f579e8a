"""Where one input or output of an engine lies: on the GPU, with page-locked memory of the host on the way there and back. Never run on a GPU so far."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmedge.backends.tensorrt.device import Memory, Pinned, Stream
from mmedge.backends.tensorrt.engine import Opened, Shape, Tensor
from mmedge.errors import MmedgeError
from mmedge.tensors import Array


class Slot:
    """Memory for the largest that a tensor may be, found once.

    The way over the host is found when it is first needed: a cache that stays on the GPU needs none.

    Raises:
        MmedgeError: there is not so much memory.
    """

    def __init__(self, tensor: Tensor, size_bytes: int) -> None:
        self.tensor, self._size_bytes = tensor, size_bytes
        self._memory = None if tensor.on_host else Memory(size_bytes)
        self._pinned: Pinned | None = None

    @property
    def address(self) -> int:
        """As TensorRT takes it."""
        return self._memory.address if self._memory else self._way().address

    def put(self, stream: Stream, array: Array) -> None:
        """Queue the values of the next run. They are copied at once: ``array`` may change."""
        way = self._way()
        np.copyto(way.array(self.tensor.dtype, array.shape), array)
        if self._memory:
            stream.upload(self._memory.address, way.address, array.nbytes)

    def fill(self, stream: Stream, array: Array) -> None:
        """As ``put``, without memory of the host in between, and waits for it: for what is given once."""
        if self._memory is None:
            return self.put(stream, array)
        stream.upload(self._memory.address, array.ctypes.data, array.nbytes)
        stream.wait()

    def take(self, stream: Stream, shape: Shape) -> Array:
        """Queue the way back of an output. What is returned holds it once the stream was waited for, and until the next run."""
        way = self._way()
        array = way.array(self.tensor.dtype, shape)
        if self._memory:
            stream.download(way.address, self._memory.address, array.nbytes)
        return array

    def free(self) -> None:
        """All of it; a second time does nothing."""
        for one in (self._memory, self._pinned):
            if one:
                one.free()

    def _way(self) -> Pinned:
        if self._pinned is None:
            self._pinned = Pinned(self._size_bytes)
        return self._pinned


class Grown(Slot):
    """For an output whose size depends on data: TensorRT asks for its memory in the middle of a run, and tells the shape then."""

    def __init__(self, tensor: Tensor, opened: Opened) -> None:
        super().__init__(tensor, 0)
        self.shape: Shape = ()
        functions = dict.fromkeys(("reallocate_output", "reallocate_output_async"), self._reallocate)
        self._allocator = opened.subclass("IOutputAllocator", **functions, notify_shape=self._notify)
        opened.allocate_by(tensor.name, self._allocator)

    def _reallocate(self, name: str, memory: int, size_bytes: int, *how: Any) -> int:
        if self._memory and size_bytes > self._memory.size_bytes:
            try:
                larger = Memory(size_bytes)
            except MmedgeError:  # nothing may be raised through TensorRT: it says itself that it was given none
                return 0
            self._memory.free()
            self._memory = larger
        return self.address

    def _notify(self, name: str, shape: Any) -> None:
        self.shape = tuple(shape)

    def take(self, stream: Stream, shape: Shape) -> Array:
        size_bytes = int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.tensor.dtype).itemsize
        if self._pinned is not None and self._pinned.size_bytes < size_bytes:
            self._pinned.free()
            self._pinned = None
        self._size_bytes = max(self._size_bytes, size_bytes)
        return super().take(stream, self.shape)
