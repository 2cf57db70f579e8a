"""One start, measured from inside: ``python -m mmedge.profile.fresh`` (see ``startup``) goes the way to the first answer once and prints what it took.

What only the measuring needs is imported once that is done: a start without it does not wait for it.
"""

from __future__ import annotations

import gc
import importlib
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge.bundle import Bundle
from mmedge.evaluate.golden import Golden
from mmedge.family import load_family
from mmedge.need import NotInstalled
from mmedge.profile.processes import resident, tell
from mmedge.runner import Carried, Runner, load_backend
from mmedge.target import Target
from mmedge.tensors import Array, Feeds

if TYPE_CHECKING:
    from mmedge.profile.report import Latency

SERIES_S, SERIES_RUNS = 0.5, 64
"""Of each graph, at least: enough for a 90th percentile that another process can be held against, unless that takes ten times as long."""


class Stages:
    """Seconds by the name of a stage; a stage may be entered again. What is done outside of all of them is the measuring's own."""

    def __init__(self, started_s: float) -> None:
        self.seconds = {"import": time.monotonic() - started_s, "load": 0.0, "compile": 0.0, "answer": 0.0}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        from_s = time.monotonic()
        yield
        self.seconds[name] += time.monotonic() - from_s


class Started:
    """A runner whose first run is timed."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.inputs, self.outputs, self.reuses_outputs = runner.inputs, runner.outputs, runner.reuses_outputs
        self.first_s: float | None = None

    def run(self, feeds: Feeds) -> dict[str, Array]:
        return self.timed(self._runner.run, feeds)

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Carried:
        return _StartedCarry(self, self._runner.carry(pairs, start))

    def executed(self) -> dict[str, str]:
        return self._runner.executed()

    def timed(self, run: Callable[[Feeds], dict[str, Array]], feeds: Feeds) -> dict[str, Array]:
        if self.first_s is not None:
            return run(feeds)
        from_s = time.monotonic()
        outputs = run(feeds)
        self.first_s = time.monotonic() - from_s
        return outputs

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *error: object) -> None:
        """The bundle closes it: it outlives a session."""


class _StartedCarry:
    def __init__(self, started: Started, carried: Carried) -> None:
        self._started, self._carried = started, carried

    def run(self, feeds: Feeds) -> dict[str, Array]:
        return self._started.timed(self._carried.run, feeds)


class Opened(Bundle):
    """A bundle all of whose graphs are open already: a session opens none again."""

    runners: dict[tuple[str, str], Started]

    def open_all(self, target: Target, stack: ExitStack) -> None:
        self.runners = {(role, name): Started(stack.enter_context(super(Opened, self).runner(role, name, target))) for role, name in self.graphs_of(target)}

    def graphs_of(self, target: Target) -> list[tuple[str, str]]:
        return [(role, name) for role, model in self.manifest.models.items() for name in model.graphs_for(target).values()]

    def of(self, role: str) -> list[tuple[str, Started]]:
        return [(name, runner) for (owner, name), runner in self.runners.items() if owner == role]

    @contextmanager
    def runner(self, role: str, name: str, target: Target) -> Iterator[Runner]:
        yield self.runners[role, name]


def start(path: Path, target: Target, answer: str, started_s: float) -> dict[str, Any]:
    """Go the way from here to the first answer, then look back: memory, and a short series of each graph.

    Args:
        answer: ``module:function`` to call with the bundle and the target for the first answer; empty: the first verb that can be called.
        started_s: when this process was started, on the system's monotonic clock.

    Returns:
        A ``startup.Told`` as plain data.

    Raises:
        MmedgeError: the bundle is damaged or not compiled for the target, or a runtime is missing.
    """
    stages = Stages(started_s)
    with ExitStack() as stack:
        with stages.stage("load"):
            opened = Opened(path, Bundle.open(path).manifest)
            placed = [opened.placement(role, name, target) for role, name in opened.graphs_of(target)]
        with stages.stage("import"):
            for backend in dict.fromkeys(placement.backend for placement in placed):
                load_backend(backend).probe()
            for model in opened.manifest.models.values():
                load_family(model.family, "session")
            first = _function(answer) if answer else None
        with stages.stage("load"):
            for model in opened.manifest.models.values():
                for entry in model.assets.values():
                    opened.file(entry)
            for (role, name), placement in zip(opened.graphs_of(target), placed):
                opened.made_of(role, name, placement.made_of)
                if placement.file:
                    opened.file(placement.file)
        with stages.stage("compile"):
            tells = _accelerator(placement.backend for placement in placed)
            free_mb = tells() if tells else 0
            opened.open_all(target, stack)
        answered = "" if target.backends == ("null",) else _answer(opened, target, first, stages)  # zeros are not what a decode loop ends on
        series = _series(opened)
        gc.collect()
        taken = {"device_mb": max(0, free_mb - tells()) if tells else None}
        return {"fresh": {**_figures(stages, opened, series, bool(answered)), **taken}, "answer": answered}


def _accelerator(backends: Iterable[str]) -> Callable[[], int] | None:
    """What tells how much of an accelerator's memory is free, in MB; None where no runtime does."""
    return next((tells for backend in backends if (tells := getattr(load_backend(backend), "free_mb", None))), None)


