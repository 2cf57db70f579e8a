"""What can be known of an engine where its device is not: NVIDIA's own lists, parser and builder, each named for what it is.

TensorRT-RTX parses and builds without a GPU. It is another product than the TensorRT of a Jetson, and newer than most: what it takes is no evidence for a
board, and what it refuses none against it (it lacks NonZero, which the list of TensorRT 10.0 has). For those there are only NVIDIA's lists of operators and
opsets, release by release, so these decide; a refusal of TensorRT-RTX is told as a doubt. The board's own TensorRT has the last word when the bundle is
compiled there, and what it refuses goes to the target's next backend.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmedge import onnx_file
from mmedge.backends.tensorrt import flavour as flavours
from mmedge.backends.tensorrt import store
from mmedge.backends.tensorrt.build import NotInPrecision, Refused, build, profile_shapes
from mmedge.backends.tensorrt.network import parse
from mmedge.backends.tensorrt.progress import Shown
from mmedge.backends.tensorrt.published import objections
from mmedge.backends.tensorrt.refusals import Refusal
from mmedge.backends.tensorrt.versions import RTX_CAPABILITIES, TENSORRT, Row
from mmedge.deploy.plan import setups
from mmedge.errors import MmedgeError
from mmedge.manifest import Evidence, Placement
from mmedge.runner import Candidate, Graph
from mmedge.target import Target

CAPABILITY = "8.6"
"""What TensorRT-RTX builds for where the target leaves it open: the oldest that it takes by itself, and the kin of Orin's 8.7, for which it cannot."""

LISTED = 2
"""So many refused operators are quoted; what they have in common shows by then."""


@dataclass(frozen=True)
class Preflight:
    """What was found out about one candidate."""

    refused: str = ""
    """Why the target's TensorRT does not take it, in NVIDIA's words; empty where nothing speaks against it."""
    doubt: str = ""
    """Why TensorRT-RTX does not take it, where the target's is another TensorRT, and NVIDIA's lists for that have nothing against it."""
    evidence: tuple[Evidence, ...] = ()
    note: str = ""
    """What the evidence is, or why there is none."""
    key: dict[str, str] = field(default_factory=dict)
    """What the evidence is bound to; empty without any."""
    engine: Any = None
    """The engine as a buffer, where one was built now."""


def preflight(name: str, candidate: Candidate, target: Target, before: Placement | None) -> Preflight:
    """Hold a candidate against NVIDIA's lists for the target's boards, and parse and build it with TensorRT-RTX where that is installed.

    Args:
        name: ``ROLE/GRAPH``, to show what is being built.
        before: the graph's placement so far: what was built under the same key is not built again.

    Raises:
        MmedgeError: the file is no ONNX, or a dimension has no range.
    """
    if against := listed_against(candidate.graph, target):
        return Preflight(refused=against)
    shapes = profile_shapes(candidate.graph)
    try:
        rtx = flavours.title("rtx")
    except MmedgeError as error:
        return Preflight(note=f"{on_lists(target)}not parsed here: {error.what} ({error.fix})")
    capability = evidence_for(target)
    key = store.key(candidate, _as_rtx(target), capability=capability)
    if before and before.key == key and before.evidence:
        return Preflight(evidence=before.evidence, key=key, note=f"{on_lists(target)}{rtx} builds it")
    with contextlib.closing(Shown(f"{name} {candidate.precision}")) as shown:
        try:
            made = build(
                candidate.graph,
                candidate.precision,
                flavour="rtx",
                shapes=shapes,
                capability=capability,
                workspace_mb=store.workspace_mb(target),
                progress=shown,
            )
        except NotInPrecision as error:
            return Preflight(refused=error.what)
        except MmedgeError as error:
            why = f"{rtx} does not take it: {words(error.refusals)}" if isinstance(error, Refused) else error.what
            return Preflight(refused=why) if flavours.flavour(target) == "rtx" else Preflight(doubt=why, note=doubted(target, why))
    layers = ", ".join(f"{count} in {precision}" for precision, count in made.layers.most_common())
    size_mb, share = made.size_bytes / 1e6, made.size_bytes / max(_weights(candidate.graph), 1)
    said = f"{size_mb:.1f} MB in {made.seconds:.1f} s, {share:.2f} times its weights; layers: {layers}"
    if others := [one for one in target.compute_capability if one not in RTX_CAPABILITIES]:
        said += f"; it builds nothing for the target's own {' and '.join(others)}"
    evidence = Evidence(kind="built", on=f"{rtx} for compute capability {capability}, without a GPU", note=said)
    return Preflight(evidence=(evidence,), key=key, note=f"{on_lists(target)}{rtx} builds it", engine=made.engine)


