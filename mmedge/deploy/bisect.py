"""Where a target's results leave the reference: the first graph, and in it the first layer, whose output is beyond its bound.

The reference is the fp32 graph in ONNX Runtime with all optimisations off. A graph that drifts is cut after some node, the first part is compiled as the whole
was, and all that it hands on is compared; which half to look at next follows from that. A graph of a thousand nodes takes ten cuts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from mmedge.bundle import Bundle
from mmedge.deploy.sides import Sides, drift_of, exact
from mmedge.deploy.standards import INTEGERS, outputs_for
from mmedge.documents import Document
from mmedge.errors import GateFailed, MmedgeError
from mmedge.evaluate.drift import FP32_BOUND, HALF_BOUND, Kind
from mmedge.evaluate.golden import Golden
from mmedge.profile.modules import Modules
from mmedge.target import Target

Report = Callable[[str], None]
GROWN = 0.5
"""Inputs beyond this share of the bound: the drift has grown over many layers, and the one that crosses the bound is not its cause."""
QUANTIZE = "quantize the model again here: mmedge quantize"


class Compared(Document):
    """One graph as it was placed."""

    graph: str
    backend: str
    precision: str
    drift: float
    """Of its worst output, as a fraction of its bound."""
    outputs: dict[str, float]


class Probe(Document):
    """One cut."""

    nodes: int
    """So many of the graph's nodes came before it."""
    drift: float
    """The worst of all that those hand on."""


class Layer(Document):
    """The node whose output is beyond its bound, while all that was handed on before it is within."""

    graph: str
    node: str
    operator: str
    module: str | None
    """The torch module that it came from, where the exporter left its name."""
    tensor: str
    """Its output."""
    drift: float
    """As a fraction of its bound."""
    kind: Kind
    bound: float
    """Of ``relative_l2``; of ``max_abs`` it is this times max(1, max|reference|)."""
    inputs: dict[str, float]
    """Drift of what it reads."""
    verified: bool
    """Looked at once more, in one run: its inputs are within the bound, its output is not."""
    note: str


class Bisection(Document):
    """Schema ``mmedge.bisection/1``."""

    schema_: Literal["mmedge.bisection/1"] = Field(default="mmedge.bisection/1", alias="schema")
    bundle: str
    target: str
    graphs: tuple[Compared, ...]
    """Up to the first that is beyond its bound."""
    first: Layer | None
    """Null: no graph is beyond its bound, or ``note`` says why no layer can be named."""
    probes: tuple[Probe, ...] = ()
    note: str = ""

    @property
    def drifts(self) -> bool:
        """Whether a graph is beyond its bound."""
        return any(compared.drift > 1.0 for compared in self.graphs)


def bisect(path: Path, target: Target, report: Report) -> Bisection:
    """Find the first layer that drifts. The bundle stays as it is.

    Raises:
        MmedgeError: not compiled for the target, or only to be compiled on the device; a damaged bundle; a runtime refuses a part of a graph.
    """
    if target.backends == ("null",):
        raise MmedgeError("null computes nothing: there is no drift to look for", "name a target that computes: mmedge targets")
    compared: list[Compared] = []
    first: Layer | None = None
    probes: tuple[Probe, ...] = ()
    note = ""
    with Bundle.writing(path) as bundle, bundle.scratch() as scratch:
        for role, name in [(role, name) for role, model in bundle.manifest.models.items() for name in model.graphs_for(target).values()]:
            feeds = Golden(bundle, role).graph(name)[0]
            compared.append(_compare(bundle, role, name, target))
            report(f"{role}/{name}: {compared[-1].drift:.2%} of its bound")
            if compared[-1].drift > 1.0 and compared[-1].precision in INTEGERS and bundle.placement(role, name, target).made_of:
                note = f"no layer of {role}/{name} can be named: of what it gave when it was quantized only the outputs are known; {QUANTIZE}"
                break
            if compared[-1].drift > 1.0:
                backend, engine = bundle.engine(role, name, target)
                sides = Sides(bundle.made_of(role, name, None), backend, engine.candidate, target, feeds, scratch)
                first, probes, note = _search(f"{role}/{name}", sides, report)
                break
    return Bisection(bundle=str(path), target=target.name, graphs=tuple(compared), first=first, probes=probes, note=note)