def _answer(opened: Opened, target: Target, first: Callable[[Bundle, Target], object] | None, stages: Stages) -> str:
    """Answer once, and say what was."""
    if first is not None:
        try:
            with stages.stage("answer"):
                first(opened, target)
            return first.__name__.replace("_", " ")
        except NotInstalled:
            pass  # a package for whole turns is missing: the verbs may do without
    for role in opened.manifest.models:
        for case, arguments, _ in Golden(opened, role).cases():
            if case.level != "verb":
                continue
            try:
                with stages.stage("answer"), opened.session(role, target) as session:
                    getattr(session, case.call)(**arguments)
                return f"{role}.{case.call}"
            except NotInstalled:
                continue
    return ""


def _series(opened: Opened) -> dict[str, Latency]:
    """Graph -> what a short series says; its first run, where no answer needed it, is timed on the way."""
    from mmedge.profile.estimates import summarise
    from mmedge.profile.protocol import measure
    from mmedge.profile.report import Rules

    rules = Rules(seconds=SERIES_S, samples=SERIES_RUNS)
    found = {}
    for role in opened.manifest.models:
        golden = Golden(opened, role)
        for name, runner in opened.of(role):
            feeds, _ = golden.graph(name)
            runner.run(feeds)
            found[f"{role}/{name}"] = summarise(measure(partial(runner.run, feeds), rules).samples.latency_ms)
    return found


def _figures(stages: Stages, opened: Opened, series: dict[str, Latency], answered: bool) -> dict[str, Any]:
    took_ms = {name: round(seconds * 1e3, 2) for name, seconds in stages.seconds.items()}
    memory = resident()
    return {
        "import_ms": took_ms["import"],
        "load_ms": took_ms["load"],
        "compile_ms": took_ms["compile"],
        "first_inference_ms": round(sum(runner.first_s or 0.0 for runner in opened.runners.values()) * 1e3, 3),
        "first_answer_ms": round(sum(took_ms.values()), 2) if answered else None,
        "peak_rss_mb": round(max(_peak_mb(), memory.rss_mb), 1),
        "steady_rss_mb": round(memory.rss_mb, 1),
        "steady_pss_mb": round(memory.pss_mb, 1) if memory.pss_mb else None,
        "p50_ms": {name: latency.p50_ms for name, latency in series.items()},
        "p90_ms": {name: latency.p90_ms for name, latency in series.items() if latency.p90_ms is not None},
    }


def _peak_mb() -> float:
    """The kernel's high-water mark of this program. ``ru_maxrss`` would begin with what the process held that started it."""
    with suppress(OSError):
        if found := re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE):
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _function(dotted: str) -> Callable[[Bundle, Target], object]:
    module, _, name = dotted.partition(":")
    found: Any = getattr(importlib.import_module(module), name)
    return found


def main() -> None:
    """Arguments: the bundle, the target as JSON, what answers first, when the process was started. One line of JSON on stdout: ``Told`` or ``Failure``."""
    path, target, answer, started_s = sys.argv[1:]
    tell(lambda: start(Path(path), Target.model_validate_json(target), answer, float(started_s)))


if __name__ == "__main__":
    main()
