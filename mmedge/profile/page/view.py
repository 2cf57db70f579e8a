"""One report as the page's template reads it: what is there, drawn and sorted; nothing is computed in the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from markupsafe import Markup

from mmedge.profile.page.figures import SMALL, WIDE, distribution, drift, outside, waterfall
from mmedge.profile.page.maps import candidates, roofline
from mmedge.profile.page.numbers import ms, whole
from mmedge.profile.page.quantized import views
from mmedge.profile.report import Fresh, Kind, Report, Row, Rules, Trial
from mmedge.profile.rows import evidence, keyed, title, word_of
from mmedge.profile.table import MARK, MEMORY, STARTS

SHOWN_KINDS = 9
OWN = {"processors", "decode loop", "rest"}
"""Parts of a verb that are no graph."""
UNITS = {"mb": "MB"}
Pair = tuple[Markup, Markup]
Line = tuple[str, float, float, float, float]
"""Of a table of bars: what, median, least, most, share of the longest."""


class View:
    """A report and its drawings.

    Args:
        name: what the page calls this report.
        points: the most dots in one chart.
    """

    def __init__(self, report: Report, name: str, points: int) -> None:
        self.report, self.name = report, name
        keys = keyed(report)
        self.rows = [(title(keys, key), row) for key, row in keys.items()]
        sampled = [(named, row) for named, row in self.rows if row.samples and row.samples.latency_ms and row.level != "stage"]
        self.thinned = any(row.samples and len(row.samples.latency_ms) > points for _, row in sampled)
        self.gave_up = any(row.samples and row.samples.dropped_ms for _, row in sampled)
        self.distributions = [(named, row, outside(row), distribution(row, named, points)) for named, row in sampled]
        self.drifts = [(named, row, outside(row), drift(row, named, points)) for named, row in sampled]
        self.doubtful = [(named, word, why) for named, row in self.rows if (word := word_of(report, row)) != "stable" and (why := evidence(report, row))]
        self.whole = [(named, row) for named, row in self.rows if row.breakdown]
        slowest = sorted(self.rows, key=lambda one: -one[1].latency.p50_ms)
        self.operators = [(named, row) for named, row in slowest if row.operators and row.operators.kinds]
        self.roofs = [(named, row, row.roof) for named, row in self.rows if row.roof]
        self.identities = [(named, row) for named, row in self.rows if row.identity]
        self.usage = [(named, row.usage) for named, row in self.rows if row.usage and (row.usage.cores is not None or row.usage.millijoules is not None)]
        self.measures_energy = any(usage.millijoules is not None for _, usage in self.usage)
        said = [row.usage.energy for _, row in self.rows if row.usage] + ([report.conditions.energy] if report.conditions else [])
        self.meters = [meter for meter in dict.fromkeys(said) if meter]
        self.startup = _startup(report)
        self.tiles = _tiles(report)
        self.facts = _facts(report)
        self.how = _how(report)
        turn = report.turn
        self.waterfall = (waterfall(turn, WIDE), waterfall(turn, SMALL)) if turn and turn.spans else None
        # only what computes and moves something has a place on logarithmic axes
        drawn = [(row, roof) for _, row, roof in self.roofs if min(roof.flops, roof.bytes, roof.gflops_s, roof.gb_s, row.latency.p50_ms) > 0]
        self.roofline = (roofline(drawn, WIDE), roofline(drawn, SMALL)) if drawn else None
        self.candidates = _candidates(report)
        self.quantized = views(report.quantized)

    def word(self, row: Row) -> str:
        """Its verdict, where it has one."""
        return word_of(self.report, row) if row.verdict else ""

    def mark(self, row: Row | None = None) -> str:
        """What stands behind a figure that is not to be trusted; without a row, behind those of start-up and memory."""
        return "" if word_of(self.report, row) == "stable" else MARK

    def computes(self, part: str) -> bool:
        """Whether a part of a verb or a turn is a model's work."""
        waits = {row.name for row in self.report.rows if row.level == "stage" and row.where == "wait"}
        return part not in OWN | waits


def _candidates(report: Report) -> list[tuple[str, Markup]]:
    graphs: dict[str, list[Trial]] = {}
    for trial in report.trials:
        if trial.median_ms > 0:
            graphs.setdefault(trial.graph, []).append(trial)
    return [(name, candidates(trials)) for name, trials in graphs.items() if len(trials) > 1]


