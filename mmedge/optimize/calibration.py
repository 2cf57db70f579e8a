"""What goes into each graph of a model while it does its task on the user's data: what quantizers measure ranges on.

The fp32 session of a model does its task on one sample after another; between it and its runners stand recorders, so no family needs to know. Feeds go to disk
as they come, so memory does not grow with the data, every graph of the model is served by one pass, and each maker reads them as often as it likes.
"""

from __future__ import annotations

import contextlib
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.evaluate.golden import Golden
from mmedge.optimize import npz
from mmedge.optimize.made import Feeding
from mmedge.runner import Candidate, Carried, Copied, Engine, Runner, load_backend
from mmedge.target import Target
from mmedge.tensors import Array, Feeds

SAMPLES = 300
"""NNCF's own default; ModelOpt asks for 500 and more, ONNX Runtime names no number."""

MOST_BYTES = 2 << 30
"""On disk, of one graph: where feeds are larger (a decoder's caches), there are fewer of them, evenly over the samples."""

GOLDEN_ONLY = "calibration-golden-only"
"""The warning of a model that was calibrated without data."""

Uses = Callable[[Any], Iterable[object]]
"""A model's session -> the task done on one sample after another; what is yielded after each does not matter."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Feeds for the graphs of one model."""

    feeds: Mapping[str, Feeding]
    """By the graph's key in the manifest."""
    samples: int
    """Of the user's data; 0: golden data alone."""
    warnings: tuple[str, ...] = ()
    """Each begins with its own name."""


class Recorder:
    """A runner that remembers, of one sample, the feeds of its first run and those of one of the others, whichever the seed chooses.

    A decoder's first step is unlike the others: it alone has the prompt, whose first token draws the largest activations.
    """

    def __init__(self, runner: Runner, seed: Iterable[int]) -> None:
        self._runner = runner
        self.inputs, self.outputs, self.reuses_outputs = runner.inputs, runner.outputs, runner.reuses_outputs
        self._chance = np.random.default_rng(list(seed))
        self._held: list[Feeds] = []
        self._runs = 0

    def run(self, feeds: Feeds) -> dict[str, Array]:
        self._runs += 1
        # Of n later runs each is kept with the same chance: the n-th takes the place of what is there with a chance of 1 / n (reservoir sampling).
        if self._runs == 1 or self._chance.random() < 1 / (self._runs - 1):
            self._held[1:] = [] if self._runs > 1 else self._held[1:]
            self._held.append({name: np.array(array) for name, array in feeds.items()})
        return self._runner.run(feeds)

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Carried:
        """Through numpy: what stays in the runtime's memory could not be recorded."""
        return Copied(self, pairs, start)

    def take(self) -> list[Feeds]:
        """What was recorded since the last time."""
        held, self._held, self._runs = self._held, [], 0
        return held

    def executed(self) -> dict[str, str]:
        return self._runner.executed()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Whoever opened the runner closes it."""


class Kept:
    """The feeds of one graph, in a folder of their own."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._paths: list[Path] = []
        self._bytes, self._given, self._every = 0, 0, 1
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, feeds: Feeds) -> None:
        """Keep feeds, unless so many came before that only every second, fourth or eighth still has room."""
        number, self._given = self._given, self._given + 1
        if number % self._every:
            return
        path = self._folder / f"{number:09d}.npz"
        npz.write(path, feeds)
        self._paths.append(path)
        self._bytes += path.stat().st_size
        while self._bytes > self._most_bytes and len(self._paths) > 1:
            for left_out in self._paths[1::2]:
                self._bytes -= left_out.stat().st_size
                left_out.unlink()
            del self._paths[1::2]
            self._every *= 2

    def __len__(self) -> int:
        return len(self._paths)

    def __call__(self) -> Iterator[Feeds]:
        return stored(self._folder)


def stored(folder: Path) -> Iterator[Feeds]:
    """The feeds of one graph that were kept in its folder, in their order."""
    for path in sorted(folder.glob("*.npz")):
        yield npz.read(path)


def calibrate(
    bundle: Bundle, role: str, target: Target, uses: Uses | None, folder: Path, *, samples: int = SAMPLES, seed: int = 0, most_bytes: int = MOST_BYTES
) -> Calibration:
    """Feeds for every graph of a model that ``target`` runs.

    Args:
        uses: the task on the user's data; None: there is no data, and golden feeds must do.
        folder: where feeds may lie as long as they are used.
        samples: how many are taken, from the first on: the order is the data's.
        most_bytes: of the feeds of one graph.

    Returns:
        Feeds for all of them; a graph that the task never ran has golden feeds, and a warning says so.

    Raises:
        MmedgeError: the data holds no sample, or whatever the task met.
    """
    keys = bundle.manifest.models[role].graphs_for(target)
    golden = Golden(bundle, role)
    fallback: dict[str, Feeding] = {key: partial(_once, golden, key) for key in keys.values()}
    if uses is None:
        return Calibration(fallback, 0, (f"{GOLDEN_ONLY}: {role} is calibrated on its golden data alone, which is one example: give it data with --data",))
    kept, taken = _record(bundle, role, target, uses, folder, samples, seed, most_bytes)
    if not taken:
        raise MmedgeError(f"there is no sample to calibrate {role} on: the data is empty", "give --data a folder or a file with samples")
    unrun = [key for key in keys.values() if not kept.get(key)]
    unused = tuple(f"{GOLDEN_ONLY}: the task never ran {role}/{key}, which is calibrated on its golden data alone" for key in unrun)
    return Calibration({**fallback, **{key: one for key, one in kept.items() if len(one)}}, taken, unused)


def _record(bundle: Bundle, role: str, target: Target, uses: Uses, folder: Path, samples: int, seed: int, most_bytes: int) -> tuple[dict[str, Kept], int]:
    """Do the task. Returns what was kept, by the graph's key, and how many samples there were."""
    recorders: dict[str, Recorder] = {}
    kept: dict[str, Kept] = {}
    keys = bundle.manifest.models[role].graphs_for(target)

    def through(name: str, opened: Runner) -> Runner:
        key = keys[name]
        kept[key] = Kept(folder / role / key, most_bytes)
        recorders[key] = Recorder(opened, (seed, zlib.crc32(key.encode())))
        return recorders[key]

    taken = 0
    with bundle.session(role, target, through=through, opens=partial(in_fp32, bundle, role, target)) as session:
        for _ in itertools.islice(uses(session), samples):
            taken += 1
            for key, recorder in recorders.items():
                for feeds in recorder.take():
                    kept[key].add(feeds)
    return kept, taken


@contextlib.contextmanager
def in_fp32(bundle: Bundle, role: str, target: Target, key: str) -> Iterator[Runner]:
    """Open a graph in fp32 by onnxruntime on the CPU, wherever the target has placed it. Raises MmedgeError: the runtime refuses it."""
    cpu = target.model_copy(update={"options": {"ort": {"providers": ("CPUExecutionProvider",)}}})
    backend = load_backend("ort")
    with backend.open(Engine(Candidate(bundle.made_of(role, key, None), "fp32")), cpu) as runner:
        yield runner


def _once(golden: Golden, key: str) -> Iterator[Feeds]:
    yield golden.graph(key)[0]
