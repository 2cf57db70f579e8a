"""NVIDIA's TensorRT, and TensorRT for RTX: one backend for both. Never run on a GPU so far: engines were built, and none was opened."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge import cache
from mmedge.backends.tensorrt import build, device, store, trtexec
from mmedge.backends.tensorrt import flavour as flavours
from mmedge.backends.tensorrt.profiling import operated
from mmedge.backends.tensorrt.progress import Shown
from mmedge.backends.tensorrt.runner import TensorrtRunner
from mmedge.errors import MmedgeError
from mmedge.need import NotInstalled
from mmedge.runner import Candidate, Engine, Facts, Graph, Operated
from mmedge.tensors import Feeds

if TYPE_CHECKING:
    from mmedge.target import Target


def probe(target: Target | None = None) -> Facts:
    """What is installed, and whether there is a GPU for it: only there an engine can be opened."""
    asked = flavours.FLAVOURS if target is None else (flavours.flavour(target),)
    installed, broken = [], None
    for flavour in asked:
        try:
            installed.append(flavours.title(flavour))
        except NotInstalled:
            pass
        except MmedgeError as error:
            broken = broken or error
    if not installed:
        none = f"{flavours.NAMES[asked[0]]} is not installed" if target else "neither TensorRT nor TensorRT-RTX is installed"
        missing = broken or MmedgeError(none, flavours.INSTALL[asked[0]])
        return Facts(False, reason=missing.what, fix=missing.fix)
    version = ", ".join(installed)
    try:
        gpu = f"a GPU of compute capability {device.compute_capability()}, CUDA {device.cuda_version()}"
    except MmedgeError as error:
        return Facts(False, version=version, reason=f"{version} is installed, but no GPU can be used: {error.what}", fix=error.fix)
    return Facts(True, version=version, reason=gpu)


def free_mb() -> int:
    """Of the GPU's memory; a Jetson's is the board's own. Raises MmedgeError: there is no GPU."""
    return device.memory().free_mb


def options(target: Target) -> flavours.Options:
    """Raises MmedgeError: the target's options are wrong."""
    return flavours.options(target)


def candidates(graph: Graph, target: Target) -> list[Candidate]:
    """One for each precision of the target that the graph is there in: an engine computes in what the graph says."""
    wanted = target.precisions.get("tensorrt", ("fp32",))
    made = [Candidate(graph if one == "fp32" else graph.variants[one], one) for one in wanted if one == "fp32" or one in graph.variants]
    missing = [one for one in wanted if one != "fp32" and one not in graph.variants]
    note = f"the bundle holds it in no {' and no '.join(missing)}" if missing else ""
    return [Candidate(one.graph, one.precision, note=note) for one in made]


def compile(candidate: Candidate, target: Target, out: Path) -> Engine:
    """The engine that was kept, else one that is built now. A second process that wants the same waits for the first.

    It is kept, unless the candidate's option ``throwaway`` says that nobody will ask for it again.
    """
    key = store.key(candidate, target)
    path = out / f"{candidate.graph.path.name.partition('.')[0]}-{candidate.precision}.plan"
    path.unlink(missing_ok=True)
    with cache.locked(store.lock(key), lambda _: _say("waiting for another process that builds this engine")) as scratch:
        kept = store.find(key)
        if kept is None:
            engine = _built(candidate, target, key, scratch)
            if candidate.options.get(store.THROWAWAY):
                store.write(engine, path)
                return Engine(candidate, path)
            kept = store.keep(key, engine)
    cache.link(kept, path)
    return Engine(candidate, path)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _built(candidate: Candidate, target: Target, key: store.Key, scratch: Path) -> Any:
    """An engine, as bytes or as a file in ``scratch``."""
    graph, flavour = candidate.graph, flavours.flavour(target)
    if flavours.options(target).trtexec:
        return _built_by_program(candidate, target, key, scratch)
    with contextlib.closing(Shown(f"{graph.path.name} {candidate.precision}")) as shown:
        made = build.build(
            graph,
            candidate.precision,
            flavour=flavour,
            shapes=build.profile_shapes(graph),
            capability=key["compute_capability"],
            workspace_mb=store.workspace_mb(target),
            timing_cache=store.timing_cache(key),
            progress=shown,
        )
    return made.engine


def _built_by_program(candidate: Candidate, target: Target, key: store.Key, scratch: Path) -> Path:
    """Raises MmedgeError as ``trtexec.build`` does, or where its engines could not be opened."""
    program, module = key["tensorrt"], flavours.version("tensorrt")
    if module and program.split(".")[:3] != module.split(".")[:3]:
        raise MmedgeError(
            f"trtexec is of TensorRT {program}, the Python module is {module}, which opens only its own engines",
            "set TRTEXEC to the program of that version, or compile without --trtexec",
        )
    made = trtexec.build(
        candidate.graph,
        candidate.precision,
        scratch / "engine.plan",
        shapes=build.profile_shapes(candidate.graph),
        workspace_mb=store.workspace_mb(target),
        timing_cache=store.timing_cache(key),
        tensorrt=program,
    )
    return made.path


def open(engine: Engine, target: Target) -> TensorrtRunner:
    return _opened(engine, target, cuda_graph=True)


def operators(engine: Engine, target: Target, feeds: Feeds, runs: int) -> Operated:
    """By TensorRT's own profiler, which sees nothing of what runs as a CUDA graph."""
    with _opened(engine, target, cuda_graph=False) as runner:
        return operated(runner, feeds, runs)


def _opened(engine: Engine, target: Target, *, cuda_graph: bool) -> TensorrtRunner:
    graph = engine.candidate.graph
    if engine.path is None:
        raise MmedgeError(f"there is no engine of {graph.path.name} yet", f"on the device: mmedge compile BUNDLE --target {target.name}")
    store.hold_to(engine.key, engine.path.name, target)
    return TensorrtRunner(engine.path, graph, flavours.flavour(target), cuda_graph=cuda_graph)
