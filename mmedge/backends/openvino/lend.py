"""Outputs handed out where OpenVINO wrote them: a request whose outputs somebody still holds waits, and another takes its turn."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmedge.tensors import Array

LEAST_BYTES = 128 * 1024
"""Less is copied in no time. A copy of 400 KB costs a decoder a twentieth of its step: it comes from another core's cache, and takes the place of weights."""
MOST = 2
"""So many requests lend: one whose outputs the caller of a loop still holds while it runs the next. Those of a third are copied, so that whoever collects
outputs by the hundred does not hold as many requests."""


class Requests:
    """The infer requests of a compiled model for plain runs. They share what lies between inputs and outputs, so another one costs the outputs alone."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._all: list[Request] = []
        self.last: Request | None = None
        """The one that ran last."""

    def free(self) -> Request:
        """One whose outputs nobody holds."""
        self.last = next((request for request in self._all if not request.held), None)
        if self.last is None:
            self.last = Request(self._make(), lends=len(self._all) < MOST)
            self._all.append(self.last)
        return self.last


class Request:
    """One request, with what it reads."""

    def __init__(self, own: Any, lends: bool) -> None:
        self.own, self._lends = own, lends
        self.read: dict[str, tuple[Array, tuple[int, ...]]] = {}
        """Input -> the array whose memory its tensor uses, and its shape."""
        self._loan: weakref.ref[_Loan] | None = None

    @property
    def held(self) -> bool:
        return self._loan is not None and self._loan() is not None

    def outputs(self, arrays: Sequence[Array]) -> list[Array]:
        """Of its last run, the caller's to keep: memory that is not copied is written again only once no array or view of it is left."""
        loan = _Loan()
        found = [np.asarray(_Lent(array, loan)) if self._may_lend(array) else array.copy() for array in arrays]
        self._loan = weakref.ref(loan)
        return found

    def _may_lend(self, array: Array) -> bool:
        """An input that is an output as well is the caller's own memory."""
        return self._lends and array.nbytes >= LEAST_BYTES and not any(np.may_share_memory(array, fed) for fed, _ in self.read.values())


class _Loan:
    """Lives as long as any array of one run."""


class _Lent:
    """What numpy's arrays over an output keep alive."""

    def __init__(self, array: Array, loan: _Loan) -> None:
        self._array, self._loan = array, loan

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._array.__array_interface__
