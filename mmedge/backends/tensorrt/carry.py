"""Runs whose outputs become inputs without leaving the GPU. Never run on one so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmedge.backends.tensorrt.engine import Shape
from mmedge.backends.tensorrt.slot import Slot
from mmedge.errors import MmedgeError
from mmedge.tensors import Array, Feeds, check_feeds, check_start

if TYPE_CHECKING:
    from mmedge.backends.tensorrt.runner import TensorrtRunner


class OnDevice:
    """A sequence of runs over two pieces of memory for every carried tensor, which take turns: what one run has written, the next reads where it lies.

    TensorRT may write a cache in its place (an operator of its own, from 10.15 on): then there is one piece, and no turn. Everything else that an engine
    updates in place, such as ScatterND, it copies first.
    """

    def __init__(self, runner: TensorrtRunner, pairs: Mapping[str, str], start: Feeds) -> None:
        held, self._remaining = check_start(runner.inputs, pairs.values(), start)
        self._runner, self._number = runner, runner.begin()
        self._wanted = [spec.name for spec in runner.outputs if spec.name not in pairs]
        tensors = runner.opened.tensors
        held = {name: array for name, array in held.items() if name in tensors}
        self._shapes: dict[str, Shape] = {name: array.shape for name, array in held.items()}
        runner.opened.fits(self._shapes)
        own: dict[str, Slot] = {name: runner.carried(name, tensors[name].size_bytes) for name in held if name not in pairs.values()}
        self._pairs, self._swapped = dict(pairs), [output for output, becomes in pairs.items() if tensors[output].alias != becomes]
        for output, becomes in pairs.items():
            size_bytes = max(tensors[output].size_bytes, tensors[becomes].size_bytes)
            own |= {name: runner.carried(name, size_bytes) for name in ((output, becomes) if output in self._swapped else (becomes,))}
        for name, array in held.items():
            own[name].fill(runner.stream, array)
        # What is fed and read in every run can use the memory of plain runs: nothing of it stays.
        self._slots = runner.slots(own)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        runner = self._runner
        if self._number != runner.sequence:
            raise MmedgeError("this sequence of runs has ended: another was begun on the same runner", "begin it again with carry()")
        results = runner.step(check_feeds(self._remaining, feeds), self._shapes, self._slots, self._wanted)
        for output, becomes in self._pairs.items():
            self._shapes[becomes] = runner.opened.shape(output)
            if output in self._swapped:
                self._slots[becomes], self._slots[output] = self._slots[output], self._slots[becomes]
        return results
