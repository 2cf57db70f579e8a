"""What may be tried for a graph on a target: what its backends offer, and what makers make of it by the target's quantize tables, each made once."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from mmedge import cache
from mmedge.bundle import sha256_of
from mmedge.documents import Document, dump_json, read_json
from mmedge.errors import MmedgeError
from mmedge.family import offered
from mmedge.features import cpu_flags
from mmedge.need import NotInstalled
from mmedge.optimize import feeding, proto, sensitivity
from mmedge.optimize.integer import weights_of
from mmedge.optimize.made import WORTH, Made, maker, own_bytes
from mmedge.optimize.nvidia_half import VARIANT
from mmedge.optimize.opening import runs_here
from mmedge.optimize.steps import step, versions
from mmedge.optimize.work import Work
from mmedge.quantization import Quantize, Static, WeightOnly, name_of
from mmedge.runner import Candidate, Graph, backend_names, load_backend
from mmedge.target import Precision

TOOLS = {"ort": ("onnxruntime", "onnx", "numpy"), "openvino": ("openvino", "nncf", "numpy"), "tensorrt": ("onnxruntime", "onnx", "numpy")}
"""Backend -> the packages that have a part in the graphs that are made for it."""

IN_INTEGERS = 0.25
"""What is left of the bytes of what is not kept in fp32."""

OUTPUT_MATRIX = "output-matrix"
"""The method of onnxruntime's own candidate in 8 bits."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """One candidate before anything is known of it."""

    name: str
    backend: str
    precision: Precision
    candidate: Candidate | None = None
    """None: there is none, for what ``refusal`` says."""
    made: Made | None = None
    """Where a maker made its graph."""
    options: Quantize | None = None
    """By what it was made."""
    refusal: str = ""
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """Keeps its files from being removed: whoever is done with it closes that."""


class Kept(Document):
    """What a maker has made, or why it refused."""

    refusal: str = ""
    file: str = ""
    """By its name in the step's folder."""
    weights: str | None = None
    sha256: str = ""
    weights_sha256: str = ""
    precision: Precision = "fp32"
    method: str = ""
    kept_float: tuple[str, ...] = ()
    integer: int = 0
    seconds: float = 0.0


def proposals(work: Work, key: str, *, fewer_bits: bool = True) -> Iterator[Proposal]:
    """The candidates of a graph, in order of preference: each is made when it is asked for.

    Args:
        key: of the graph in the manifest.
        fewer_bits: also those below 16 bits, which only data can judge.
    """
    name = next(name for name, one in work.keys.items() if one == key)
    graph = work.bundle.graph(work.role, key)
    for backend in offered(work.bundle.manifest.models[work.role].family, name, work.target):
        if refusal := _lacking(backend, work):
            precisions = work.target.precisions.get(backend, ("fp32",))
            yield from (Proposal(f"{backend} {one}", backend, one, refusal=refusal) for one in precisions)
            continue
        for candidate in load_backend(backend).candidates(graph, work.target):
            if candidate.precision not in ("int8", "int4"):
                yield Proposal(f"{backend} {candidate.precision}", backend, candidate.precision, candidate)
            elif fewer_bits:
                yield _compiled(work, backend, candidate)
        for options in work.target.quantize.get(backend, ()) if fewer_bits else ():
            yield make(work, key, backend, options)


def make(work: Work, key: str, backend: str, options: Quantize, keep: Sequence[str] = ()) -> Proposal:
    """A graph by one method, with some of its nodes left in fp32; a refusal is part of the answer."""
    graph = work.bundle.graph(work.role, key)
    needs_feeds = isinstance(options, Static)

    def made(folder: Path) -> Made:
        work.report(f"{work.role}/{key}: {backend} {name_of(options)} is made" + (f", nodes in float: {len(keep)}" if keep else ""))
        return maker(backend, options).make(graph, feeding.feeding(work, key), folder, options, frozenset(keep))

    depends = {"options": options.model_dump(mode="json"), "keep": sorted(keep), "feeds": [feeding.key(work), key] if needs_feeds else None}
    if backend == "tensorrt" and (half := graph.variants.get(VARIANT)):
        depends["half"] = _sha256s(half)
    least: Precision = "int4" if isinstance(options, WeightOnly) and options.bits == 4 else "int8"
    return replace(_made(graph, backend, name_of(options), least, depends, made), options=options)