def _tiles(report: Report) -> list[tuple[str, str, str]]:
    """The few figures to remember: value, unit, what it is."""
    rows = {row.name: row for row in report.rows}
    tiles = []
    if heard := rows.get("end of speech -> first audio"):
        tiles.append((ms(heard.latency.p50_ms), "ms", "median, end of speech to first audio"))
    verbs = [row for row in report.rows if row.level == "verb"] or [row for row in report.rows if row.level == "graph"]
    if verbs:
        longest = max(verbs, key=lambda row: row.latency.p50_ms)
        tiles.append((ms(longest.latency.p50_ms), "ms", f"median of {longest.name}, the longest {longest.level}"))
    if report.startup and report.startup.processes:
        answers = [fresh.first_answer_ms for fresh in report.startup.processes if fresh.first_answer_ms is not None]
        if answers:
            tiles.append((ms(median(answers) / 1e3), "s", "from a cold start to the first answer"))
        tiles.append((whole(max(fresh.peak_rss_mb for fresh in report.startup.processes)), "MB", "peak memory (RSS)"))
    return tiles


def _startup(report: Report) -> list[tuple[str, str, list[Line]]]:
    if not report.startup or not report.startup.processes:
        return []
    processes = report.startup.processes
    return [("Start", "ms", _lines(processes, STARTS)), ("Memory", "MB", _lines(processes, MEMORY))]


def _lines(processes: Sequence[Fresh], named: dict[str, str]) -> list[Line]:
    found = {what: [value for fresh in processes if (value := getattr(fresh, key)) is not None] for key, what in named.items()}
    middles = {what: median(values) for what, values in found.items() if values}
    longest = max(middles.values(), default=0.0) or 1.0
    return [(what, middle, min(found[what]), max(found[what]), clamp(middle / longest)) for what, middle in middles.items()]


def _facts(report: Report) -> list[tuple[str, str]]:
    """All that the machine told, whatever it is called."""
    told = [(key, _told(value)) for key, value in report.machine.model_dump().items()]
    return [(_headed(key), value) for key, value in told if value]


def _headed(key: str) -> str:
    """``memory_mb`` -> ``memory, MB``."""
    name, _, unit = key.rpartition("_")
    return f"{name.replace('_', ' ')}, {UNITS[unit]}" if unit in UNITS else key.replace("_", " ")


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_told(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, list | tuple | set):
        return ", ".join(map(_told, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _how(report: Report) -> str:
    rules: Rules = report.rules
    if rules.mode == "paced":
        arrivals = "at random (Poisson)" if rules.arrivals == "poisson" else "at a fixed rate"
        mode = f"Paced: calls were due {arrivals}, {rules.rate_hz:g} a second; latency counts from when a call was due" if rules.rate_hz else "Paced"
    else:
        mode = "Closed loop: the next call began when the last had returned"
    made = f" Measured {report.made.replace('T', ' ').replace('+00:00', ' UTC').replace('Z', ' UTC')}." if report.made else ""
    return f"{mode}; for each row at least {rules.seconds:g} s and {rules.samples} calls, unless that takes ten times as long.{made}"


def shaped(shapes: Mapping[str, Sequence[int]]) -> list[tuple[str, str]]:
    """Shapes, and whose they are: the many tensors of a cache are named by the first and the last."""
    alike: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        alike.setdefault(" × ".join(map(str, shape)) or "scalar", []).append(name)
    return [(shape, ", ".join(names) if len(names) < 4 else f"{names[0]} … {names[-1]} ({len(names)})") for shape, names in alike.items()]


def clamp(part: float) -> float:
    """A share as a bar can show it."""
    return min(1.0, max(0.0, part))


def few(kinds: Sequence[Kind]) -> list[Kind]:
    """The longest kinds, and all others as one."""
    if len(kinds) <= SHOWN_KINDS + 1:
        return list(kinds)
    rest = kinds[SHOWN_KINDS:]
    return [*kinds[:SHOWN_KINDS], Kind(kind="others", count=sum(kind.count for kind in rest), ms=sum(kind.ms for kind in rest))]


def levels(rows: Sequence[tuple[str, Row]]) -> list[list[tuple[str, Row]]]:
    """Named rows, level by level, in the order in which the levels first came."""
    return [[(name, row) for name, row in rows if row.level == level] for level in dict.fromkeys(row.level for _, row in rows)]
