"""How near a graph is to what the machine can do: the roofline model (Williams, Waterman and Patterson 2009) with a roof that is measured.

A run takes at least the time of its arithmetic at the fastest rate that any kernel reached, and at least the time of its compulsory traffic at the fastest
rate over a working set of its size. Kernels run through the same backend, options and threads as the graph.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mmedge.errors import MmedgeError
from mmedge.profile.flops import Work, work
from mmedge.profile.peaks import Measure, Peaks, Place, bandwidth, measure_kernels, peaks
from mmedge.profile.report import Latency, Roof
from mmedge.runner import Graph, load_backend
from mmedge.target import Precision, Target
from mmedge.tensors import Feeds

if TYPE_CHECKING:
    from mmedge.manifest import Placement

BITS: dict[Precision, int] = {"fp32": 32, "bf16": 16, "fp16": 16, "int8": 8, "int4": 4}
INTEGERS = ("int8", "int4")
WORTH = 1.05
"""Below this factor another precision buys nothing that could be measured."""


def roof(
    graph: Graph,
    feeds: Feeds,
    latency: Latency,
    placed: Placement,
    target: Target,
    *,
    count: Callable[[Graph, Feeds], Work] = work,
    measure: Measure = measure_kernels,
) -> Roof | None:
    """Hold a graph's median against the measured roof of this machine.

    Args:
        graph: in fp32, whose FLOPs count whatever it really runs as; of what was quantized, all are held to the roof of integers.
        latency: of calls in a closed loop.
        count, measure: how; tests have their own.

    Returns:
        None where the work cannot be counted (ONNX Runtime cannot run the graph), or where the backend computes nothing.
    """
    graph = _built(graph, placed)
    try:
        counted = count(graph, feeds)
    except MmedgeError:
        return None
    place = Place(placed.backend, "fp32" if BITS[placed.precision] < 16 else placed.precision, target, graph.size_bytes)
    whole = placed.precision if placed.made_of and placed.precision in INTEGERS else None
    now = least(counted, place, measure, whole=whole)
    if now and now.ms > latency.p50_ms:
        now = least(counted, place, measure, whole=whole, again=True)
    if now is None:
        return None
    believed = now.ms <= latency.p50_ms
    said = [] if believed else ["the graph was faster than the roof, also when that was measured again: its share is not known"]
    said += [f"the roof may be too low: while it was measured, {now.crowded}"] if now.crowded else []
    said += [f"not counted: {', '.join(counted.unknown)}"] if counted.unknown else []
    said += ["all of it is held to the roof of int8, and some of it may run in fp32"] if whole else []
    return Roof(
        flops=counted.flops,
        bytes=now.bytes,
        gflops_s=round(now.gflops_s, 2),
        gb_s=round(now.gb_s, 2),
        least_ms=round(now.ms, 5),
        percent=round(100 * now.ms / latency.p50_ms, 1) if believed else None,
        bound="compute" if now.compute_ms > now.traffic_ms else "bandwidth",
        next="; ".join([*said, _next(counted, placed, place, now, measure)]),
    )


def _built(graph: Graph, placed: Placement) -> Graph:
    """What the runtime opens, where that is an ONNX file of its own: it lies beside the graph it was made from."""
    if placed.file is None or not placed.file.path.endswith(".onnx"):
        return graph
    return dataclasses.replace(graph, path=graph.path.with_name(PurePosixPath(placed.file.path).name), sha256=placed.file.sha256, weights=None)


@dataclass(frozen=True, slots=True)
class Least:
    """The time that a roof allows for one run."""

    bytes: int
    compute_ms: float
    traffic_ms: float
    gflops_s: float
    """Over all its FLOPs, whatever they are computed in."""
    gb_s: float
    crowded: str = ""
    """As in ``Peaks``."""

    @property
    def ms(self) -> float:
        return max(self.compute_ms, self.traffic_ms)


def least(counted: Work, place: Place, measure: Measure, *, whole: Precision | None = None, again: bool = False) -> Least | None:
    """What the machine allows: products of integers at the roof of int8, all others at that of the place's precision.

    Args:
        whole: all of the graph in this precision instead.
        again: the roof was too low: measure it with more effort.

    Returns:
        None where no kernel runs there.
    """
    small = counted.flops if whole in INTEGERS else counted.integer_flops
    main = peaks(place, place.precision, measure, again=again)
    integer = peaks(place, "int8", measure, again=again) if small else None
    if main is None or not main.gb_s or (whole in INTEGERS and integer is None):
        return None
    # A runtime in half precision keeps its weights so, whatever the file has.
    size = counted.bytes - counted.float_weights + counted.float_weights * BITS[whole or place.precision] // 32
    compute_ms = ((counted.flops - small) / _fastest(main) + small / _fastest(integer or main)) / 1e6
    gb_s = bandwidth({**main.gb_s, **(integer.gb_s if integer else {})}, size)
    gflops_s = counted.flops / compute_ms / 1e6 if compute_ms else _fastest(main)
    return Least(size, compute_ms, size / gb_s / 1e6, gflops_s, gb_s, main.crowded or (integer.crowded if integer else ""))


def _fastest(found: Peaks) -> float:
    return max(found.gflops_s.values())


def _next(counted: Work, placed: Placement, place: Place, now: Least, measure: Measure) -> str:
    """What the next lower precision would buy at most."""
    features = load_backend(placed.backend).probe().features
    allowed = [one for one in BITS if one in place.target.precisions.get(placed.backend, ()) and BITS[one] < BITS[placed.precision]]
    lower = next((one for one in allowed if BITS[one] < 16 or not features or one in features), None)
    if lower is None:
        return f"what a precision below {placed.precision} would buy is not known: {place.target.name} has none for {placed.backend} here"
    there = place if BITS[lower] < 16 else dataclasses.replace(place, precision=lower)
    then = least(counted, there, measure, whole=lower) if lower != "int4" else None
    if then is None:
        return f"what {lower} would buy is not known: its roof cannot be measured here"
    means = f"{lower} for all of it" if lower == "int8" else lower
    roofs = f"its roof is {then.gflops_s:.1f} GFLOP/s, {then.gb_s:.1f} GB/s"
    factor = now.ms / then.ms if then.ms else 1.0
    return f"{means} would be {factor:.2f} times as fast at most ({roofs})" if factor >= WORTH else f"{means} would buy nothing ({roofs})"
