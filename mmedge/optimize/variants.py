"""A graph of a bundle once more in another precision, held against golden before it is kept: for runtimes that take their precision from the graph.

fp16: everything in half precision first, then more and more of it kept in fp32, until the outputs hold their bound (LADDER).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmedge import cache, onnx_file
from mmedge.bundle import Bundle, sha256_of
from mmedge.errors import MmedgeError, first_line
from mmedge.evaluate.drift import drift
from mmedge.evaluate.golden import Golden
from mmedge.manifest import File, Gate, Variant
from mmedge.optimize import fp16, rounding
from mmedge.optimize.half_weights import HalfWeights
from mmedge.runner import Graph
from mmedge.target import Precision
from mmedge.tensors import Feeds

HEADROOM = 4.0
"""Golden inputs are few: on others a value may be so much larger before it leaves fp16's range."""

SURE = 0.8
"""Of the bound: hardware adds up in another order, so a rung that only just holds is taken where no later one is better."""

NORMS = (
    *("LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization", "LpNormalization", "Softmax", "LogSoftmax"),
    *("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp", "CumSum"),
    *("GlobalAveragePool", "Pow", "Sqrt", "Reciprocal", "Exp", "Log"),
)
"""Sums over many values, and what squares, roots and exponents make of small differences."""

MOVES = (
    *("Cast", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Reshape", "ScatterElements", "ScatterND"),
    *("Slice", "Split", "Squeeze", "TensorScatter", "Tile", "Transpose", "Unsqueeze"),
)
"""Compute nothing: they stay in whatever they are given."""


@dataclass(frozen=True, slots=True)
class Rung:
    """What is kept in fp32 on one rung of the ladder."""

    method: str
    kept: Callable[[set[str]], set[str]]
    """Of the operators of a graph."""
    beyond: bool = False
    """And every node that meets a value near the end of fp16's range on golden inputs."""


LADDER = (
    Rung("fp16 throughout", lambda types: set()),
    Rung("fp16 but for norms, softmax and sums", lambda types: types & set(NORMS)),
    Rung("fp16 but for norms, softmax, sums and large values", lambda types: types & set(NORMS), beyond=True),
    Rung("fp16 only in matrix products and convolutions, without large values", lambda types: types - set(fp16.WEIGHTY) - set(MOVES), beyond=True),
)


def add_variant(bundle: Bundle, role: str, key: str, precision: Precision, golden: Golden) -> Variant | Gate:
    """Make a graph in another precision and store it in the bundle; the manifest is the caller's to change.

    Args:
        key: of the graph in ``manifest.models[role].graphs``. All forms of a model's graphs share one weights file per precision.

    Returns:
        The variant, the manifest's own where it has one; or the failed gate that says why there is none.
    """
    entry = bundle.manifest.models[role].graphs[key]
    if there := next((variant for variant in entry.variants if variant.precision == precision), None):
        return there
    name = f"{precision} {role}/{key}"
    if precision != "fp16":
        return Gate(name=name, passed=False, note=f"mmedge makes no {precision} graphs")
    graph = bundle.graph(role, key)
    with bundle.scratch() as scratch:
        try:
            weights = _weights(bundle, role, graph, scratch)
            return _climb(bundle, role, key, graph, golden.graph(key), weights, scratch)
        except MmedgeError as error:
            return Gate(name=name, passed=False, note=error.what)


def _climb(bundle: Bundle, role: str, key: str, graph: Graph, golden: tuple[Feeds, Feeds], weights: HalfWeights | None, scratch: Path) -> Variant | Gate:
    """The first rung of the ladder that surely holds, or the best that does."""
    types = {node.op_type for node in onnx_file.read(graph.path).graph.node}
    large: set[str] | None = None
    least, best, tried = math.inf, None, set[frozenset[str]]()
    for number, rung in enumerate(LADDER):
        if rung.beyond and large is None:
            large = _large(graph, golden[0], scratch)
        wanted = frozenset(rung.kept(types) | (large or set() if rung.beyond else set()))
        if wanted in tried:
            continue
        tried.add(wanted)
        out = scratch / f"{number}.onnx"
        made = fp16.half(graph.path, out, keep_float=wanted, weights=weights)
        if not made.nodes_half:
            break
        worst = held(out, *golden)
        if worst < least:
            least, best = worst, (out, made, rung)
        if least <= SURE:
            break
    if best is None or least > 1.0:
        note = "outside the bound even where only matrix products and convolutions are in fp16" if best else "no part of it can be in fp16"
        return Gate(name=f"fp16 {role}/{key}", passed=False, value=min(least, 1e9) if best else None, bound=1.0, note=note)
    out, made, rung = best
    file = bundle.add(role, f"{key}-fp16.onnx", out)
    stored = _stored(bundle, role, weights) if weights else None
    return Variant(precision="fp16", file=file, weights=stored, method=_method(rung, made), kept_float=made.kept_float, drift=least)


def _method(rung: Rung, made: fp16.Half) -> str:
    always = "positions, masks and caches" if made.reckoned and made.caches else "positions and masks" if made.reckoned else "caches" if made.caches else ""
    return rung.method + (f"; {always} in fp32" if always else "")


def held(path: Path, feeds: Feeds, reference: Feeds) -> float:
    """How far an fp16 graph's outputs are from golden as a fraction of the bound: the worse of onnxruntime's and of what is really stored.

    Infinite where a value is not finite, or would not be if all were ``HEADROOM`` times as large.

    Raises:
        MmedgeError: onnxruntime does not take the graph.
    """
    twin = path.with_name(f"rounded-{path.name}")
    try:
        worst = drift(rounding.run(path, feeds, optimise=True), reference, "fp16")[0]
        if worst <= 1.0:
            worst = max(worst, *(drift(found, reference, "fp16")[0] for found in rounding.stored(path, twin, feeds, 1.0, HEADROOM)))
    except MmedgeError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise MmedgeError(f"onnxruntime does not take the graph in fp16: {first_line(error)}", "leave it in fp32") from error
    return worst


def _large(graph: Graph, feeds: Feeds, scratch: Path) -> set[str]:
    if graph.weights:
        cache.link(graph.weights, scratch / graph.weights.name)
    found = rounding.peaks(graph.path, scratch / "peaks.onnx", feeds)
    return {name for name, peak in found.items() if peak * HEADROOM > fp16.HALF_MAX}


def _weights(bundle: Bundle, role: str, graph: Graph, scratch: Path) -> HalfWeights | None:
    """The fp16 form of the weights file that the model's graphs share, in the scratch folder under the name that it has in the bundle."""
    if graph.weights is None:
        return None
    graphs = bundle.manifest.models[role].graphs.values()
    made = HalfWeights([bundle.file(one.file) for one in graphs if one.weights and bundle.file(one.weights) == graph.weights])
    variants = [variant for one in graphs for variant in one.variants if variant.precision == "fp16" and variant.weights]
    if there := next((variant.weights for variant in variants if variant.weights and variant.weights.size_bytes == made.size_bytes), None):
        path = bundle.file(there)
        cache.link(path, scratch / path.name)
        return made.at(scratch / path.name)
    path = scratch / "weights"
    made.write(path)
    return made.at(path.rename(scratch / f"weights-fp16.{sha256_of(path)[:8]}.bin"))


def _stored(bundle: Bundle, role: str, weights: HalfWeights) -> File:
    assert weights.path is not None
    return bundle.add(role, "weights-fp16.bin", weights.path)