def ranked(work: Work, key: str, backend: str, options: Quantize) -> tuple[str, ...]:
    """The nodes that a method quantizes and that may stay in float, those first that lose most by it. Raises MmedgeError: the tool refuses the graph."""
    graph = work.bundle.graph(work.role, key)

    def rank(folder: Path) -> None:
        found = sensitivity.rank(graph, backend, options, feeding.feeding(work, key))
        (folder / "nodes").write_text("\n".join(found), encoding="utf-8")

    depends = {"graph": _sha256s(graph), "options": options.model_dump(mode="json"), "feeds": [feeding.key(work), key], "flags": list(cpu_flags())}
    with step("ranked", {**depends, "backend": backend, **versions(*TOOLS[backend])}, rank) as folder:
        found = (folder / "nodes").read_text(encoding="utf-8").splitlines()
    stay = indispensable(graph)
    return tuple(node for node in found if node not in stay)


def indispensable(graph: Graph) -> frozenset[str]:
    """Nodes whose weights are so much of a graph (a decoder's vocabulary) that in fp32 they alone make it not worth its bytes."""
    model = proto.load(graph, filled=False)
    size_bytes = {tensor.name: 4 * prod(tensor.dims) for tensor in model.graph.initializer}
    least = (WORTH - IN_INTEGERS) / (1 - IN_INTEGERS) * own_bytes(graph)
    return frozenset(node for node, weight in weights_of(model).items() if size_bytes[weight] > least)


def _lacking(backend: str, work: Work) -> str:
    """Why a backend offers nothing here; empty where it does. NVIDIA's graphs can be made and judged without a GPU."""
    if backend not in backend_names():
        return f"this version of mmedge has no {backend} backend"
    return "" if backend == "tensorrt" or runs_here(backend, work.target) else load_backend(backend).probe(work.target).reason


def _compiled(work: Work, backend: str, candidate: Candidate) -> Proposal:
    """A candidate that its backend makes a file of when it is compiled: from then on it is opened as it is."""
    graph = candidate.graph

    def made(folder: Path) -> Made:
        path = load_backend(backend).compile(candidate, work.target, folder).path
        assert path is not None
        weights = folder / graph.weights.name if graph.weights else None
        return Made(path, weights, candidate.precision, OUTPUT_MATRIX, (), 1, 0.0)

    return _made(graph, backend, OUTPUT_MATRIX, candidate.precision, {"options": OUTPUT_MATRIX}, made)


def _made(graph: Graph, backend: str, method: str, precision: Precision, depends: dict[str, Any], made: Callable[[Path], Made]) -> Proposal:
    key = {"graph": _sha256s(graph), "backend": backend, **depends, "flags": list(cpu_flags()), **versions(*TOOLS[backend])}
    name = f"{backend} {method}"
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(step("made", key, partial(_keep, made)))
        except NotInstalled as error:
            return Proposal(name, backend, precision, refusal=f"{error.what}: {error.fix}")
        kept = read_json(folder / KEPT, Kept, fix="")
        if kept.refusal:
            return Proposal(name, backend, precision, refusal=kept.refusal)
        held = stack.pop_all()
    weights = folder / kept.weights if kept.weights else None
    found = Made(folder / kept.file, weights, kept.precision, kept.method, kept.kept_float, kept.integer, kept.seconds)
    opened = replace(graph, path=found.file, sha256=kept.sha256, weights=weights, weights_sha256=kept.weights_sha256, variants={}, precision=kept.precision)
    return Proposal(name, backend, kept.precision, Candidate(opened, kept.precision), found, held=held)


KEPT = "made.json"


def _keep(made: Callable[[Path], Made], folder: Path) -> None:
    """Make, and write down what was made; a refusal is kept as well: it may take as long."""
    try:
        found = made(folder)
    except (NotInstalled, cache.NoSpace):
        raise
    except MmedgeError as error:
        kept = Kept(refusal=error.what)
    else:
        kept = Kept(
            file=found.file.name,
            weights=found.weights.name if found.weights else None,
            sha256=sha256_of(found.file),
            weights_sha256=sha256_of(found.weights) if found.weights else "",
            precision=found.precision,
            method=found.method,
            kept_float=found.kept_float,
            integer=found.integer,
            seconds=found.seconds,
        )
    wanted = {kept.file, kept.weights}
    for left in folder.iterdir():  # what a tool has left beside
        if left.name not in wanted:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    (folder / KEPT).write_text(dump_json(kept), encoding="utf-8")


def _sha256s(graph: Graph) -> list[str]:
    return [graph.sha256, graph.weights_sha256]
