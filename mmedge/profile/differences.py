"""Two reports, figure by figure: how far apart, with what certainty, and whether that is more than processes of one and the same report differ by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import comb
from statistics import median
from typing import Literal

from mmedge.documents import Document
from mmedge.profile.changes import changes
from mmedge.profile.estimates import SHORTEST, ratio_of_medians
from mmedge.profile.report import Fresh, Level, Report, Row, Word
from mmedge.profile.rows import keyed, title, word_of
from mmedge.profile.table import MEMORY, STARTS

ASSUMED = 1.05
"""What processes may differ by where nobody tried: the bound from which ``overall`` calls them unstable."""
LEAST = 1.01
"""Nothing below is called a difference: the layout of memory alone moves a program's time by as much (Mytkowicz et al. 2009)."""
SIGNIFICANT = 0.05
SHARED = "steady_pss_mb"
"""Counts a shared page by how many processes share it at the moment: another mmedge on the machine changes it. Shown, never called a difference."""
MOST = 4096
"""Samples of a series that go into a bootstrap: it draws all of them thousands of times."""


class Figure(Document):
    """A figure of one report against the same figure of its baseline."""

    level: Level | Literal["start-up", "memory"]
    name: str
    unit: Literal["ms", "MB"]
    baseline: float
    value: float
    """Medians."""
    ratio: float | None
    """value / baseline; null where one of them is not above zero, as a mark that a turn reached before the end of speech."""
    interval: tuple[float, float] | None
    """Of the ratio: 95 %, by bootstrap of the samples; for start-up and memory, the smallest and largest of any two processes.

    Null without samples, and for PSS.
    """
    floor: float
    """What processes of one report differ by, as a ratio of at least 1."""
    real: bool
    """The interval excludes 1, the ratio is beyond the floor, and the fresh processes of one report all lie on the same side of all the other's."""
    verdicts: tuple[Word, Word]
    """Of the baseline and of the other."""
    changed: tuple[str, ...] = ()
    """What the two ran differently, as far as the reports tell."""


def figures(before: Report, after: Report) -> tuple[list[Figure], list[str], list[str]]:
    """Every figure that both have.

    Returns:
        The figures, and the names of the rows that only ``before`` and only ``after`` has.
    """
    ours, theirs = keyed(after), keyed(before)
    found = [_row(before, after, theirs[key], row, title(ours, key)) for key, row in ours.items() if key in theirs]
    found += _processes(before, after)
    return found, [title(theirs, key) for key in theirs if key not in ours], [title(ours, key) for key in ours if key not in theirs]


def _row(before: Report, after: Report, theirs: Row, ours: Row, name: str) -> Figure:
    baseline, value = theirs.latency.p50_ms, ours.latency.p50_ms
    ratio = value / baseline if baseline > 0 and value > 0 else None
    interval = None
    if ratio is not None and theirs.samples and ours.samples and min(theirs.latency.n, ours.latency.n) >= SHORTEST:
        interval = ratio_of_medians(_thinned(ours.samples.latency_ms), _thinned(theirs.samples.latency_ms), paired=False)[1:]
    floor = max(LEAST, _floor(before, theirs), _floor(after, ours))
    apart = ratio is not None and _apart(_medians(before, ours.name), _medians(after, ours.name), slower=ratio > 1)
    return Figure(
        level=ours.level,
        name=name,
        unit="ms",
        baseline=baseline,
        value=value,
        ratio=ratio,
        interval=interval,
        floor=floor,
        real=apart and _beyond(ratio, interval, floor),
        verdicts=(word_of(before, theirs), word_of(after, ours)),
        changed=changes(before, after, ours.name),
    )


def _thinned(samples_ms: Sequence[float]) -> Sequence[float]:
    """At most ``MOST`` of them, evenly over the run: the interval gets wider, never narrower."""
    return samples_ms[:: -(-len(samples_ms) // MOST)]


def _beyond(ratio: float | None, interval: tuple[float, float] | None, floor: float) -> bool:
    if ratio is None or interval is None:
        return False
    return (interval[0] > 1 and ratio > floor) or (interval[1] < 1 and ratio < 1 / floor)


def _medians(report: Report, name: str) -> list[float]:
    """Of a graph, one for each fresh process."""
    return [started.p50_ms[name] for started in report.startup.processes if name in started.p50_ms] if report.startup else []


def _floor(report: Report, row: Row) -> float:
    """What two processes of one report may differ by.

    A graph: the range of its medians over the fresh processes. A verb: twice (in logarithms) the widest range of its model's graphs, a turn: of all graphs.
    Two draws differ by more than the range of five others in 8 of 100 cases, by more than twice the range in less than 1 of 100; for graphs,
    ``_apart`` brings it below 1 as well.
    """
    if own := _range(_medians(report, row.name)):
        return own
    graphs = dict.fromkeys(name for started in (report.startup.processes if report.startup else ()) for name in started.p50_ms)
    role = row.name.partition(".")[0] + "/"
    near = [name for name in graphs if name.startswith(role)] or list(graphs)
    widest = max((_range(_medians(report, name)) or 0.0 for name in near), default=0.0)
    return widest**2 or ASSUMED


def _range(medians: Sequence[float]) -> float | None:
    return max(medians) / min(medians) if len(medians) > 1 and min(medians) > 0 else None


def _apart(before: Sequence[float], after: Sequence[float], *, slower: bool) -> bool:
    """Whether all of one are on the side of all of the other that the ratio says; True where there are too few to say."""
    if not _enough(before, after):
        return True
    return min(after) > max(before) if slower else max(after) < min(before)


def _enough(before: Sequence[float], after: Sequence[float]) -> bool:
    """Whether two sets of the same kind would be apart in at most 5 of 100 cases (the exact test of Mann and Whitney)."""
    return 2 / comb(len(before) + len(after), len(before)) <= SIGNIFICANT


def _processes(before: Report, after: Report) -> Iterator[Figure]:
    """Start-up and memory."""
    if before.startup is None or after.startup is None:
        return
    for field, name in {**STARTS, **MEMORY}.items():
        if field == "first_answer_ms" and before.startup.answer != after.startup.answer:
            continue
        theirs, ours = _values(before.startup.processes, field), _values(after.startup.processes, field)
        if not theirs or not ours or min(*theirs, *ours) <= 0:
            continue
        ratio = median(ours) / median(theirs)
        interval = (min(ours) / max(theirs), max(ours) / min(theirs)) if _enough(theirs, ours) and field != SHARED else None
        memory = field in MEMORY
        yield Figure(
            level="memory" if memory else "start-up",
            name=name,
            unit="MB" if memory else "ms",
            baseline=median(theirs),
            value=median(ours),
            ratio=ratio,
            interval=interval,
            floor=LEAST,
            real=_beyond(ratio, interval, LEAST),
            verdicts=("stable", "stable") if memory else (word_of(before), word_of(after)),
            changed=changes(before, after),
        )


def _values(processes: Sequence[Fresh], field: str) -> list[float]:
    return [value for started in processes if (value := getattr(started, field)) is not None]
