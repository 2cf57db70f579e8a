"""The choice between candidates is measured: held against golden, then timed in interleaved rounds against the best so far.

Never more than two are open: the weights of a model in every precision and runtime at once would not fit a small machine.
"""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmedge.errors import MmedgeError
from mmedge.evaluate.drift import drift
from mmedge.manifest import Trial
from mmedge.profile.protocol import interleave
from mmedge.runner import Candidate, Engine, Runner, load_backend
from mmedge.target import Target
from mmedge.tensors import Feeds

ALONE_ROUNDS, MIN_ROUNDS, MAX_ROUNDS, BUDGET_S = 5, 11, 100, 3.0
"""Rounds per pair; rounds stop early once the budget is used."""

CLEARLY_FASTER, MOST_ROUNDS = 0.95, 0.75
"""A later candidate must beat an earlier one by 5 % and in three rounds of four: below that the order of preference decides, not the noise."""


@dataclass
class Contender:
    """A candidate that could be compiled and opened, and holds its bound."""

    index: int
    backend: str
    engine: Engine
    runner: Runner
    close: contextlib.ExitStack


def choose(
    candidates: list[tuple[str, Candidate]], feeds: Feeds, reference: Feeds, target: Target, out: Path
) -> tuple[tuple[str, Engine] | None, tuple[Trial, ...]]:
    """Pick the fastest candidate among those within the golden bound.

    Args:
        candidates: (backend, candidate), in order of preference.
        feeds, reference: golden inputs and outputs of the graph.
        out: where a backend may put what it compiles.

    Returns:
        The winner as (backend, engine), or None when none passed; and every candidate's trial.
    """
    trials: list[Trial] = []
    best: Contender | None = None
    with contextlib.ExitStack() as last:
        for index, (name, candidate) in enumerate(candidates):
            contender, trial = _try(index, name, candidate, feeds, reference, target, out)
            trials.append(trial)
            if contender is None:
                continue
            last.push(contender.close)
            rivals = [best, contender] if best else [contender]
            # Alone there is nothing to choose between: a few runs tell how fast it is.
            rounds = MAX_ROUNDS if len(rivals) > 1 else ALONE_ROUNDS
            samples = interleave([partial(rival.runner.run, feeds) for rival in rivals], rounds=rounds, fewest=MIN_ROUNDS, budget_s=BUDGET_S)
            for rival, times_ms in zip(rivals, samples):
                timed = {"median_ms": round(statistics.median(times_ms), 4), "rounds": len(times_ms)}
                trials[rival.index] = trials[rival.index].model_copy(update=timed)
            won = best is None or _clearly_faster(samples[1], samples[0])
            if loser := best if won else contender:
                loser.close.close()
            best = contender if won else best
        return (best.backend, best.engine) if best else None, tuple(trials)


def _try(index: int, name: str, candidate: Candidate, feeds: Feeds, reference: Feeds, target: Target, out: Path) -> tuple[Contender | None, Trial]:
    """Compile, open and hold against golden."""
    backend = load_backend(name)
    close = contextlib.ExitStack()
    try:
        engine = backend.compile(candidate, target, out)
        opened = close.enter_context(backend.open(engine, target))
        distance, kind = drift(opened.run(feeds), reference, candidate.precision)
    except MmedgeError as error:
        close.close()
        return None, Trial(backend=name, precision=candidate.precision, note=error.what)
    trial = Trial(backend=name, precision=candidate.precision, drift=min(distance, 1e9), drift_kind=kind, passed=distance <= 1.0, note=candidate.note)
    if not trial.passed:
        close.close()
        return None, trial
    return Contender(index, name, engine, opened, close), trial


def _clearly_faster(later_ms: list[float], earlier_ms: list[float]) -> bool:
    """Whether the later in preference is worth it, round by round."""
    won = sum(later < earlier for later, earlier in zip(later_ms, earlier_ms))
    return statistics.median(later_ms) < CLEARLY_FASTER * statistics.median(earlier_ms) and won >= MOST_ROUNDS * len(later_ms)
