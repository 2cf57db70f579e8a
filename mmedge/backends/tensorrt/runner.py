"""Runs an engine on the GPU. Never run on one so far: the tests do it with a stand-in for TensorRT and CUDA that is strict about their rules."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType

from mmedge.backends.tensorrt import device, inspector
from mmedge.backends.tensorrt.carry import OnDevice
from mmedge.backends.tensorrt.engine import Opened, Shape
from mmedge.backends.tensorrt.flavour import NAMES, Flavour
from mmedge.backends.tensorrt.slot import Grown, Slot
from mmedge.errors import MmedgeError
from mmedge.runner import Carried, Graph
from mmedge.tensors import Array, Feeds, TensorSpec, check_feeds

Shapes = Mapping[str, Shape]
Slots = Mapping[str, Slot]
EMPTY: Slots = {}


class TensorrtRunner:
    """One engine with one stream. Memory is found once, for the largest shapes of the engine's optimization profile, when a tensor is first used.

    Where no shape ever changes, a CUDA graph is recorded after one run and launched from then on; TensorRT-RTX does the like by itself.

    Args:
        path: the engine.
        graph: what it was built of.
        cuda_graph: whether CUDA graphs are used.

    Raises:
        MmedgeError: no GPU, no such TensorRT, or no engine for them.
    """

    reuses_outputs = False

    def __init__(self, path: Path, graph: Graph, flavour: Flavour, *, cuda_graph: bool = True) -> None:
        self.inputs: tuple[TensorSpec, ...] = graph.inputs
        self.outputs: tuple[TensorSpec, ...] = graph.outputs
        with contextlib.ExitStack() as opening:
            self.opened = Opened(path, graph, flavour, cuda_graph=cuda_graph)
            opening.callback(self.opened.close)
            self.stream = device.Stream()
            opening.callback(self.stream.close)
            self._closing = opening.pop_all()
        self._slots: dict[str, Slot] = {}
        self._carried: dict[tuple[str, int], Slot] = {}
        self._sequence = 0
        self._ran: set[tuple[int, ...]] = set()
        self._graphs: dict[tuple[int, ...], device.Captured] = {}
        self._no_graph = self._why_no_graph(cuda_graph)

    def _why_no_graph(self, wanted: bool) -> str:
        if not wanted:
            return "off: not wanted"
        if self.opened.flavour == "rtx":
            return f"by {NAMES['rtx']} itself"
        return "" if self.opened.fixed else "off: its shapes change"

    def run(self, feeds: Feeds) -> dict[str, Array]:
        checked = check_feeds(self.inputs, feeds)
        return self.step(checked, {}, self.slots(), [spec.name for spec in self.outputs])

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Carried:
        """What is carried stays in the GPU's memory: two pieces of it take turns, or one where TensorRT writes in its place."""
        return OnDevice(self, pairs, start)

    def step(self, feeds: Feeds, held: Shapes, slots: Slots, wanted: Collection[str]) -> dict[str, Array]:
        """One run.

        Args:
            feeds: what goes to the GPU first.
            held: shapes of the inputs that are there already.
            slots: for every tensor.
            wanted: outputs that are to come back.

        Raises:
            MmedgeError: a shape is outside the optimization profile, and nothing was done; or TensorRT or CUDA failed.
        """
        shapes = {**held, **{name: array.shape for name, array in feeds.items() if name in slots}}
        self.opened.fits(shapes)
        try:
            for name, array in feeds.items():
                if name in slots:
                    slots[name].put(self.stream, array)
            self.opened.bind(shapes, {name: slot.address for name, slot in slots.items()})
            self._launch(tuple(slot.address for slot in slots.values()))
            taken = {name: slots[name].take(self.stream, self.opened.shape(name)) for name in wanted}
            self.stream.wait()
        except BaseException:
            with contextlib.suppress(MmedgeError):  # what was queued still reads the memory of the inputs
                self.stream.wait()
            raise
        return {name: array.copy() for name, array in taken.items()}

    def slots(self, own: Slots = EMPTY) -> dict[str, Slot]:
        """For every tensor: those of ``own``, and for the others the memory of plain runs."""
        made: dict[str, Slot] = {}
        for name, tensor in self.opened.tensors.items():
            if tensor.alias:  # TensorRT writes this output in the place of an input, which comes before it
                made[name] = made[tensor.alias]
            elif name in own:
                made[name] = own[name]
            else:
                if name not in self._slots:
                    self._slots[name] = self._kept(Grown(tensor, self.opened) if tensor.depends_on_data else Slot(tensor, tensor.size_bytes))
                made[name] = self._slots[name]
        return made

    def carried(self, name: str, size_bytes: int) -> Slot:
        """For what stays on the GPU from run to run: its own, so that a plain run in between does not touch it."""
        if (name, size_bytes) not in self._carried:
            self._carried[name, size_bytes] = self._kept(Slot(self.opened.tensors[name], size_bytes))
        return self._carried[name, size_bytes]

    def begin(self) -> int:
        """The number of a new sequence of carried runs: it ends the one before."""
        self._sequence += 1
        return self._sequence

    @property
    def sequence(self) -> int:
        """The one that goes on."""
        return self._sequence

    def _kept(self, slot: Slot) -> Slot:
        self._closing.callback(slot.free)
        return slot

    def _launch(self, addresses: tuple[int, ...]) -> None:
        """By a CUDA graph where there can be one: it holds the addresses that it was recorded with, after a first run with them."""
        if self._no_graph or addresses not in self._ran:
            self._ran.add(addresses)
            return self.opened.enqueue(self.stream.handle)
        if addresses not in self._graphs:
            try:
                recorded = self.stream.capture(lambda: self.opened.enqueue(self.stream.handle))
            except MmedgeError as error:
                self._no_graph = f"off: it could not be recorded: {error.what}"
                return self.opened.enqueue(self.stream.handle)
            self._closing.callback(recorded.close)
            self._graphs[addresses] = recorded
        self._graphs[addresses].launch()

    def executed(self) -> dict[str, str]:
        """What its layers compute in, as the engine's inspector tells it, and on what."""
        name, _, number = self.opened.title.partition(" ")
        return {
            **inspector.said(self.opened.layers()),
            name: number,
            "compute capability": self.opened.compute_capability,
            "CUDA": device.cuda_version(),
            "CUDA graph": self._no_graph or ("on" if self._graphs else "on from the second run"),
        }

    def __enter__(self) -> TensorrtRunner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Frees everything, also where some of it cannot be freed: then the first error that there was is told."""
        self._graphs.clear()
        try:
            self._closing.close()
        except MmedgeError:
            if error is None:
                raise
