"""The fastest that kernels of one precision run here, measured once for each machine, runtime and way of opening graphs."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from mmedge.errors import MmedgeError
from mmedge.profile import kernels
from mmedge.profile.kept import Kept, keep, recall
from mmedge.profile.machine import Reading, machine
from mmedge.profile.readings import watch
from mmedge.profile.verdict import CROWDED, STOLEN
from mmedge.runner import load_backend
from mmedge.target import Precision, Target

EFFORT_S, SECOND_EFFORT_S = 0.1, 0.5
"""For each kernel; the second where a graph was faster than its roof."""
EDITION = "2"
"""Of the kernels: another one, and what was kept is measured again."""

AGAIN_S = 600.0
"""What was measured while others used the machine is measured again, but not for every graph of a bundle."""

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Giga a second, of FLOPs or bytes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where kernels run: as a graph does."""

    backend: str
    precision: Precision
    """As they are opened: int8 kernels are files of their own for a runtime that computes the rest in float."""
    target: Target
    size_bytes: int
    """Of the graph: backends choose threads by it."""


class Peaks(Kept):
    """What kernels reached."""

    gflops_s: dict[str, Rate] = Field(min_length=1)
    """Of each kernel that is bound by arithmetic."""
    gb_s: dict[str, Annotated[dict[int, Rate], Field(min_length=1)]]
    """Of each kernel that is bound by memory: working set in bytes -> its rate."""
    crowded: str = ""
    """Who else used the machine meanwhile: then the rates may be too low."""
    at_s: float
    """When, since 1970."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement, in the units of ``Peaks``; empty where the backend takes no such kernel."""

    gflops_s: dict[str, float]
    gb_s: dict[str, dict[int, float]]
    crowded: str = ""


Measure = Callable[[Place, Precision, float], Measured]
"""(where, precision of the kernels, seconds for each)."""


def peaks(place: Place, precision: Precision, measure: Measure, *, again: bool = False, now_s: Callable[[], float] = time.time) -> Peaks | None:
    """What kernels of ``precision`` reach: as it was kept, else measured.

    Args:
        again: what was kept is too low: measure with more effort, and keep the best of both.

    Returns:
        None where the backend takes no kernel of that precision.
    """
    try:
        key = identity(place, precision)
    except MmedgeError:  # not even a small graph opens so
        return None
    kept = recall("roof", key, Peaks)
    if kept and not again and (not kept.crowded or 0 <= now_s() - kept.at_s < AGAIN_S):
        return kept
    measured = measure(place, precision, SECOND_EFFORT_S if again else EFFORT_S)
    if not measured.gflops_s:
        return kept
    found = Peaks(
        key=key,
        gflops_s=_best(measured.gflops_s, kept.gflops_s if kept else {}),
        gb_s={name: _best(rates, kept.gb_s.get(name, {}) if kept else {}) for name, rates in measured.gb_s.items()},
        crowded=measured.crowded if kept is None or kept.crowded else "",
        at_s=round(now_s(), 1),
    )
    keep("roof", found)
    return found


def identity(place: Place, precision: Precision) -> dict[str, str]:
    """What the speed of kernels depends on: the machine as it is set now, the runtime, and what that says of a graph opened here.

    Raises:
        MmedgeError: the backend does not open a graph in that precision.
    """
    backend, facts = load_backend(place.backend), machine()
    runtime = backend.probe()
    executed = kernels.opened(backend, place.precision, place.target, place.size_bytes, kernels.SMALLEST, lambda runner: runner.executed())
    said = {
        "edition": EDITION,
        "kernels": precision,
        "cpu": facts.cpu,
        "board": facts.board,
        "system": facts.system,
        "l4t": facts.l4t,
        "cores": facts.affinity or facts.cores,
        "quota": facts.quota,
        "flags": facts.flags,
        "governor": facts.governor,
        "power mode": facts.power_mode,
        "clocks locked": facts.clocks_locked,
        "backend": place.backend,
        "version": runtime.version,
        "features": runtime.features,
        "options": json.dumps(place.target.options.get(place.backend, {}), sort_keys=True),
        **{f"executed {name}": value for name, value in executed.items()},
    }
    return {name: str(value) for name, value in said.items()}


def measure_kernels(place: Place, precision: Precision, effort_s: float) -> Measured:
    """Run them all, and the fastest for each purpose once more: what disturbed it the first time may be over."""
    where = load_backend(place.backend), place.precision, place.target, place.size_bytes, effort_s
    gflops_s: dict[str, float] = {}
    gb_s: dict[str, dict[int, float]] = defaultdict(dict)
    fastest: dict[int, tuple[float, str]] = {}
    """Working set (0: arithmetic) -> (rate, kernel)."""
    with watch() as watching:
        for repeat in (False, True):
            wanted = (one for one in kernels.every(precision) if not repeat or fastest.get(one.bytes, (0.0, ""))[1] == one.name)
            for kernel, took_s in kernels.timed(wanted, *where):
                rate = (kernel.bytes or kernel.flops) / took_s / 1e9
                if kernel.bytes:
                    gb_s[kernel.name][kernel.bytes] = max(rate, gb_s[kernel.name].get(kernel.bytes, 0.0))
                else:
                    gflops_s[kernel.name] = max(rate, gflops_s.get(kernel.name, 0.0))
                fastest[kernel.bytes] = max(fastest.get(kernel.bytes, (0.0, "")), (rate, kernel.name))
    return Measured(gflops_s, dict(gb_s), _crowd(watching.conditions.during, machine().cores))


def _crowd(during: Reading, cores: int) -> str:
    """What others took, where that is enough to slow a kernel down."""
    if during.steal is not None and during.steal >= STOLEN:
        return f"the hypervisor gave {during.steal:.0%} of the CPU time to others"
    if during.others is not None and during.others >= CROWDED * cores:
        return f"other processes used {during.others:.2g} of {cores} cores"
    return ""


def bandwidth(streams: Mapping[str, Mapping[int, float]], size_bytes: int) -> float:
    """GB/s of the fastest kernel over a working set, between two that were measured by the logarithm of the size.

    A larger set cannot be faster than a smaller one: where it was, starting the kernel took most of the time of the smaller. Kernels that were not measured
    up to this size say nothing about it, unless none was.
    """
    reach = min(size_bytes, max(max(rates) for rates in streams.values()))
    found = []
    for rates in streams.values():
        if max(rates) >= reach:
            sizes = sorted(rates)
            best = np.maximum.accumulate([rates[size] for size in reversed(sizes)])[::-1]
            found.append(float(np.interp(np.log(max(size_bytes, 1)), np.log(sizes), best)))
    return max(found)


def _best(new: Mapping, old: Mapping) -> dict:  # type: ignore[type-arg]
    return {name: round(max(new.get(name, 0.0), old.get(name, 0.0)), 4) for name in {**old, **new}}
