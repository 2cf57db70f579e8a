"""How fast each candidate for a graph is against fp32 on this machine, and what memory it takes: each is measured once, and remembered with what it rests on.

Every candidate is timed against the fastest fp32 in rounds that take turns, so that what else the machine does falls on both; never more than two are open.
Rounds go on until the interval of the ratio is narrow, or the budget of seconds is used.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mmedge.documents import Document, dump_json, read_json
from mmedge.errors import MmedgeError
from mmedge.optimize.growth import memory_mb
from mmedge.optimize.opening import identity, opened, runs_here
from mmedge.optimize.steps import step, versions
from mmedge.profile.estimates import ratio_of_medians
from mmedge.profile.machine import machine
from mmedge.profile.protocol import REAL, Clock, interleave
from mmedge.rated import Interval, Rated
from mmedge.target import Target
from mmedge.tensors import Feeds

if TYPE_CHECKING:
    from mmedge.optimize.survivors import Survivor

Report = Callable[[str], None]

NARROW = 0.04
"""Width of the 95 % interval as a share of the ratio: half of it is below what decides between two candidates."""
BUDGET_S = 8.0
"""Of the rounds of one pair."""
FEWEST, MOST = 11, 2000
"""Rounds of a pair."""
WARM_ROUNDS, WARM_FEWEST, WARM_S = 200, 5, 0.5
"""Rounds that do not count."""
SET = ("cpu", "board", "cores", "affinity", "quota", "governor", "power_mode", "clocks_locked", "kernel")
"""What a latency rests on beside the candidate, of ``machine()``."""
CLEARLY_FASTER = 0.95
"""A later fp32 must beat an earlier one by 5 %: below that the order of preference decides, not the noise."""


class Timed(Document):
    """One candidate against another."""

    ratio: Interval
    """Of the medians, with the rounds as its units."""
    base_ms: float
    """Median of one run of the other."""


class Grown(Document):
    memory_mb: float | None


@dataclass(frozen=True, eq=False)
class Bench:
    """What the candidates of one graph are measured with."""

    target: Target
    feeds: Feeds
    report: Report
    clock: Clock = REAL
    asked: str = ""
    """When, where what was measured at another time is not to be taken."""


def measured(survivors: Sequence[Survivor], bench: Bench) -> list[Rated]:
    """Time the candidates of one graph, and read what memory each takes.

    Args:
        survivors: in order of preference; at least one of them is fp32.

    Returns:
        Each with ``ratio`` (to the fastest fp32), ``latency_ms`` and ``memory_mb``, null where it cannot run here; one that a runtime refuses has not passed.
    """
    refused: dict[str, str] = {}
    here = [one for one in survivors if runs_here(one.backend, bench.target)]
    base, pairs = _fastest([one for one in here if one.rated.precision == "fp32"], bench, refused)
    if base is None:
        return [one.rated for one in survivors]
    for one in here:
        if one.rated.precision != "fp32" and (found := _tried(one, partial(_pair, base, one, bench), refused)) is not None:
            pairs[one.rated.name] = found
            bench.report(f"{one.rated.name}: {found.ratio.value:.2f} times {base.rated.name} ({found.ratio.low:.2f} to {found.ratio.high:.2f})")
    base_ms = median(one.base_ms for one in pairs.values())
    return [_rated(one, pairs.get(one.rated.name), base_ms, bench, refused) for one in survivors]


def base_of(rated: Sequence[Rated]) -> Rated | None:
    """The one that all ratios are to; None where nothing was timed."""
    return next((one for one in rated if one.ratio is not None and one.precision == "fp32" and (one.ratio.low, one.ratio.high) == (1.0, 1.0)), None)


def _rated(one: Survivor, pair: Timed | None, base_ms: float, bench: Bench, refused: dict[str, str]) -> Rated:
    if one.rated.name in refused:
        return one.rated.model_copy(update={"passed": False, "note": refused[one.rated.name]})
    if pair is None:
        return one.rated
    update: dict[str, Any] = {"ratio": pair.ratio, "latency_ms": float(f"{base_ms * pair.ratio.value:.4g}")}
    if (grown := _tried(one, partial(_memory, one, bench), refused)) is None:
        update["note"] = "; ".join(filter(None, (one.rated.note, refused[one.rated.name])))
    else:
        update["memory_mb"] = grown.memory_mb
    return one.rated.model_copy(update=update)


def _fastest(candidates: Sequence[Survivor], bench: Bench, refused: dict[str, str]) -> tuple[Survivor | None, dict[str, Timed]]:
    """The fastest fp32, and by name how each fp32 compares with it."""
    best: Survivor | None = None
    pairs: dict[str, Timed] = {}
    for one in candidates:
        found = _tried(one, partial(_pair, best or one, one, bench), refused)
        if found is None:
            continue
        if best is None:
            best, pairs = one, {one.rated.name: _itself(found.base_ms, found.ratio.n)}
        elif found.ratio.value < CLEARLY_FASTER and found.ratio.high < 1:
            ms = found.base_ms * found.ratio.value
            pairs = {name: _turned(other, found.ratio, ms) for name, other in pairs.items()}
            best, pairs[one.rated.name] = one, _itself(ms, found.ratio.n)
        else:
            pairs[one.rated.name] = found
    return best, pairs


def _itself(ms: float, rounds: int) -> Timed:
    return Timed(ratio=Interval(value=1.0, low=1.0, high=1.0, n=rounds), base_ms=ms)


def _turned(other: Timed, new: Interval, ms: float) -> Timed:
    """To the base that has become the best: both intervals' ends against each other, which is at least as wide as the truth."""
    value, low, high = other.ratio.value / new.value, other.ratio.low / new.high, other.ratio.high / new.low
    return Timed(ratio=Interval(value=value, low=low, high=high, n=min(other.ratio.n, new.n)), base_ms=ms)


