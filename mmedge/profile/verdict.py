"""Whether a figure can be trusted, by its own samples and by what the machine did meanwhile. Nothing is measured here.

Several things can be wrong at once. The word is the first of ``ORDER`` that applies: a cause, where one is known, explains the symptom (a throttled chip
drifts, a busy machine scatters), and other processes also heat a chip. The evidence says everything that was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmedge.profile.estimates import LEAST_MS, SHORTEST, Values, median_interval
from mmedge.profile.machine import Conditions, Reading
from mmedge.profile.pace import ARITHMETIC, EVERYWHERE, MEMORY
from mmedge.profile.report import Row, Rules, Samples, Startup, Verdict, WarmUp, Word
from mmedge.profile.rows import apart, few

ORDER: tuple[Word, ...] = ("contended", "throttled", "drifting", "unstable")

STOLEN = 0.05
CROWDED, FULL = 0.1, 0.9
"""Other processes are in the way when they use a tenth of the cores, while nine tenths of all are in use."""
CLOCK_FELL, CLOCK_FELL_HOT = 0.05, 0.1
"""Below the clock before the run: by so much where the calls slowed, too; by so much where the chip is hot, even if they were slow from the start."""
HOT_C = 80.0
"""Where small computers begin to slow down (Raspberry Pi: 80, Jetson and PCs: 95 and more)."""
DRIFTED = 0.05
WINDOWS, TREND = 20, 3.0
"""The trend is looked for among so many successive medians at most; noise alone passes three standard deviations in 0.3 % of series."""
BEHIND = 5
"""Paced calls that are due at once, where it is more than a burst."""
UNSURE = 0.1
"""The widest interval of a median, as a share of it: two runs then differ by about 5 %."""
SLOWED = {ARITHMETIC: 1.10, EVERYWHERE: 1.10, MEMORY: 1.25}
"""Piece of work -> how many times as long as at the machine's best it takes where the machine is slow; caches alone move the last by a tenth."""

CLOSED = Rules()

Finding = tuple[Word, str]


def judge(
    samples: Samples, conditions: Conditions | None, *, warm_up: WarmUp | None = None, cores: float | None = None, available: float | None = None
) -> Verdict:
    """Judge one series.

    Args:
        cores: what the calls themselves used.
        available: the cores that there are for this process; as many as the calls used where that is not known.
    """
    values = np.maximum(samples.latency_ms, LEAST_MS)
    if len(values) < SHORTEST:
        too_few = f"{len(values)} samples are too few to tell how far their median can be trusted: that takes {SHORTEST}"
        return _verdict([*_crowded(conditions, cores, available), ("unstable", too_few)], [])
    moved = drift(samples)
    low_ms, high_ms = median_interval(values)
    p50_ms = float(np.median(values))
    known = (
        f"allowing for calls that depend on those before, the median lies between {low_ms:.4g} and {high_ms:.4g} ms ({(high_ms - low_ms) / p50_ms:.1%} of it)"
    )
    findings = [*_crowded(conditions, cores, available), *_throttled(conditions, moved)]
    findings += [] if findings else _slowed(conditions, cores, available)
    if moved.real:
        findings.append(("drifting", moved.sentence))
    if high_ms - low_ms > UNSURE * p50_ms:
        findings.append(("unstable", known))
    if warm_up and not warm_up.stable:
        findings.append(("unstable", f"the times had not settled after {warm_up.runs} calls of warm-up in {warm_up.seconds:.1f} s"))
    if late := _late(samples):
        return Verdict(word="unstable", evidence=(late, *_verdict(findings, []).evidence))  # whatever else there was: the pace alone explains it
    return _verdict(findings, [f"{len(values)} samples: {known}", moved.sentence, *_quiet(conditions)])


