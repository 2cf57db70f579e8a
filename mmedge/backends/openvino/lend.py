"""Copies of outputs in memory that comes back: the pages of fresh memory cost more than the copy itself (3.5 ms of 6 MB, against 1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmedge.tensors import Array

LEAST_BYTES = 128 * 1024
"""Smaller memory is the allocator's business: only from here on does it ask the kernel for new pages each time (glibc's M_MMAP_THRESHOLD)."""


class Spares:
    """For every output, at most one piece of memory that nobody holds any longer."""

    def __init__(self) -> None:
        self._spare: dict[str, Array] = {}

    def copy(self, name: str, array: Array) -> Array:
        """``array``'s values, the caller's to keep: its memory is used again only once no array or view of it is left."""
        if array.nbytes < LEAST_BYTES:
            return array.copy()
        memory = self._spare.pop(name, None)
        if memory is None or memory.shape != array.shape or memory.dtype != array.dtype:
            memory = np.empty(array.shape, array.dtype)
        np.copyto(memory, array)
        return np.asarray(_Lent(self._spare, name, memory))


class _Lent:
    """What numpy's arrays over ``memory`` keep alive: when the last of them goes, so does this, and the memory is spare again."""

    def __init__(self, spare: dict[str, Array], name: str, memory: Array) -> None:
        self._spare, self._name, self._memory = spare, name, memory

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._memory.__array_interface__

    def __del__(self) -> None:
        self._spare[self._name] = self._memory