def _tried(one: Survivor, work: Callable[[], Any], refused: dict[str, str]) -> Any:
    """What ``work`` gives; None where the runtime refuses, in whose words ``refused`` then says why."""
    try:
        return work()
    except MmedgeError as error:
        refused[one.rated.name] = error.what
        return None


def _pair(base: Survivor, one: Survivor, bench: Bench) -> Timed:
    def fill(folder: Path) -> None:
        (folder / "timed.json").write_text(dump_json(_time(base, one, bench)))

    with step("timed", {**_key(one, bench), "base": identity(base.backend, base.candidate, bench.target)}, fill) as folder:
        return read_json(folder / "timed.json", Timed, fix="")


def _time(base: Survivor, one: Survivor, bench: Bench) -> Timed:
    """In rounds that take turns; ``base`` alone where they are the same."""
    with ExitStack() as stack:
        rivals = [base] if base is one else [base, one]
        calls = [partial(stack.enter_context(opened(rival.backend, rival.candidate, bench.target)).run, bench.feeds) for rival in rivals]
        interleave(calls, rounds=WARM_ROUNDS, fewest=WARM_FEWEST, budget_s=WARM_S, clock=bench.clock)
        samples_ms: list[list[float]] = [[] for _ in calls]
        begun_s = bench.clock.now_s()
        while True:
            more = max(FEWEST, len(samples_ms[0]) // 2)
            left_s = begun_s + BUDGET_S - bench.clock.now_s()
            for kept, times_ms in zip(samples_ms, interleave(calls, rounds=more, fewest=0 if samples_ms[0] else FEWEST, budget_s=left_s, clock=bench.clock)):
                kept += times_ms
            ratio, low, high = ratio_of_medians(samples_ms[-1], samples_ms[0], paired=True)
            if high - low <= NARROW * ratio or len(samples_ms[0]) >= MOST or bench.clock.now_s() - begun_s >= BUDGET_S:
                found = Interval(value=round(ratio, 4), low=round(low, 4), high=round(high, 4), n=len(samples_ms[0]))
                return Timed(ratio=found, base_ms=median(samples_ms[0]))


def _memory(one: Survivor, bench: Bench) -> Grown:
    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="mmedge-growth-") as scratch:
            grown = memory_mb(one.backend, one.candidate, bench.target, bench.feeds, Path(scratch))
        (folder / "grown.json").write_text(dump_json(Grown(memory_mb=grown)))

    with step("grown", _key(one, bench), fill) as folder:
        return read_json(folder / "grown.json", Grown, fix="")


def _key(one: Survivor, bench: Bench) -> dict[str, Any]:
    """What a measurement rests on: the candidate, what it ran on, and the machine as it is set."""
    digest = hashlib.sha256()
    for name, array in sorted(bench.feeds.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    facts = machine()
    return {
        **versions(),
        "candidate": identity(one.backend, one.candidate, bench.target),
        "feeds": digest.hexdigest(),
        "machine": {name: value for name, value in facts.model_dump(mode="json").items() if name in SET},
        **({"asked": bench.asked} if bench.asked else {}),
    }
