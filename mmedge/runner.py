"""A runner executes one graph; a backend makes runners. Both know graphs, neither knows models."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mmedge.errors import MmedgeError
from mmedge.tensors import Array, Feeds, TensorSpec, check_feeds, check_start

if TYPE_CHECKING:
    from mmedge.target import Precision, Target


@runtime_checkable
class Runner(Protocol):
    """One opened graph. Not safe for two threads at once."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    reuses_outputs: bool
    """True where the arrays of one run are overwritten by the next: copy what must outlive it."""

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Execute once. Raises MmedgeError when the feeds do not fit ``inputs``."""
        ...

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Carried:
        """Begin runs in which outputs become inputs of the next run without leaving the runtime's memory.

        Args:
            pairs: output -> the input it becomes.
            start: the first value of every carried input, and inputs that stay the same throughout. The arrays are read, never written, and must stay
                as they are.

        Raises:
            MmedgeError: ``start`` does not fit ``inputs``.
        """
        ...

    def executed(self) -> dict[str, str]:
        """What the opened runtime says of itself, for a report: the precision it computes in, threads, providers, flags."""
        ...

    def __enter__(self) -> Runner: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Carried(Protocol):
    """A sequence of runs, such as a decoder over its cache. One at a time per runner: beginning another ends it."""

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Execute once with the remaining inputs. Returns the outputs that are not carried. Raises MmedgeError when the feeds do not fit."""
        ...


class Copied:
    """``Carried`` through numpy: right for every runner, and slow where the cache is large."""

    def __init__(self, runner: Runner, pairs: Mapping[str, str], start: Feeds) -> None:
        self._runner, self._pairs = runner, dict(pairs)
        self._held, self._remaining = check_start(runner.inputs, pairs.values(), start)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        outputs = self._runner.run({**self._held, **check_feeds(self._remaining, feeds)})
        for output, becomes in self._pairs.items():
            array = outputs.pop(output)
            self._held[becomes] = array.copy() if self._runner.reuses_outputs else array
        return outputs


@dataclass(frozen=True, slots=True)
class Facts:
    """What a backend found out about itself on this machine."""

    available: bool
    version: str | None = None
    reason: str = ""
    """Why it is not available, or what it will run on."""
    fix: str = ""
    features: tuple[str, ...] = ()
    """What the hardware adds, such as ``bf16``: a measured choice is bound to it."""


@dataclass(frozen=True, slots=True)
class Graph:
    """An ONNX file with its declared inputs and outputs. A variant for OpenVINO may be IR: its ``.xml``, with ``weights``."""

    path: Path
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: Path | None = None
    """The file beside it that holds its large tensors, where they are not in the ONNX file itself."""
    ranges: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    """Dynamic dimension of the inputs -> its least, likeliest and largest size."""
    variants: Mapping[str, Graph] = field(default_factory=dict)
    """The same in other precisions, with the same inputs and outputs: by the precision, or ``BACKEND METHOD`` where a backend has several of one."""
    precision: Precision = "fp32"
    weights_sha256: str = ""
    """Of the weights file, where it is known already."""

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(path.stat().st_size for path in (self.path, self.weights) if path)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run a graph: an artefact with runtime options. Which one is best is measured."""

    graph: Graph
    precision: Precision
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Engine:
    """A candidate made ready for one target."""

    candidate: Candidate
    path: Path | None = None
    """The compiled file, or None where the runtime opens the ONNX file itself."""
    key: Mapping[str, str] = field(default_factory=dict)
    """What it is bound to, where it was made before: one that was made for something else is not opened."""


@dataclass(frozen=True, slots=True)
class Operated:
    """The runtime's own profile of a graph."""

    runs: int
    graph_ms: float
    """Mean time of a whole run while it was profiled, over the runs that the operators' times are the means of."""
    operators: tuple[OperatorTime, ...]
    outside: str = ""
    """What a run does that is no operator's time by this profiler: why the operators do not sum to ``graph_ms``."""


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """One operator as the runtime executes it, often several of the ONNX file's in one."""

    name: str
    kind: str
    ms: float
    """Mean a run."""
    nodes: tuple[str, ...] = ()
    """Names of the ONNX file's nodes that it came from, where the runtime tells."""


class Backend(Protocol):
    """The module ``mmedge.backends.NAME``."""

    def probe(self, target: Target | None = None) -> Facts:
        """What is here of what a target asks for; without one, of all that there is."""
        ...

    def options(self, target: Target) -> Any:
        """What a target sets for it. Raises MmedgeError: that is nothing that it takes."""
        ...

    def candidates(self, graph: Graph, target: Target) -> list[Candidate]: ...
    def compile(self, candidate: Candidate, target: Target, out: Path) -> Engine: ...
    def open(self, engine: Engine, target: Target) -> Runner: ...
    def operators(self, engine: Engine, target: Target, feeds: Feeds, runs: int) -> Operated | None:
        """Run a graph under the runtime's own profiler; None where it has none."""
        ...


def hold_options(target: Target) -> None:
    """Before any work is done. Raises MmedgeError: one of the target's backends does not take what the target sets for it."""
    for name in target.backends:
        if name in backend_names():
            load_backend(name).options(target)


def backend_names() -> list[str]:
    """The backends that exist: file names, nothing imported."""
    import mmedge.backends

    return sorted(module.name for module in pkgutil.iter_modules(mmedge.backends.__path__))


def load_backend(name: str) -> Backend:
    """Import one backend by its name; its runtime is imported only when it is used."""
    if name not in backend_names():
        raise MmedgeError(f"there is no backend {name!r}", f"use one of: {', '.join(backend_names())}")
    module: Any = importlib.import_module(f"mmedge.backends.{name}")
    return module
