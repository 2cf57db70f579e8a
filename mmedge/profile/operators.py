"""Where a graph's time goes: the runtime's own profile, summed by kind, with the torch modules that the exporter named."""

from __future__ import annotations

from collections import defaultdict

from mmedge.bundle import Bundle
from mmedge.manifest import Placement
from mmedge.profile.modules import Modules
from mmedge.profile.report import Kind, Operator, Operators
from mmedge.runner import Operated
from mmedge.target import Target
from mmedge.tensors import Feeds

LEAST_RUNS, MOST_RUNS, BUDGET_MS = 10, 50, 3000.0
"""A trace holds a line per operator and run: more runs than this would take long to read, and say no more."""
TOP = 10
EXPLAINED = 0.9
"""Operators should sum to at least this share of the graph; otherwise the note says what else there is."""


def operators(bundle: Bundle, role: str, name: str, target: Target, feeds: Feeds) -> Operators | None:
    """Run a graph under its runtime's profiler, apart from any measured run: profilers slow down what they look at.

    Args:
        feeds: as the graph takes them; times depend on their shapes.

    Returns:
        None where the backend has no profiler.

    Raises:
        MmedgeError: the graph cannot be opened where it was placed.
    """
    backend, engine = bundle.engine(role, name, target)
    operated = backend.operators(engine, target, feeds, _runs(bundle.placement(role, name, target)))
    if operated is None or not operated.operators:
        return None
    # A quantized variant keeps the names of nodes, and loses what the exporter wrote beside them.
    modules = Modules.read(bundle.made_of(role, name, None).path)
    return summed(operated, modules, modules.missing)


def summed(operated: Operated, modules: Modules, note: str = "") -> Operators:
    """A runtime's profile as a report shows it."""
    by_kind: dict[str, list[float]] = defaultdict(list)
    for operator in operated.operators:
        by_kind[operator.kind].append(operator.ms)
    kinds = [Kind(kind=kind, count=len(times_ms), ms=round(sum(times_ms), 6)) for kind, times_ms in by_kind.items()]
    longest = sorted(operated.operators, key=lambda operator: -operator.ms)[:TOP]
    sum_ms = sum(operator.ms for operator in operated.operators)
    outside = ""
    if sum_ms < EXPLAINED * operated.graph_ms:
        outside = f"{operated.graph_ms - sum_ms:.3f} of {operated.graph_ms:.3f} ms are in no operator: {operated.outside}"
    return Operators(
        runs=operated.runs,
        graph_ms=round(operated.graph_ms, 6),
        sum_ms=round(sum_ms, 6),
        kinds=tuple(sorted(kinds, key=lambda kind: -kind.ms)),
        top=tuple(Operator(name=one.name, kind=one.kind, module=modules.of(one), ms=round(one.ms, 6)) for one in longest),
        note="; ".join(filter(None, [outside, note])),
    )


def _runs(placed: Placement) -> int:
    """As many as fit the budget, by the time that the choice of the backend measured."""
    chosen = [trial.median_ms for trial in placed.trials if (trial.backend, trial.precision) == (placed.backend, placed.precision) and trial.median_ms]
    return int(min(max(BUDGET_MS / chosen[0], LEAST_RUNS), MOST_RUNS)) if chosen else LEAST_RUNS
