"""The levels of a bundle's profile: each graph on its golden feeds, each verb on its golden inputs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

from mmedge.bundle import Bundle
from mmedge.evaluate.golden import Golden
from mmedge.manifest import Case, Placement
from mmedge.need import NotInstalled
from mmedge.profile.energy import Meter, meter
from mmedge.profile.estimates import summarise
from mmedge.profile.machine import affinity
from mmedge.profile.operators import operators
from mmedge.profile.protocol import Measured, measure
from mmedge.profile.readings import watch
from mmedge.profile.report import Breakdown, Identity, Level, Part, Row, Rules, Usage
from mmedge.profile.roof import roof
from mmedge.profile.verdict import judge
from mmedge.runner import Runner, load_backend
from mmedge.spans import Watched, recording
from mmedge.target import Target
from mmedge.tensors import Feeds

Progress = Callable[[str], None]
WIDTH = 30
REST = "rest"
"""Of a verb: the session's own code, outside of processors, graphs and the decode loop."""


def levels(bundle: Bundle, target: Target, rules: Rules, progress: Progress) -> tuple[list[Row], list[str]]:
    """Measure every graph and every verb.

    Returns:
        The rows, and what could not be measured here and why.

    Raises:
        MmedgeError: the bundle is not compiled for the target, or its engines are built on the device.
    """
    rows: list[Row] = []
    not_run: list[str] = []
    goldens = {role: Golden(bundle, role) for role in bundle.manifest.models}
    cases = {role: golden.cases() for role, golden in goldens.items()}  # what is wrong with them is told before minutes of measuring
    for role, model in bundle.manifest.models.items():
        golden = goldens[role]
        for name in model.graphs_for(target).values():
            rows.append(_graph(bundle, role, name, target, golden.graph(name)[0], rules))
            progress(f"{rows[-1].name}: {rows[-1].latency.p50_ms:.2f} ms")
        if target.backends != ("null",):  # zeros are not what a decode loop ends on
            for row in _verbs(bundle, role, target, cases[role], rules, not_run):
                rows.append(row)
                progress(f"{row.name}: {row.latency.p50_ms:.2f} ms")
    return rows, not_run


def _graph(bundle: Bundle, role: str, name: str, target: Target, feeds: Feeds, rules: Rules) -> Row:
    placed = bundle.placement(role, name, target)
    with bundle.runner(role, name, target) as runner:
        row, _ = _row("graph", f"{role}/{name}", f"{placed.backend} {placed.precision}", partial(runner.run, feeds), rules)
        identity = _identity(bundle, role, name, placed, runner, feeds)
    # What waited in a queue says nothing about what the machine could do.
    near = roof(bundle.made_of(role, name, None), feeds, row.latency, placed, target) if rules.mode == "closed" else None
    return row.model_copy(update={"identity": identity, "operators": operators(bundle, role, name, target, feeds), "roof": near})


def _identity(bundle: Bundle, role: str, name: str, placed: Placement, runner: Runner, feeds: Feeds) -> Identity:
    ran = bundle.made_of(role, name, placed.made_of)
    return Identity(
        graph=ran.sha256,
        weights=ran.weights_sha256 or None,
        engine=placed.file.sha256 if placed.file else None,
        backend=placed.backend,
        version=load_backend(placed.backend).probe().version,
        precision=placed.precision,
        reason=placed.reason,
        executed=runner.executed(),
        shapes={tensor: array.shape for tensor, array in feeds.items()},
    )


def _verbs(bundle: Bundle, role: str, target: Target, cases: Sequence[tuple[Case, dict[str, Any], Any]], rules: Rules, not_run: list[str]) -> list[Row]:
    rows = []
    with bundle.session(role, target, through=lambda name, runner: Watched(f"graph {name}", runner)) as session:
        for case, arguments, _ in cases:
            if case.level != "verb":
                continue
            call = Dissected(partial(getattr(session, case.call), **arguments))
            try:
                row, calls = _row("verb", f"{role}.{case.call}", _given(case.args), call, rules)
            except NotInstalled as error:
                not_run.append(f"{role}.{case.call}: {error.what}")
                continue
            rows.append(row.model_copy(update={"breakdown": call.breakdown(calls)}))
    return rows


class Dissected:
    """A call that keeps where the time of each of its runs went."""

    def __init__(self, call: Callable[[], object], now_s: Callable[[], float] = time.perf_counter) -> None:
        self._call, self._now_s = call, now_s
        self._runs: list[tuple[float, dict[str, float]]] = []

    def __call__(self) -> None:
        from_s = self._now_s()
        with recording(self._now_s) as spans, spans.span(REST):
            self._call()
        self._runs.append((self._now_s() - from_s, spans.seconds))

    def breakdown(self, counted: int) -> Breakdown:
        """Of the last ``counted`` runs: those before were warm-up."""
        runs = self._runs[-counted:]
        names = list(dict.fromkeys(name for _, spans in runs for name in spans))
        return breakdown(
            [whole_s * 1e3 for whole_s, _ in runs], {name: [spans.get(name, 0.0) * 1e3 for _, spans in runs] for name in sorted(names, key=REST.__eq__)}
        )


def breakdown(wholes_ms: Sequence[float], parts_ms: dict[str, list[float]], sums_ms: Sequence[float] | None = None) -> Breakdown:
    """Wholes held against their parts, call by call.

    Args:
        sums_ms: what the parts of each call cover together, where they overlap; otherwise their sum.
    """
    sums_ms = sums_ms or [sum(parts) for parts in zip(*parts_ms.values())]
    whole_ms = median(wholes_ms)
    return Breakdown(
        parts=tuple(Part(name=name, median_ms=round(median(values), 4), share=round(sum(values) / sum(wholes_ms), 4)) for name, values in parts_ms.items()),
        whole_ms=round(whole_ms, 4),
        sum_ms=round(median(sums_ms), 4),
        difference=round(median((whole - total) / whole for whole, total in zip(wholes_ms, sums_ms)), 6),
    )


def _row(level: Level, name: str, where: str, call: Callable[[], object], rules: Rules) -> tuple[Row, int]:
    """Measure a call with an eye on the machine: its row, and how many calls counted."""
    gauge = meter()
    with watch() as watching:
        before_j = math.nan if isinstance(gauge, str) else gauge.read_j()
        measured = measure(call, rules)
        usage = _usage(measured, gauge, before_j)
    available = len(affinity()) or None
    row = Row(
        level=level,
        name=name,
        where=where,
        latency=summarise(measured.samples.latency_ms),
        samples=measured.samples,
        warm_up=measured.warm_up,
        verdict=judge(measured.samples, watching.conditions, warm_up=measured.warm_up, cores=usage.cores, available=available),
        usage=usage,
    )
    return row, measured.calls


def _usage(measured: Measured, gauge: Meter | str, before_j: float) -> Usage:
    cores = round(measured.cpu_s / measured.wall_s, 2) if measured.wall_s else None
    if isinstance(gauge, str):
        return Usage(cores=cores, energy=gauge)
    spent_j = gauge.read_j() - before_j
    if math.isnan(spent_j):
        return Usage(cores=cores, energy=f"{gauge.name} stopped answering")
    return Usage(cores=cores, millijoules=round(spent_j * 1e3 / (measured.warm_up.runs + measured.calls), 3), energy=gauge.name)


def _given(arguments: dict[str, Any]) -> str:
    """What a verb was given, short enough for a table."""
    text = ", ".join(str(value) for value in arguments.values())
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."