def overall(rows: Sequence[Row], startup: Startup | None, conditions: Conditions | None, *, rules: Rules = CLOSED, available: float | None = None) -> Verdict:
    """Judge a whole report: the worst of its rows, the machine over the whole time, and whether fresh processes agree."""
    judged = [(row.name, row.verdict) for row in rows if row.verdict is not None]
    used = [row.usage.cores for row in rows if row.usage and row.usage.cores is not None]
    findings = _crowded(conditions, max(used, default=None), available)
    findings += [] if findings else _slowed(conditions, max(used, default=None), available)
    for word in ORDER:
        if alike := [(name, verdict) for name, verdict in judged if verdict.word == word]:
            name, verdict = alike[0]
            said = f": {verdict.evidence[0]}" if verdict.evidence else ""
            findings.append((word, f"{len(alike)} of {len(judged)} rows {word}, {few(list(dict.fromkeys(each for each, _ in alike)))}; {name}{said}"))
    spread = sorted(apart(rows, startup, rules), key=lambda one: -one.excess)
    findings += [("unstable", one.sentence) for one in spread if one.excess > 1]
    agree = [one.sentence for one in spread[:1]]
    return _verdict(findings, [f"rows judged: {len(judged)}, all stable", *agree, *_quiet(conditions)])


def _late(samples: Samples) -> str | None:
    """Whether paced calls did not keep up. In a closed loop a call takes as long as the gap to the next."""
    values, dropped = samples.latency_ms, len(samples.dropped_ms)
    if dropped:
        return f"it does not keep up with its pace: {dropped} of {dropped + len(values)} calls were given up after waiting too long"
    if len(samples.start_ms) != len(values):
        return None
    gap_ms = (samples.start_ms[-1] - samples.start_ms[0]) / (len(values) - 1)
    waiting = float(np.median(values[-max(len(values) // 5, SHORTEST) :])) / gap_ms if gap_ms else 0.0
    return f"it does not keep up with its pace: at the end, {waiting:.0f} calls were due at once" if waiting >= BEHIND else None


@dataclass(frozen=True)
class Drift:
    """From the first fifth of a series to its last."""

    change: float
    """Share of the first fifth's median; positive where the calls became slower."""
    real: bool
    """It is 5 % or more, and the trend between the ends is not what noise makes."""
    sentence: str


def drift(samples: Samples) -> Drift:
    """Compare the ends, and look for a trend between them.

    The trend is Mann's (1945) and Kendall's (1975), over successive medians, which autocorrelation disturbs less than the samples; its slope is the median
    of all slopes between two of them (Sen 1968).
    """
    values = np.maximum(samples.latency_ms, LEAST_MS)
    fifth = max(len(values) // 5, SHORTEST)
    if len(values) < 2 * fifth:
        return Drift(0.0, False, f"{len(values)} samples are too few to tell a drift")
    first, last = values[:fifth], values[-fifth:]
    change = float(np.median(last) / np.median(first)) - 1
    times_s = np.asarray(samples.start_ms) / 1e3 if len(samples.start_ms) == len(values) else np.cumsum(values) / 1e3
    score, slope = _trend(values, times_s)
    real = abs(change) >= DRIFTED and abs(score) > TREND
    return Drift(
        change,
        real,
        f"from the first fifth to the last the median went from {np.median(first):.4g} to {np.median(last):.4g} ms "
        f"({change:+.1%}; slope {slope / float(np.median(values)):+.2%} a second)",
    )


def _trend(values: Values, times_s: Values) -> tuple[float, float]:
    """(standard deviations from no trend, ms a second)."""
    count = min(len(values), WINDOWS)
    heights = np.array([np.median(window) for window in np.array_split(values, count)])
    moments_s = np.array([np.mean(window) for window in np.array_split(times_s, count)])
    later, earlier = np.tril_indices(count, -1)
    rises, spans_s = heights[later] - heights[earlier], moments_s[later] - moments_s[earlier]
    score = float(np.sign(rises).sum()) / np.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return score, float(np.median(rises / np.maximum(spans_s, 1e-9)))


def _crowded(conditions: Conditions | None, cores: float | None, available: float | None) -> list[Finding]:
    """Others had what the calls needed."""
    if conditions is None:
        return []
    found: list[str] = []
    during, load = conditions.during, conditions.before.load
    if during.steal is not None and during.steal >= STOLEN:
        found.append(f"the hypervisor gave {during.steal:.0%} of the CPU time to others")
    size = available or max(cores or 1.0, 1.0)
    own = size if cores is None else cores
    if during.others is not None:
        if during.others >= CROWDED * size and during.others + own >= FULL * size:
            got = "" if cores is None else f", while these calls got {cores:.2f}"
            found.append(f"other processes used {during.others:.2f} cores{got}" + (f" of {available:g}" if available else ""))
    elif load is not None and load - own >= FULL * size:  # earlier rows of this process are in it, too
        found.append(f"the load was {load:.1f} before the run, and what other processes use is not told here")
    return [("contended", sentence) for sentence in found]


def _throttled(conditions: Conditions | None, moved: Drift) -> list[Finding]:
    """The chip slowed down: its clock fell, or it became hot, as the calls became slower.

    A clock that only fell proves nothing (an idle core is clocked higher than one among busy ones), nor does heat alone.
    """
    if conditions is None:
        return []
    before, during = conditions.before, conditions.during
    hottest_c = max((reading.temperature_c for reading in (during, conditions.after) if reading.temperature_c is not None), default=None)
    hot = hottest_c is not None and hottest_c >= HOT_C
    fell = 1 - during.clock_mhz / before.clock_mhz if during.clock_mhz and before.clock_mhz else 0.0
    slower = moved.real and moved.change > 0
    if not ((slower and (hot or fell >= CLOCK_FELL)) or (hot and fell >= CLOCK_FELL_HOT)):
        return []
    said = [f"the clock fell from {before.clock_mhz:.0f} to {during.clock_mhz:.0f} MHz"] if fell >= CLOCK_FELL else []
    said += [f"the chip reached {hottest_c:.0f} °C"] if hot else []
    return [("throttled", sentence) for sentence in said]


def _slowed(conditions: Conditions | None, cores: float | None, available: float | None) -> list[Finding]:
    """The machine was slower than it can be, before as well as after, though nothing else says so: a guest is not told what the host's other guests take.

    Slow only before or only after, it changed meanwhile: what that did to the calls is for their own times to say.
    """
    if conditions is None:
        return []
    most = dict(SLOWED)
    if cores is not None and available is not None and cores < FULL * available:
        del most[EVERYWHERE]  # a core that these calls did not need
    before, after = conditions.before.slowdown, conditions.after.slowdown
    found = {work: min(before.get(work, 1.0), after.get(work, 1.0)) for work in most}
    said = "before and after these calls a fixed piece of {} took at least {:.2f} times as long as at this machine's best: others of its host, or a lower clock"
    return [("contended", said.format(work, times)) for work, times in found.items() if times >= most[work]]


def _quiet(conditions: Conditions | None) -> list[str]:
    """What was looked at of the machine."""
    if conditions is None:
        return ["what the machine did meanwhile was not looked at"]
    return [_reading(conditions.during)]


def _reading(during: Reading) -> str:
    told = [
        (during.others, "other processes used {:.2f} cores"),
        (during.steal, "{:.1%} of the CPU time was stolen"),
        (during.temperature_c, "{:.0f} °C"),
        (during.clock_mhz, "{:.0f} MHz"),
    ]
    return ", ".join(text.format(value) for value, text in told if value is not None) or "the system tells nothing of other processes, heat or clocks"


def _verdict(findings: Iterable[Finding], stable: Sequence[str]) -> Verdict:
    ordered = sorted(findings, key=lambda finding: ORDER.index(finding[0]))
    if not ordered:
        return Verdict(word="stable", evidence=tuple(stable))
    return Verdict(word=ordered[0][0], evidence=tuple(sentence for _, sentence in ordered))