def evidence_for(target: Target) -> str:
    """The compute capability that TensorRT-RTX builds for as evidence: one of the target's where it knows any."""
    known = [one for one in target.compute_capability if one in RTX_CAPABILITIES]
    return CAPABILITY if CAPABILITY in known or not known else known[0]


def doubted(target: Target, why: str) -> str:
    """What a placement says where NVIDIA's lists and TensorRT-RTX differ."""
    return f"{on_lists(target)}they decide here, and the device's own TensorRT there; {why}"


def parser() -> str:
    """The parser that can be asked here; empty where there is none."""
    try:
        return flavours.title("rtx")
    except MmedgeError:
        return ""


def asked(graph: Graph, target: Target) -> str:
    """What NVIDIA would say to a graph that its family leaves to another backend."""
    if against := listed_against(graph, target):
        return against
    try:
        rtx, parsed = flavours.title("rtx"), parse(graph, "rtx")
    except MmedgeError:
        return ""
    return on_lists(target) + (f"{rtx} would not take it: {words(parsed.refusals)}" if parsed.refusals else f"{rtx} would take it")


def listed_against(graph: Graph, target: Target) -> str:
    """What NVIDIA's lists have against a graph on the target's boards; empty where nothing.

    Raises:
        MmedgeError: the file is no ONNX.
    """
    known = versions(target)
    model = onnx_file.read(graph.path) if known else None
    for version in known:
        if found := objections(model, version):
            return f"NVIDIA's lists for TensorRT {version} lack it: {words(found)}"
    return ""


def versions(target: Target) -> tuple[str, ...]:
    """The oldest TensorRT of each kind that the target's machines may have. None for TensorRT-RTX, which itself can be asked."""
    if flavours.flavour(target) == "rtx":
        return ()
    return tuple(_oldest(target, row) for row in TENSORRT if not target.boards or set(row.boards) & set(target.boards))


def on_lists(target: Target) -> str:
    """That a graph keeps to NVIDIA's lists, which proves nothing yet."""
    known = versions(target)
    return f"on NVIDIA's lists for TensorRT {', '.join(known)}; " if known else ""


def words(refusals: Sequence[Refusal]) -> str:
    """The first complaint about each operator, at most ``LISTED`` of them, and how many more there are."""
    first = {one.operator: one for one in reversed(refusals)}
    told = [one for one in refusals if first[one.operator] is one][:LISTED]
    more = len(refusals) - len(told)
    return "; ".join(map(str, told)) + (f"; and {more} more" if more else "")


def _oldest(target: Target, row: Row) -> str:
    """Of what comes with a release for the target's boards; where none is known, of the row."""
    known = [one.tensorrt for one in setups(target, row) if one.tensorrt]
    return min(known, key=lambda one: tuple(map(int, one.split("."))), default=row.low)


def _as_rtx(target: Target) -> Target:
    own = {**target.options.get("tensorrt", {}), "flavour": "rtx", "trtexec": False}  # trtexec builds on the device
    options = {**target.options, "tensorrt": own}
    return target.model_copy(update={"options": options, "compute_capability": ()})


def _weights(graph: Graph) -> int:
    """Bytes of all that a graph holds, wherever it lies."""
    model = onnx_file.read(graph.path)
    return sum(onnx_file.size_bytes(tensor) for one in onnx_file.graphs(model.graph) for tensor in one.initializer)
