"""``mmedge profile``: graphs and verbs, for an assistant the whole turn with its stages, and starts in fresh processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from mmedge.assistant.replay import replay
from mmedge.bundle import Bundle
from mmedge.manifest import Quantized
from mmedge.need import NotInstalled
from mmedge.profile.machine import affinity, machine
from mmedge.profile.measure import levels
from mmedge.profile.readings import watch
from mmedge.profile.report import Report, Row, Rules, Trial
from mmedge.profile.startup import startup
from mmedge.profile.turns import median_turn, turn_rows
from mmedge.profile.verdict import overall
from mmedge.target import Target
from mmedge.turn import Turn

TURNS = 64
"""As many as a 90th percentile needs."""
FIRST_TURN = "mmedge.assistant.replay:first_turn"


def profile(path: Path, target: Target, rules: Rules, progress: Callable[[str], None]) -> Report:
    """Measure a bundle on a target, level by level.

    Raises:
        MmedgeError: the bundle is not compiled for the target, its engines are built on the device, or a file of it is damaged.
    """
    bundle, facts = Bundle.open(path), machine()
    made, turn = datetime.now(timezone.utc).isoformat(timespec="seconds"), None
    for role, model in bundle.manifest.models.items():
        for name in model.graphs_for(target).values():
            bundle.placement(role, name, target)  # what cannot run is refused before the machine itself is measured
    with watch() as watching:
        rows, not_run = levels(bundle, target, rules, progress)
        if {"vad", "ears"} <= set(bundle.manifest.models) and target.backends != ("null",):
            progress(f"{TURNS} turns")
            try:
                turns, turn = _turn_level(bundle, target)
                rows += turns
            except NotInstalled as error:
                not_run.append(f"turn: {error.what}")
        started = startup(path, target, answer=FIRST_TURN if turn else None, progress=progress)
    return Report(
        bundle=bundle.manifest.name,
        target=target.name,
        made=made,
        machine=facts,
        rules=rules,
        conditions=watching.conditions,
        verdict=overall(rows, started, watching.conditions, rules=rules, available=facts.quota or facts.cores),
        rows=tuple(rows),
        startup=started,
        turn=turn,
        trials=_trials(bundle, target),
        quantized=_quantized(bundle, target),
        not_run=tuple(not_run),
    )


def _turn_level(bundle: Bundle, target: Target) -> tuple[list[Row], Turn | None]:
    with watch() as watching:
        before = time.perf_counter(), time.process_time()
        turns = replay(bundle, target, TURNS)
        cores = (time.process_time() - before[1]) / (time.perf_counter() - before[0])
    return turn_rows(turns, watching.conditions, cores=round(cores, 2), available=len(affinity()) or None), median_turn(turns)


def _trials(bundle: Bundle, target: Target) -> tuple[Trial, ...]:
    """What the bundle remembers of the candidates that held their bound, of models that were not quantized: those raced by their task metric, too."""
    done = bundle.manifest.quantized.get(target.name, {})
    return tuple(
        Trial(
            graph=graph,
            backend=trial.backend,
            precision=trial.precision,
            median_ms=trial.median_ms,
            drift=trial.drift,
            chosen=(trial.backend, trial.precision) == (placed.backend, placed.precision),
        )
        for graph, placed in bundle.manifest.engines.get(target.name, {}).items()
        for trial in placed.trials
        if graph.partition("/")[0] not in done and trial.passed and trial.median_ms is not None and trial.drift is not None
    )


def _quantized(bundle: Bundle, target: Target) -> dict[str, Quantized]:
    """What quantizing found; golden data are the bundle's own."""
    return {role: one.model_copy(update={"golden": None, "cases": ()}) for role, one in bundle.manifest.quantized.get(target.name, {}).items()}