def describe(made: Bisection) -> str:
    """The result as text."""
    lines = [f"{one.graph}: {one.drift:.2%} of its bound on {made.target}, {one.backend} {one.precision}" for one in made.graphs]
    if made.first is None:
        return "\n".join([*lines, made.note or f"no graph of {made.bundle} is beyond its bound on {made.target}"])
    first = made.first
    module = f", module {first.module}" if first.module else ""
    bound = f"{first.bound:g} x max(1, max|reference|)" if first.kind == "max_abs" else f"a relative L2 of {first.bound:g}"
    lines += ["", f"first layer beyond its bound: {first.node} ({first.operator}{module}) in {first.graph}"]
    lines.append(f"  its output {first.tensor}: {first.drift:.4g} times the bound, {bound}")
    lines += [f"  its input {name}: {drift:.4g}" for name, drift in first.inputs.items()]
    return "\n".join([*lines, f"  {first.note}"])


def drifted(made: Bisection) -> GateFailed:
    """The error of a bisection that found a graph beyond its bound."""
    graph = made.graphs[-1]
    where = f", first at {made.first.node} ({made.first.operator})" if made.first else ""
    fix = "keep that layer in fp32, or take another runtime or precision for the graph" if made.first else made.note
    return GateFailed(f"{graph.graph} drifts on {made.target}{where}: {graph.drift:.4g} times its bound, {graph.backend} {graph.precision}", fix)


def _compare(bundle: Bundle, role: str, name: str, target: Target) -> Compared:
    """The engine as it is, over the golden inputs."""
    placed, (feeds, golden) = bundle.placement(role, name, target), Golden(bundle, role).graph(name)
    own = outputs_for(bundle, role, name, placed, golden)
    with bundle.runner(role, name, target) as opened:
        expected = own.expected if own.by else exact(bundle.made_of(role, name, None).path, feeds)
        found = drift_of(opened.run(feeds), expected, placed.precision)
    return Compared(graph=f"{role}/{name}", backend=placed.backend, precision=placed.precision, drift=max(found.values()), outputs=found)


def _search(graph: str, sides: Sides, report: Report) -> tuple[Layer | None, tuple[Probe, ...], str]:
    """The layer, the cuts that led to it, and why there is none.

    All that a cut hands on is compared, so a drift anywhere before it is seen, unless what came after has healed it: then a later crossing is found, which is
    one all the same, since what was handed on before it is within the bound.
    """
    maker, probes = sides.here.maker, list[Probe]()

    def beyond(nodes: int) -> dict[str, float]:
        found = sides.drift(sides.handed_on(nodes))
        probes.append(Probe(nodes=nodes, drift=max(found.values(), default=0.0)))
        report(f"{graph}: {nodes} of {len(sides.here.nodes)} nodes, {probes[-1].drift:.2%} of the bound")
        return {name: value for name, value in found.items() if value > 1.0}

    low, high = 0, len(sides.here.nodes)
    drifting = beyond(high)
    if not drifting:
        return None, tuple(probes), f"{graph} drifts as it was compiled, but not where it is compiled again now: compile the bundle again"
    while high - low > 1:
        middle = (low + high) // 2
        if found := beyond(middle):
            high, drifting = middle, found
        else:
            low = middle
    tensor = min(drifting, key=lambda name: (maker[name] < low, maker[name]))
    return _layer(graph, sides, tensor, drifting), tuple(probes), ""


def _layer(graph: str, sides: Sides, tensor: str, drifting: Mapping[str, float]) -> Layer:
    """Name the node that makes ``tensor``, and look at it once more together with what it reads."""
    inputs, operators = sides.inputs(tensor)
    found = sides.drift([*inputs, tensor])
    node = sides.reference.nodes[sides.reference.maker[tensor]]
    worst = max((found.get(name, 0.0) for name in inputs), default=0.0)
    if found[tensor] <= 1.0:
        note = "looked at together with its inputs, it is within the bound: the drift comes of what the runtime does between them, fusing or rounding"
    elif worst > 1.0:
        note = "looked at together with its inputs, they are beyond the bound too: the drift depends on what the runtime fuses around them"
    elif worst > GROWN:
        note = f"its inputs are at {worst:.2%} of the bound: the drift has grown over the layers before it, and crosses the bound here"
    else:
        note = "its inputs are within the bound"
    if len(operators) > 1:
        note += f"; in {sides.precision} it is {', '.join(operators)}"
    kind: Kind = "max_abs" if sides.precision == "fp32" else "relative_l2"
    module = Modules.read(sides.reference.graph.path).made.get(tensor)
    return Layer(
        graph=graph,
        node=node.name or f"(no name, makes {tensor})",
        operator=node.op_type,
        module=module.module if module else None,
        tensor=tensor,
        drift=drifting[tensor],
        kind=kind,
        bound=FP32_BOUND if kind == "max_abs" else HALF_BOUND,
        inputs={name: found[name] for name in inputs if name in found},
        verified=found[tensor] > 1.0 >= worst,
        note=note,
    )
